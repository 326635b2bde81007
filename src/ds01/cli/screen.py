"""What a person or a program sees: data on stdout, messages on stderr, colour only on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from ds01.errors import Ds01Error

TYPE_CHECKING = False  # see client.session
if TYPE_CHECKING:
    from typing import TextIO

DEFAULT_WIDTH = 80
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "accent": "36"}
_SYMBOLS = {"ok": ("✓", "+"), "failed": ("✗", "x"), "attention": ("⚠", "!"), "next": ("→", "->"), "cut": ("…", "~")}
# Names, commands and messages are written by others; their control characters could drive the reader's terminal.
_CONTROLS = dict.fromkeys((*range(32), 127, *range(128, 160), 8232, 8233, *range(8234, 8239)), "�")
_CONTROLS_BUT_NEWLINE = {code: text for code, text in _CONTROLS.items() if code != 0x0A}


def clean(text: str) -> str:
    """Return text that is one line and cannot move a terminal's cursor."""
    return text if text.isascii() and text.isprintable() else text.translate(_CONTROLS)


def clean_lines(text: str) -> str:
    """Return text whose only control characters are ends of lines."""
    return text if text.isascii() and text.isprintable() else text.translate(_CONTROLS_BUT_NEWLINE)


class Screen:
    """The two output streams of this process.

    Attributes:
        out_is_terminal: Data goes to a person.
        error_is_terminal: Messages go to a person.
        has_lost_data: Data could not be written.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.out_is_terminal = _is_terminal(sys.stdout)
        self.error_is_terminal = _is_terminal(sys.stderr)
        self.has_lost_data = False
        wants_colour = not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
        self.out_has_colour = wants_colour and self.out_is_terminal
        self.error_has_colour = wants_colour and self.error_is_terminal
        for stream in (sys.stdout, sys.stderr):
            # only once: a Ctrl-C in the middle of this leaves a stream that nothing can be written to
            if hasattr(stream, "reconfigure") and stream.errors != "backslashreplace":
                stream.reconfigure(errors="backslashreplace")

    def width(self) -> int | None:
        """Return the columns of the terminal that data goes to; None if it goes elsewhere."""
        if not self.out_is_terminal:
            return None
        try:
            return os.get_terminal_size(sys.stdout.fileno()).columns or DEFAULT_WIDTH
        except OSError:
            return DEFAULT_WIDTH

    def data(self, text: str) -> None:
        """Write lines of data.

        Raises:
            OSError: They do not reach their place.
        """
        if sys.stdout is None:
            return
        try:
            sys.stdout.write(text + "\n")
        except OSError:
            self.has_lost_data = True
            raise

    def is_out_lost(self) -> bool:
        """Tell whether some of what was printed did not reach its place; what is still in the buffer is tried again."""
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError:
            return True
        return self.has_lost_data

    def document(self, document: object) -> None:
        """Write a document as JSON, in ASCII so that no locale can spoil it."""
        import json

        self.data(json.dumps(document, indent=2))

    def success(self, text: str) -> None:
        """Tell a person that it is done; programs have the exit status."""
        if self.error_is_terminal:
            self._message(self._sign("ok", "green") + clean_lines(text))

    def note(self, text: str) -> None:
        """Tell a person what goes on behind the scenes."""
        if self.error_is_terminal:
            self._message(self.styled(clean_lines(text), "dim"))

    def dimmed(self, text: str) -> None:
        """Write a line of somebody's output, whoever reads it."""
        self._message(self.styled(clean(text), "dim"))

    def suggest(self, command: str) -> None:
        """Tell a person the command that comes next."""
        if self.error_is_terminal:
            self._message(self._sign("next", "accent") + self.styled(clean(command), "green"))

    def tell(self, text: str) -> None:
        """Write a plain message, whoever reads it."""
        self._message(clean_lines(text))

    def tell_styled(self, *parts: tuple[str, str]) -> None:
        """Write one line of parts in their styles."""
        self._message("".join(self.styled(clean(text), style) for text, style in parts))

    def heading(self, text: str, aside: str = "") -> None:
        """Begin a section for a person: an empty line, its title, and what is said beside it."""
        if self.error_is_terminal:
            beside = "  " + self.styled(clean(aside), "dim") if aside else ""
            self._message("\n" + self.styled(clean(text), "accent") + beside)

    def warn(self, text: str) -> None:
        """Write a warning, whoever reads it."""
        self._message(self._sign("attention", "yellow") + clean_lines(text))

    def failure(self, text: str, hint: str | None = None) -> None:
        """Write what failed and what to do about it."""
        self._message(self._sign("failed", "red") + clean_lines(text))
        for line in clean_lines(hint or "").splitlines():
            self._message(("  " if line.startswith(" ") else self._sign("next", "accent")) + line)

    def update(self, text: str) -> None:
        """Write over the line that is being updated; only on a terminal."""
        if self.error_is_terminal and sys.stderr is not None:
            sys.stderr.write("\r\x1b[K" + self.styled(clean(text)[: self._error_width() - 1], "dim"))
            sys.stderr.flush()

    def end_update(self) -> None:
        """Remove the line that was being updated."""
        if self.error_is_terminal and sys.stderr is not None:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def clear(self) -> None:
        """Begin at the top of an empty terminal."""
        if self.out_is_terminal:
            sys.stdout.write("\x1b[H\x1b[2J")

    def styled(self, text: str, style: str, *, on_out: bool = False) -> str:
        """Return text in a style if the stream it is for shows colour."""
        if not (self.out_has_colour if on_out else self.error_has_colour) or not style:
            return text
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"

    def symbol(self, name: str, *, on_out: bool = False) -> str:
        """Return a symbol, or its ASCII stand-in where the encoding lacks it."""
        stream = sys.stdout if on_out else sys.stderr
        encoding = (getattr(stream, "encoding", None) or "ascii").lower()
        return _SYMBOLS[name][0 if encoding.startswith("utf") else 1]

    def draws_unicode(self) -> bool:
        """Tell whether data may hold more than ASCII: bars are drawn with other characters where not."""
        return (getattr(sys.stdout, "encoding", None) or "ascii").lower().startswith("utf")

    def _sign(self, symbol: str, style: str) -> str:
        return self.styled(self.symbol(symbol), style) + " "

    def _message(self, text: str) -> None:
        if sys.stderr is None:
            return
        try:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
        except OSError:  # nobody can be told; what was asked for and its exit status are worth more
            forget(sys.stderr)

    def _error_width(self) -> int:
        try:
            return os.get_terminal_size(sys.stderr.fileno()).columns or DEFAULT_WIDTH
        except OSError:
            return DEFAULT_WIDTH


def lost_output(failure: OSError) -> Ds01Error:
    """Return what there is to say when data does not reach its place."""
    return Ds01Error(f"The output could not be written: {failure.strerror}.", hint="Write it where there is room.")


def forget(stream: TextIO | None) -> None:
    """Give the rest of an output nowhere to go: Python would complain at its end, and change the exit status."""
    if stream is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()
