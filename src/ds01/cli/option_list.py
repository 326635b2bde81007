"""`--info` of a command: each of its options with what applies to the caller here."""

import textwrap
from collections.abc import Callable, Sequence

from ds01.cli.call import Call
from ds01.cli.spec import Option

_HEAD_WIDTH, _WIDTH = 32, 78


def print_options(call: Call, options: Sequence[Option], here: Callable[[Option], str]) -> None:
    """Print options.

    Args:
        call: The call.
        options: The options.
        here: Returns what applies to one of them here; may be empty.
    """
    for option in options:
        head = f"{', '.join(option.names)} {option.metavar}".strip()
        call.screen.data(f"{head.ljust(_HEAD_WIDTH)}  {here(option)}".rstrip())
        call.screen.data(textwrap.fill(option.meaning, _WIDTH, initial_indent="    ", subsequent_indent="    "))
