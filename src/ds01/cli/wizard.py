"""Questions in steps: every step can be taken back, and with --guided a text explains each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from ds01.cli.call import Call
from ds01.errors import InvalidRequestError

Values = Mapping[str, object]
"""Values of a command's arguments and options, as if they had been typed."""
_SECTION = "== "
OPENING = "opening"


@dataclass(frozen=True, slots=True)
class Step:
    """One question, or a few that belong together.

    Attributes:
        key: Name of its section in the guided text.
        title: What it is about.
        ask: Asks; returns what is to be added to the values, None: one step back.
        applies: Tells whether it is to be asked, given the values so far.
        is_typed: Its answer is a line of text; lists have a line that goes back.
    """

    key: str
    title: str
    ask: Callable[[Values], Values | None]
    applies: Callable[[Values], bool]
    is_typed: bool = False


def walk(call: Call, steps: Sequence[Step], values: Values, texts: Mapping[str, str]) -> Values:
    """Ask step by step and return the values with every answer.

    Args:
        call: The command.
        steps: The steps in their order.
        values: What was typed.
        texts: Explanations by the keys of the steps; empty: none are shown.

    Raises:
        Ds01Error: The input ended.
    """
    past: list[tuple[int, Values]] = []
    position, current = 0, values
    while position < len(steps):
        step = steps[position]
        if not step.applies(current):
            position += 1
            continue
        _introduce(call, step, len(past) + 1, _count(steps, position, current) + len(past), texts)
        answers = step.ask(current)
        if answers is None:
            if past:
                position, current = past.pop()
            continue
        past.append((position, current))
        position, current = position + 1, {**current, **answers}
    return current


def is_first(values: Values, steps: Sequence[Step], key: str) -> bool:
    """Tell whether no step is asked before this one."""
    before = [step for step in steps[: [step.key for step in steps].index(key)] if step.applies(values)]
    return not before


def read_guide(package: str, name: str) -> dict[str, str]:
    """Return the explanations of a command by step, from the file beside it.

    Args:
        package: Where the command is.
        name: Its name.
    """
    text = (files(package) / "guided" / f"{name}.txt").read_text(encoding="utf-8")
    sections = (part.partition("\n") for part in ("\n" + text).split("\n" + _SECTION)[1:])
    return {key.strip(): body.strip("\n") for key, _, body in sections}


def require_person(call: Call) -> None:
    """Raise if --guided was typed where nobody reads and answers.

    Raises:
        InvalidRequestError: It was.
    """
    if call.flag("guided") and not call.can_ask:
        raise InvalidRequestError(
            "--guided explains and asks, and there is nobody to ask.", hint="Leave it out, or use a terminal."
        )


def _count(steps: Sequence[Step], position: int, values: Values) -> int:
    return sum(1 for step in steps[position:] if step.applies(values))


def _introduce(call: Call, step: Step, number: int, count: int, texts: Mapping[str, str]) -> None:
    aside = "< goes back" if step.is_typed and number > 1 else "" if number > 1 else "Ctrl-C ends, nothing is created"
    call.screen.heading(f"Phase {number}/{count}: {step.title}", aside)
    if text := texts.get(step.key):
        call.screen.tell(text)
