"""What `python -m dev.reference` writes into docs/reference: one module for each kind of page."""
