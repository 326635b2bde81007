"""What a command is, said once: click, the fast path and the completion read the same declaration.

No click and no dataclasses here: `ds01 list` is answered before either could be imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

TYPE_CHECKING = False  # see client.session
if TYPE_CHECKING:
    from typing import Literal

    from ds01.cli.call import Call

    Kind = Literal["flag", "text", "number", "choice", "optional"]
    Tail = Literal["", "dashes", "rest"]


class Option:
    """One option of a command.

    Attributes:
        names: Spellings, short ones first.
        key: Name of its value, from the last spelling.
        meaning: One sentence.
        kind: flag; text; number: a whole one; choice: one of `choices`; optional: alone, or `--name=LENGTH` with a
            length of time.
        choices: What a choice may be; what the completion proposes for a text.
        metavar: Stands for the value in help.
        many: May be given more than once.
        completes: What the completion offers for its value, as of arguments.
    """

    __slots__ = ("choices", "completes", "key", "kind", "many", "meaning", "metavar", "names")

    def __init__(
        self,
        names: str,
        meaning: str,
        *,
        kind: Kind = "flag",
        metavar: str = "",
        choices: Sequence[str] = (),
        many: bool = False,
        completes: str = "",
    ) -> None:
        self.names = tuple(names.split())
        self.key = self.names[-1].lstrip("-").replace("-", "_")
        self.meaning = meaning
        self.kind = kind
        self.metavar = metavar
        self.choices = tuple(choices)
        self.completes = completes
        self.many = many


class Argument:
    """One positional argument.

    Attributes:
        key: Name of its value; shown in capitals.
        many: Takes all that are left.
        shown: How help shows it.
        completes: What the completion offers for it, see `complete`: container, gpu, own_image, topic, ... or nothing.
    """

    __slots__ = ("completes", "key", "many", "shown")

    def __init__(self, key: str, *, many: bool = False, shown: str = "", completes: str = "") -> None:
        self.key = key
        self.many = many
        self.shown = shown or f"[{key.upper()}]" + ("..." if many else "")
        self.completes = completes


class Spec:
    """One command.

    Attributes:
        run: Does it; returns the exit status.
        examples: Lines to copy, with what they do.
        details: More sentences for help.
        arguments: Positional arguments.
        options: Options.
        tail: A program's words: `dashes`: those after `--`; `rest`: those after the last argument too.
        passes_status: The exit status is the program's; own failures are 125, as docker has it.
    """

    __slots__ = ("arguments", "details", "examples", "options", "passes_status", "run", "tail")

    def __init__(
        self,
        run: Callable[[Call], int],
        *,
        examples: Sequence[str],
        details: str = "",
        arguments: Sequence[Argument] = (),
        options: Sequence[Option] = (),
        tail: Tail = "",
        passes_status: bool = False,
    ) -> None:
        self.run = run
        self.examples = tuple(examples)
        self.details = details
        self.arguments = tuple(arguments)
        self.options = tuple(options)
        self.tail = tail
        self.passes_status = passes_status


FORMATS = ("table", "json", "csv", "name")
JSON = Option("--json", "Print the answer as JSON; errors as problem documents on stderr.")
YES = Option("-y --yes", "Answer every question with yes.")
SCRIPT = Option("-s --script", "For scripts: never ask, answer with yes.")
NO_INPUT = Option("--no-input", "Never ask: what is missing is an error.")
DRY_RUN = Option("--dry-run", "Only say what would be done, and the docker command for it.")
FORMAT = Option("--format", "How to print.", kind="choice", choices=FORMATS)
QUIET_NAMES = Option("-q --quiet", "Print names only.")
ASKING = (YES, SCRIPT, NO_INPUT)
NAME = Argument("name", completes="container")
NAMES = Argument("names", many=True, shown="[NAME]...", completes="container")


def parse_simple(options: Sequence[Option], words: Sequence[str]) -> dict[str, object] | None:
    """Return the values if the words are nothing but plain options; None leaves them to click.

    Whatever is unusual (an unknown option, help, joined short options, an argument) is click's, which has the words.
    """
    by_name = {name: option for option in options for name in option.names}
    values = empty_values(options)
    waiting = iter(words)
    for word in waiting:
        name, has_value, value = word.partition("=")
        option = by_name.get(name)
        if option is None or option.many or (has_value and option.kind == "flag"):
            return None
        if option.kind == "flag":
            values[option.key] = True
            continue
        text = value if has_value else next(waiting, None)
        if text is None or option.kind != "choice" or text not in option.choices:
            return None
        values[option.key] = text
    return values


def empty_values(options: Sequence[Option]) -> dict[str, object]:
    """Return the values of options that were not given."""
    return {option.key: False if option.kind == "flag" else () if option.many else None for option in options}
