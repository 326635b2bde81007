"""The output of a build, kept in a file of this user's: bounded, however much a build prints."""

import itertools
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from ds01.cli.dockerfiles import home
from ds01.errors import Ds01Error

MAX_LOGS = 50
MAX_CHARACTERS = 16 * 1024**2
"""Of one build: its first half and its last half are kept."""


class BuildLog:
    """Writes the lines of one build.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, *, limit: int = MAX_CHARACTERS) -> None:
        """Begin a file.

        Args:
            path: The file.
            limit: How many characters are kept; what is between the beginning and the end is left out, and it is said.

        Raises:
            Ds01Error: It cannot be written.
        """
        self.path = path
        self._half = limit // 2
        self._written = 0
        self._last: deque[str] = deque()
        self._waiting = 0
        self._left_out = 0
        try:
            # line by line: whoever follows the file sees each, and a client that is killed leaves what it had
            self._file: IO[str] = path.open("w", buffering=1, encoding="utf-8", errors="replace")
        except OSError as failure:
            raise _said(path, failure) from failure

    def __enter__(self) -> "BuildLog":
        return self

    def __exit__(self, *_details: object) -> None:
        with suppress(OSError):  # a full disk is said by the build itself
            if self._left_out:
                self._file.write(f"[... {self._left_out} lines are left out ...]\n")
            self._file.writelines(self._last)
            self._file.close()

    def add(self, line: str) -> None:
        """Take one line, without its end."""
        text = line + "\n"
        if not self._last and self._written + len(text) <= self._half:
            self._written += len(text)
            with suppress(OSError):
                self._file.write(text)
            return
        self._last.append(text)
        self._waiting += len(text)
        while self._waiting > self._half and len(self._last) > 1:
            self._waiting -= len(self._last.popleft())
            self._left_out += 1


def new_log(environment: Mapping[str, str], name: str, *, most: int = MAX_LOGS) -> BuildLog:
    """Return the file for a build's output; the oldest of many are removed.

    Args:
        environment: Says where the user's state is.
        name: Name of the image.
        most: How many files there are at most, this one too.

    Raises:
        Ds01Error: It cannot be written.
    """
    state = environment.get("XDG_STATE_HOME") or str(home(environment) / ".local" / "state")
    folder = Path(state) / "ds01" / "builds"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(folder.glob("*.log"), key=_written_at)[: -most + 1]:
            with suppress(OSError):
                old.unlink()
        path = _new_file(folder, f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    except OSError as failure:
        raise _said(folder, failure) from failure
    return BuildLog(path)


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0  # another build removed it meanwhile


def _new_file(folder: Path, stem: str) -> Path:
    """Make a file that no other build has: two of one name may begin in one second, if only for one to be refused."""
    names = itertools.chain([f"{stem}.log"], (f"{stem}-{number}.log" for number in itertools.count(2)))
    while True:
        path = folder / next(names)
        with suppress(FileExistsError):
            path.touch(exist_ok=False)
            return path


def _said(path: Path, failure: OSError) -> Ds01Error:
    return Ds01Error(f"{path}: {failure.strerror}.", hint="The output of a build is kept there.")
