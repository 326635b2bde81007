"""Questions to a person. Only asked where somebody can answer; end of file means cancelled."""

import os
import select
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ds01.cli.call import Call
from ds01.cli.screen import Screen, clean, clean_lines
from ds01.errors import Ds01Error

_HELP = "(arrow keys, type to filter)"
BACK_KEY = "<"
LINE_BYTES = 4096
"""Of a longer line the kernel drops the rest without a word. Source: termios(3), canonical mode (Linux)."""
_LOOK_AGAIN_S = 0.2
_BACK = "\0back"
_HELP_SEVERAL = "(arrow keys, space picks, type to filter)"
_MARK = "? "
_COLOURS = (
    ("qmark", "fg:ansicyan"),
    ("question", "bold"),
    ("instruction", "fg:ansibrightblack"),
    ("pointer", "fg:ansicyan bold"),
    ("highlighted", "fg:ansicyan"),
    ("selected", "noreverse fg:ansicyan"),
)
"""One accent: what is pointed at, picked or proposed."""
_BEFORE_LABEL = 4


@dataclass(frozen=True, slots=True)
class Choice:
    """One line of a list to choose from.

    Attributes:
        value: What is returned.
        label: What is shown.
    """

    value: str
    label: str


def confirm(question: str) -> bool:
    """Ask a yes-or-no question; only a typed yes is one.

    Raises:
        Ds01Error: The input ended.
    """
    return _read(question, "y/N").strip().lower() in {"y", "yes"}


def ask_text(question: str, proposal: str = "") -> str:
    """Ask for a line of text; an empty one takes the proposal.

    Raises:
        Ds01Error: The input ended.
    """
    return _read(question, proposal).strip() or proposal


def ask_or_back(question: str, proposal: str = "", shown: str = "") -> str | None:
    """Ask for a line of text; an empty one takes the proposal, and `<` alone is None: one step back.

    Args:
        question: What to ask.
        proposal: What an empty line means.
        shown: Says what that is; the proposal itself if empty. Who types it means it, and no package `none`.

    Raises:
        Ds01Error: The input ended.
    """
    text = _read(question, shown or proposal).strip()
    if text == BACK_KEY:
        return None
    return proposal if text.lower() == shown.lower() else text or proposal


def pick_or_back(
    call: Call, question: str, choices: Sequence[Choice], *, default: str | None = None, is_first: bool = False
) -> str | None:
    """Let a person choose one line; None: one step back.

    Args:
        call: The call.
        question: What to ask.
        choices: The lines.
        default: Value of the line that is chosen beforehand.
        is_first: There is nothing to go back to.

    Raises:
        Ds01Error: The input ended.
    """
    lines = [*choices] if is_first else [*choices, Choice(_BACK, "back")]
    chosen = pick(call, question, lines, default=default)
    return None if chosen == _BACK else chosen


def pick(call: Call, question: str, choices: Sequence[Choice], *, default: str | None = None) -> str:
    """Let a person choose one line; the one with the value `default` is chosen beforehand.

    Raises:
        Ds01Error: The input ended.
    """
    import questionary

    prompt = questionary.select(
        clean(question),
        choices=_lines(choices),
        default=default,
        instruction=_HELP,
        use_search_filter=True,
        use_jk_keys=False,
        **_settings(call),
    )
    chosen = str(_asked(prompt))
    _tell_answer(call, question, [choice.label for choice in choices if choice.value == chosen])
    return chosen


def pick_several(call: Call, question: str, choices: Sequence[Choice]) -> list[str]:
    """Let a person choose several lines, at least one.

    Raises:
        Ds01Error: The input ended, or nothing was chosen.
    """
    chosen = pick_any(call, question, choices)
    if not chosen:
        raise nothing_picked()
    return chosen


def nothing_picked() -> Ds01Error:
    """Return the error for a list in which nothing was chosen."""
    return Ds01Error("Nothing was picked, so nothing was changed.", hint="Space picks a line, Enter ends.")


