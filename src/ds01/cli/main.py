"""`ds01`: what is typed becomes a call of a command; what goes wrong becomes words and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType

from ds01.cli.call import Call, Process
from ds01.cli.screen import forget, lost_output
from ds01.cli.spec import parse_simple
from ds01.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, Ds01Error

TYPE_CHECKING = False  # see client.session
if TYPE_CHECKING:
    import click

EXIT_BROKEN_PIPE = 141
"""128 + SIGPIPE, as a shell shows it: the reader of our output is gone, and nobody needs to be told."""
STANDARD_DESCRIPTORS = (0, 1, 2)
_LIST_SPELLINGS = (("list",), ("ls",), ("container", "list"), ("container", "ls"))
_COMPLETION_WORD = "__complete"


def main() -> None:
    """Run the program with this process's words and end it with the exit status."""
    sys.excepthook = _show_unexpected
    _open_missing_streams()
    _buffer_stdout()
    sys.exit(run(sys.argv[1:], os.environ))


def _open_missing_streams() -> None:
    """Give a stream that we were started without nowhere to lead: else the socket to the daemon gets its number."""
    for descriptor in STANDARD_DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(nowhere, True)


def _buffer_stdout() -> None:
    """Undo PYTHONUNBUFFERED: without its buffer a text stream silently drops what a full pipe does not take."""
    if sys.stdout is not None and not hasattr(sys.stdout.buffer, "raw"):
        descriptor, encoding = sys.stdout.fileno(), sys.stdout.encoding
        sys.stdout = open(descriptor, "w", encoding=encoding, closefd=False)  # noqa: SIM115 - lives as long as we do


def build_cli() -> click.Group:
    """Return the root of the command tree; every command below it is loaded when it is asked for."""
    from ds01.cli.group import build_tree

    return build_tree()


def run(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Return the exit status of a command line.

    Args:
        words: What was typed after `ds01`.
        environment: The environment.
    """
    process = Process(environment, words)
    try:
        status = _reported(process, words)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        forget(sys.stdout)
        status = EXIT_BROKEN_PIPE
    except OSError as failure:
        if not process.screen.is_out_lost():
            raise
        forget(sys.stdout)
        lost = lost_output(failure)
        process.screen.failure(lost.message, lost.hint)
        status = lost.exit_status
    return status


def _reported(process: Process, words: Sequence[str]) -> int:
    try:
        return _dispatch(process, words)
    except Ds01Error as error:
        process.report(error)
        return error.exit_status
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _dispatch(process: Process, words: Sequence[str]) -> int:
    status = _answer_quickly(process, words)
    return _answer_with_click(process, words) if status is None else status


def _answer_quickly(process: Process, words: Sequence[str]) -> int | None:
    """Answer what is typed most and what the Tab key asks, before click is imported."""
    if words and words[0] == _COMPLETION_WORD:
        from ds01.cli.complete import complete

        return complete(process, words[1:])
    for spelling in _LIST_SPELLINGS:
        if tuple(words[: len(spelling)]) == spelling:
            from ds01.cli.commands.container.listing import LIST

            values = parse_simple(LIST.options, words[len(spelling) :])
            if values is not None:
                process.wants_json = bool(values["json"]) or values["format"] == "json"
                return LIST.run(Call(process, values, form=" ".join(["ds01", *spelling[:-1]])))
    return None


def _answer_with_click(process: Process, words: Sequence[str]) -> int:
    import click

    from ds01.cli.group import build_tree, problem_of_usage

    try:
        status = build_tree().main(list(words), prog_name="ds01", standalone_mode=False, obj=process)
    except click.UsageError as error:
        raise problem_of_usage(error) from error
    except click.Abort as error:
        raise KeyboardInterrupt from error
    except SystemExit as left:
        if left.code != EXIT_FAILURE:
            raise  # a signal ended a session
        raise BrokenPipeError from left  # so click ends a program when the reader of its output is gone
    return status if isinstance(status, int) else EXIT_OK


def _show_unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say a bug in one line. Python ends with status 1 after this."""
    if os.environ.get("DS01_DEBUG") or issubclass(kind, KeyboardInterrupt):
        if not issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        return
    screen = Process(os.environ).screen
    hint = "This should not happen. Run it again with DS01_DEBUG=1 and report what it prints."
    screen.failure(f"ds01 failed: {kind.__name__}: {error}", hint)
