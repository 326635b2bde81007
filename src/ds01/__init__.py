"""DS01: share GPU servers among people. See docs/architecture.md for the layers."""

VERSION = "0.1.0"