def pick_any(call: Call, question: str, choices: Sequence[Choice]) -> list[str]:
    """Let a person choose several lines, or none.

    Raises:
        Ds01Error: The input ended.
    """
    import questionary

    prompt = questionary.checkbox(
        clean(question),
        choices=_lines(choices),
        instruction=_HELP_SEVERAL,
        use_search_filter=True,
        use_jk_keys=False,
        **_settings(call),
    )
    chosen = [str(value) for value in _asked(prompt)]
    _tell_answer(call, question, [choice.label for choice in choices if choice.value in chosen])
    return chosen


def _lines(choices: Sequence[Choice]) -> list[Any]:
    import questionary

    width = _columns() - _BEFORE_LABEL - 1
    return [questionary.Choice(_fitted(choice.label, width), value=choice.value) for choice in choices]


def _tell_answer(call: Call, question: str, labels: Sequence[str]) -> None:
    """Write what was chosen in one line, in place of the list."""
    screen, text = call.screen, clean(question)
    answer = _fitted(", ".join(labels) or "nothing", _columns() - len(_MARK) - len(text) - 2)
    screen.tell_styled((_MARK, "accent"), (text, "bold"), (" ", ""), (answer, "accent"))


def _fitted(text: str, width: int) -> str:
    """Return text of one line that is not longer than the width: terminals would go on in the middle of a word."""
    text = clean(text)
    return text if len(text) <= width else text[: max(0, width - 1)].rstrip() + "…"


def _columns() -> int:
    return shutil.get_terminal_size().columns


def _settings(call: Call) -> dict[str, Any]:
    """Questions go to the terminal behind stderr, because stdout is for data."""
    from prompt_toolkit.output import ColorDepth, create_output
    from prompt_toolkit.styles import Style

    settings: dict[str, Any] = {
        "output": create_output(stdout=sys.stderr),
        "erase_when_done": True,
        "style": Style(list(_COLOURS)),
    }
    if not call.screen.error_has_colour:
        settings["color_depth"] = ColorDepth.DEPTH_1_BIT
    return settings


def _asked(prompt: Any) -> Any:  # noqa: ANN401 - questionary's answers are what its choices hold
    _obey_interrupts(prompt.application)
    try:
        return prompt.unsafe_ask()
    except EOFError as failure:
        raise cancelled() from failure


def _obey_interrupts(application: Any) -> None:  # noqa: ANN401 - prompt_toolkit's, of any result
    """Let Ctrl-C end the question from its first moment on.

    Until the terminal is in raw mode Ctrl-C comes as a signal, which prompt_toolkit makes a key that questionary does
    not know.
    """
    from prompt_toolkit.key_binding import KeyBindings, merge_key_bindings
    from prompt_toolkit.keys import Keys

    interrupt = KeyBindings()

    @interrupt.add(Keys.SIGINT, eager=True)
    def _end(event: Any) -> None:  # noqa: ANN401 - as above
        event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    application.key_bindings = merge_key_bindings([application.key_bindings, interrupt])


def _read(question: str, proposal: str) -> str:
    *before, last = clean_lines(question).split("\n")
    screen = Screen(os.environ)
    for line in before:
        screen.tell(line)
    shown = f" [{clean(proposal)}]" if proposal else ""
    while True:
        sys.stderr.write(screen.styled(_MARK, "accent") + screen.styled(last, "bold") + f"{shown} ")
        sys.stderr.flush()
        line = _line()
        if not line:
            sys.stderr.write("\n")
            raise cancelled()
        if not sys.stdin.isatty() or len(os.fsencode(line)) < LINE_BYTES:
            return line
        screen.failure(
            f"A terminal takes no line of {LINE_BYTES} bytes or more: the rest of it is lost, so none of it counts.",
            "Write it into a file and name that, or write less at a time.",
        )


def _line() -> str:
    """Return the next line of the standard input.

    A signal that comes in the moment before Python begins to read is noticed only when something was read: on a busy
    machine Ctrl-C was answered by nothing. Waiting in short pieces notices it.
    """
    if sys.stdin.isatty():
        while not select.select([sys.stdin], [], [], _LOOK_AGAIN_S)[0]:
            pass
    return sys.stdin.readline()


def cancelled() -> Ds01Error:
    """Return the error for a question that was not answered with yes."""
    return Ds01Error("Cancelled: nothing was changed.")
