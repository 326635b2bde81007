"""Where somebody's X display is, and the key to it. Source: X(7), "Display names"; Xsecurity(7); Xau, `AuRead.c`."""

import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ds01.errors import ConflictError, InvalidRequestError

SOCKETS = "/tmp/.X11-unix"  # noqa: S108 - where X servers listen
FIRST_PORT = 6000
CONNECT_TIMEOUT_S = 5.0
_DISPLAY = re.compile(r"(?:unix|(?P<host>[^:/]*)):(?P<number>[0-9]{1,5})(?:\.[0-9]+)?")
_ANYWHERE = 0xFFFF
"""Family of an entry that fits whatever the address. Source: Xauth.h, FamilyWild."""


@dataclass(frozen=True, slots=True)
class DisplayAddress:
    """A display.

    Attributes:
        text: As it was in DISPLAY.
        host: Machine to which the connection goes by TCP; empty: a socket of this one.
        number: Its number.
    """

    text: str
    host: str
    number: int

    def connect(self) -> socket.socket:
        """Return a connection to the X server.

        Raises:
            ConflictError: It does not answer.
        """
        try:
            if self.host:
                return socket.create_connection((self.host, FIRST_PORT + self.number), timeout=CONNECT_TIMEOUT_S)
            return self._connect_here()
        except OSError as failure:
            raise ConflictError(
                f"Your display {self.text} does not answer: {failure.strerror or failure}.",
                hint="Does `xdpyinfo` work here? Log in with ssh -X, or leave --x11 out.",
            ) from failure

    def _connect_here(self) -> socket.socket:
        path = f"{SOCKETS}/X{self.number}"
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            try:
                connection.connect(path)
            except OSError:
                connection.connect(f"\0{path}")  # some servers listen on the abstract name only
        except OSError:
            connection.close()
            raise
        return connection


def find_display(environment: Mapping[str, str]) -> DisplayAddress:
    """Return the display of this session.

    Raises:
        InvalidRequestError: There is none, or DISPLAY is malformed.
    """
    text = environment.get("DISPLAY", "")
    if not text:
        raise InvalidRequestError(
            "You have no display here: DISPLAY is not set.", hint="Log in with ssh -X, or leave --x11 out."
        )
    found = _DISPLAY.fullmatch(text)
    if found is None:
        message = f"DISPLAY={text[:80]!r} is not an X display."
        raise InvalidRequestError(message, hint="It looks like :0 or localhost:10.0")
    return DisplayAddress(text, found["host"] or "", int(found["number"]))


@dataclass(frozen=True, slots=True)
class _Entry:
    number: bytes
    name: bytes
    key: bytes


def key_for(display: DisplayAddress, environment: Mapping[str, str]) -> bytes:
    """Return an authority file for a copy of this display, whatever its address; empty if the user has no key for it.

    Args:
        display: The display.
        environment: Variables: XAUTHORITY, HOME.
    """
    path = environment.get("XAUTHORITY") or os.path.join(os.path.expanduser("~"), ".Xauthority")
    try:
        with open(path, "rb") as file:
            entries = list(_entries(file.read()))
    except OSError:
        return b""
    wanted = str(display.number).encode()
    # an entry without a number is for every display; the one with the number is the better one
    fitting = sorted((entry for entry in entries if entry.number in {wanted, b""}), key=lambda entry: not entry.number)
    if not fitting:
        return b""
    parts = (b"", b"", fitting[0].name, fitting[0].key)
    return struct.pack(">H", _ANYWHERE) + b"".join(struct.pack(">H", len(part)) + part for part in parts)


def _entries(data: bytes) -> Iterator[_Entry]:
    """Yield what the file has; one that is cut off in the middle ends there."""
    position = 0
    while position + 2 <= len(data):
        position += 2  # the family: a copy has another address than the display
        parts: list[bytes] = []
        for _ in range(4):
            if position + 2 > len(data):
                return
            (length,) = struct.unpack_from(">H", data, position)
            parts.append(data[position + 2 : position + 2 + length])
            position += 2 + length
        if position > len(data):
            return
        yield _Entry(parts[1], parts[2], parts[3])
