"""The command tree as click knows it, built from the declarations and loaded when typed."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, cast

import click

from ds01 import VERSION
from ds01.cli.call import Call, Process
from ds01.cli.spec import Argument, Option, Spec
from ds01.cli.tree import DEFAULT_VERBS, NOUNS, PACKAGE, SECTIONS, Entry, nearest, nouns_below, verbs_of
from ds01.errors import Ds01Error, InvalidRequestError

OWN_FAILURE_STATUS = 125
_LENGTH = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[smhdw])+", re.IGNORECASE)
HELP_NAMES = ("-h", "--help")
ROOT_HELP = """Share GPU servers: your own framework container in one command.

\b
Examples:
  ds01 create my-project pytorch    a container with PyTorch and one GPU
  ds01 open my-project              a shell in it
  ds01 list                         your containers
  ds01 gpus                         who holds which GPU
  ds01 limits                       what you may use

Every command has --help. Data is on stdout, messages are on stderr; with --json errors are problem documents on stderr.
"""
EXIT_HELP = """\b
Exit status:
  0 done                        5 no free GPU now
  1 failed                      6 waited and gave up
  2 usage: nothing was done     7 ds01d, Docker or the GPUs do not answer
  3 not found                   8 the state forbids it, or the name is taken
  4 not allowed, or over quota  130 interrupted
  run, exec and open pass the program's own status on; 125, 126 and 127 are their own failures, as with docker."""


