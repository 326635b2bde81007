"""Tools for people who work on DS01; nothing here is part of the product."""
