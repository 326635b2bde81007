"""Typed client of `ds01d` over its Unix socket: standard library only, synchronous, cheap to import.

`json` and the C half of `socket` are all that is loaded before a request; the documents' types are for the checker.
"""

from ds01.client.session import Client

__all__ = ["Client"]
