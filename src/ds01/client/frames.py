"""The frames in which a program without a terminal sends its output and its errors over one stream.

Source: Docker Engine API, "Attach to a container", stream format: 8 bytes {kind, 0, 0, 0, length as 4 bytes, high byte
first}, then that many bytes; kind 1 is standard output, 2 is standard error.
"""

from collections.abc import Iterator

from ds01.errors import DaemonUnreachableError

STDOUT = 1
STDERR = 2
_HEADER_BYTES = 8
_KINDS = frozenset({0, STDOUT, STDERR})


class FrameReader:
    """Takes the stream's bytes as they come and gives them out by kind; frames may be cut anywhere."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._kind = STDOUT
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (kind, bytes) for what can be told already; nothing is held back but headers.

        Raises:
            DaemonUnreachableError: The stream is not made of frames.
        """
        position = 0
        while position < len(data):
            if self._left:
                piece = data[position : position + self._left]
                position += len(piece)
                self._left -= len(piece)
                yield self._kind, piece
            else:
                wanted = _HEADER_BYTES - len(self._header)
                self._header += data[position : position + wanted]
                position += wanted
                if len(self._header) == _HEADER_BYTES:
                    self._begin()

    def is_whole(self) -> bool:
        """Tell whether the stream may end here: not within a frame."""
        return not self._left and not self._header

    def _begin(self) -> None:
        kind, zeros = self._header[0], self._header[1:4]
        if kind not in _KINDS or any(zeros):
            raise DaemonUnreachableError(
                "The program's output does not come in frames.",
                hint="ds01 and ds01d are of different versions: ds01 version",
            )
        self._kind = kind or STDOUT
        self._left = int.from_bytes(self._header[4:], "big")
        self._header.clear()
