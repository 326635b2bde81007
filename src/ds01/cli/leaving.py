"""The keys that leave a console and let its program go on, written as docker writes them: `ctrl-p,ctrl-q`."""

from ds01.errors import InvalidRequestError

DEFAULT_KEYS = "ctrl-p,ctrl-q"
_SIGNS = "@abcdefghijklmnopqrstuvwxyz[\\]^_"
"""Key beside Ctrl by the byte that both send. Source: ascii(7), the column of control characters."""


class LeavingKeys:
    """Looks for the keys in what is typed.

    What could be their beginning is held back until it is known what follows, as docker does it.

    Attributes:
        were_typed: They have been typed, all of them, in their order.
    """

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""
        self.were_typed = False

    def pass_on(self, typed: bytes) -> bytes:
        """Return what the program is to get of this and of what was held back."""
        waiting = self._held + typed
        self._held = b""
        position = waiting.find(self._keys)
        if position >= 0:
            self.were_typed = True
            return waiting[:position]
        for length in range(min(len(self._keys) - 1, len(waiting)), 0, -1):
            if self._keys.startswith(waiting[-length:]):
                self._held = waiting[-length:]
                return waiting[:-length]
        return waiting


def parse_keys(text: str) -> bytes:
    r"""Return the bytes that keys send.

    Args:
        text: Single signs and `ctrl-` with a letter or one of `@ [ \ ] ^ _`, separated by commas.

    Raises:
        InvalidRequestError: It names the key that is none.
    """
    return bytes(_byte_of(key) for key in text.split(","))


def _byte_of(key: str) -> int:
    sign = key.lower().removeprefix("ctrl-")
    if key.lower().startswith("ctrl-") and len(sign) == 1 and sign in _SIGNS:
        return _SIGNS.index(sign)
    if len(key) == 1 and key.isascii() and key.isprintable():
        return ord(key)
    raise InvalidRequestError(
        f"{key!r} is not a key that could leave a console.",
        hint=f"Write single signs and ctrl- with a letter, separated by commas, such as {DEFAULT_KEYS} or ctrl-x,x.",
    )
