"""A file of lines that a log rotation may take away and a crash may leave torn."""

import os
from pathlib import Path

from ds01.service.ports import Checkpoint

FILE_MODE = 0o640
FOLDER_MODE = 0o750
TAIL_BYTES = 64 * 1024
"""A longer last line is not looked at."""
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class ExportFile:
    """Appends whole lines durably. Everything raises OSError; after one the file is closed and is opened anew."""

    def __init__(self, path: Path, checkpoint: Checkpoint) -> None:
        self.path = path
        self._checkpoint = checkpoint
        self._descriptor: int | None = None

    def open_if_moved(self) -> bytes | None:
        """Open the file that the path names now; a torn last line is cut off.

        Returns:
            The last line of a file that was opened now, empty without one; None if it is the same as before.
        """
        if self._descriptor is not None:
            if self._is_in_place(self._descriptor):
                return None
            self.close()
        self.path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        descriptor = os.open(self.path, _FLAGS, FILE_MODE)
        try:
            last = _cut_torn_line(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return last

    def append(self, data: bytes) -> None:
        """Append lines and return once they are durable."""
        assert self._descriptor is not None, "opened before"
        rest = memoryview(data)
        try:
            while rest:
                self._checkpoint("export")
                rest = rest[os.write(self._descriptor, rest) :]
            os.fsync(self._descriptor)
        except OSError:
            self.close()  # a full disk leaves a torn line, which the next opening cuts off
            raise
        self._checkpoint("exported")

    def close(self) -> None:
        """Close the file; twice is allowed."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _is_in_place(self, descriptor: int) -> bool:
        ours = os.fstat(descriptor)
        try:
            named = os.lstat(self.path)
        except FileNotFoundError:
            return False
        return (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)


def _cut_torn_line(descriptor: int) -> bytes:
    """Cut off what stands behind the last line end; return the last whole line without its end."""
    size = os.fstat(descriptor).st_size
    start = max(size - TAIL_BYTES, 0)
    tail = os.pread(descriptor, size - start, start)
    end = tail.rfind(b"\n") + 1
    if end < len(tail):
        os.ftruncate(descriptor, start + end)
        os.fsync(descriptor)
    return tail[: max(end - 1, 0)].rpartition(b"\n")[2]