class SpecCommand(click.Command):
    """A command made from its declaration.

    Attributes:
        spec: The declaration.
    """

    def __init__(self, name: str, entry: Entry, spec: Spec) -> None:
        params: list[click.Parameter] = [_argument(argument) for argument in spec.arguments]
        if spec.tail == "rest":
            params.append(click.Argument(["tail"], nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND [WORD]..."))
        params += [_option(option) for option in spec.options]
        settings: dict[str, Any] = {"help_option_names": HELP_NAMES, "allow_interspersed_args": spec.tail != "rest"}
        super().__init__(
            name,
            params=params,
            help=_help_text(entry, spec),
            short_help=entry.summary,
            callback=self._run,
            context_settings=settings,
        )
        if spec.tail == "dashes":
            self.options_metavar = "[OPTIONS]"
        self.spec = spec
        self._tail: list[str] | None = None

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # noqa: ANN401 - click's signature
    ) -> click.Context:
        """Read the words; the program's own words after `--` are kept apart."""
        head = list(args)
        if self.spec.tail == "dashes" and "--" in head:
            position = head.index("--")
            head, self._tail = head[:position], head[position + 1 :]
        head = _joined(self.spec, head)
        process = parent.find_object(Process) if parent else None
        if process is not None and self.spec.tail != "rest":
            process.wants_json = self._asks_for_json(head)
        with self._own_failures():
            return super().make_context(info_name, head, parent, **extra)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show where the program's words go."""
        pieces = super().collect_usage_pieces(ctx)
        return [*pieces, "[-- COMMAND [WORD]...]"] if self.spec.tail == "dashes" else pieces

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Run it."""
        with self._own_failures():
            return super().invoke(ctx)

    def _run(self, **values: Any) -> int:  # noqa: ANN401 - as many as the declaration has
        context = click.get_current_context()
        process = context.find_object(Process)
        assert process is not None
        tail = self._tail
        if self.spec.tail == "rest":
            words = list(values.pop("tail"))
            tail = words[1:] if words[:1] == ["--"] else words
        is_noun = context.parent is not None and context.parent.info_name == "container"
        form = "ds01 container" if is_noun else "ds01"
        return self.spec.run(Call(process, values, form=form, verb=context.info_name or "", tail=tail))

    def _asks_for_json(self, words: Sequence[str]) -> bool:
        keys = {option.key for option in self.spec.options}
        return ("json" in keys and "--json" in words) or ("format" in keys and "--format=json" in words)

    @contextmanager
    def _own_failures(self) -> Iterator[None]:
        """Keep our failures apart from the program's, where the status is the program's."""
        try:
            yield
        except click.UsageError as usage:
            raise self._as_own(problem_of_usage(usage)) from usage
        except Ds01Error as error:
            self._as_own(error)
            raise

    def _as_own(self, error: Ds01Error) -> Ds01Error:
        if self.spec.passes_status or self._tail is not None:
            error.exit_status = OWN_FAILURE_STATUS
        return error


class NounGroup(click.Group):
    """The commands of a noun, or of the top level; each is imported when it is typed."""

    def __init__(self, name: str, noun: str, help_text: str) -> None:
        super().__init__(
            name, help=help_text, invoke_without_command=True, context_settings={"help_option_names": HELP_NAMES}
        )
        self.noun = noun
        self._entries = verbs_of(noun)
        self._nouns = nouns_below(noun)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names that help shows."""
        if not self.noun:
            return [name for _, names in SECTIONS for name in names.split()]
        return list(dict.fromkeys([*self._nouns, *(entry.verb for entry in self._entries.values())]))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by any of its spellings."""
        full = self._nouns.get(cmd_name)
        if full is not None:
            return NounGroup(cmd_name, full, NOUNS[full])
        entry = self._entries.get(cmd_name)
        return build_command(cmd_name, entry) if entry else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let a noun that has a verb for it be typed alone, with the verb's options."""
        default = DEFAULT_VERBS.get(self.noun)
        if default and not (args and (args[0] in HELP_NAMES or args[0] in self._entries)):
            args = [default, *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that was typed, or say which one was probably meant."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            known = sorted({*self._entries, *self._nouns})
            near = nearest(name, known)
            hint = f"Did you mean: {ctx.command_path} {near}" if near else f"See them all: {ctx.command_path} --help"
            raise InvalidRequestError(f"There is no command {ctx.command_path} {name}.", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their summaries, without loading them."""
        sections = SECTIONS if not self.noun else (("Commands", " ".join(self.list_commands(ctx))),)
        for heading, names in sections:
            rows = [(name, NOUNS[self._nouns[name]] if name in self._nouns else None) for name in names.split()]
            with formatter.section(heading):
                formatter.write_dl([(name, summary or self._entries[name].summary) for name, summary in rows])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit statuses at the end of the first page."""
        if not self.noun:
            formatter.write_paragraph()
            formatter.write_text(EXIT_HELP)


def build_tree() -> click.Group:
    """Return the whole command tree; nothing below it is loaded yet."""
    root = NounGroup("ds01", "", ROOT_HELP)
    root.callback = click.pass_context(_show_help)
    root.params.append(
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
        )
    )
    return root


def problem_of_usage(error: click.UsageError) -> InvalidRequestError:
    """Return our error for click's."""
    text = error.format_message()
    path = error.ctx.command_path if error.ctx else "ds01"
    return InvalidRequestError(
        text if text.endswith((".", "?", "!", ")")) else f"{text}.", hint=f"Look at: {path} --help"
    )


def build_command(name: str, entry: Entry) -> SpecCommand:
    """Return a command; its module is imported here."""
    spec = getattr(import_module(f"{PACKAGE}.{entry.module}"), entry.attribute)
    return SpecCommand(name, entry, cast("Spec", spec))


def _show_help(context: click.Context) -> int | None:
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return 0


def _version(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"ds01 {VERSION}")
        context.exit()


def _joined(spec: Spec, words: list[str]) -> list[str]:
    """Let an option whose value may be left out take the next word only if that is a length of time.

    click would take any word: in `ds01 create --wait my-project pytorch` the name.
    """
    names = {name for option in spec.options if option.kind == "optional" for name in option.names}
    found: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word in names:
            word += "=" + (waiting.pop(0) if waiting and _LENGTH.fullmatch(waiting[0]) else "")
        found.append(word)
    return found


def _argument(argument: Argument) -> click.Argument:
    return click.Argument(
        [argument.key], nargs=-1 if argument.many else 1, required=False, default=None, metavar=argument.shown
    )


def _option(option: Option) -> click.Option:
    kinds: dict[str, Any] = {"number": click.INT, "choice": click.Choice(option.choices)}
    settings: dict[str, Any] = {"is_flag": True, "default": False}
    if option.kind != "flag":
        settings = {
            "type": kinds.get(option.kind, click.STRING),
            "multiple": option.many,
            "metavar": f"[={option.metavar}]" if option.kind == "optional" else option.metavar or None,
        }
    return click.Option([*option.names, option.key], help=option.meaning, **settings)


def _help_text(entry: Entry, spec: Spec) -> str:
    width = max(len(example.partition("  ")[0]) for example in spec.examples)
    lines = []
    for example in spec.examples:
        command, _, meaning = example.partition("  ")
        lines.append(f"  {command.ljust(width)}  {meaning.strip()}".rstrip())
    paragraphs = [entry.summary, "\b\nExamples:\n" + "\n".join(lines)]
    if spec.details:
        paragraphs.append(spec.details)
    return "\n\n".join(paragraphs)
