"""What became of a function that ran in another thread for a caller who waits."""

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

from ds01.adapters.sqlite.failures import translate


class Outcome:
    """The result of one function, or its exception, kept until its caller can be told.

    As a context manager it keeps whatever is raised inside: the thread lives on, the caller gets the exception. Nothing
    is swallowed, it only travels.
    """

    def __init__(self) -> None:
        self.result: object = None
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.error = error
        return True

    def error_for_caller(self, path: Path) -> BaseException | None:
        """Return a new exception to raise at a caller, or None. SQLite's own are translated."""
        if isinstance(self.error, sqlite3.Error):
            failure = translate(self.error, path)
            failure.__cause__ = self.error
            return failure
        if isinstance(self.error, StopIteration):
            # A future cannot carry it: `next()` of something empty in the caller's function.
            unexpected = RuntimeError("The function of a transaction raised StopIteration")
            unexpected.__cause__ = self.error
            return unexpected
        return self.error
