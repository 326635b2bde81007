"""The page of the command line: every command with its spellings, usage, options and examples."""

from collections.abc import Iterator

import click

from dev.referencekit.tables import NONE, code, format_table
from ds01.cli.group import SpecCommand
from ds01.cli.main import build_cli
from ds01.cli.spec import Option
from ds01.cli.tree import DEFAULT_VERBS, ENTRIES, Entry

PROGRAM = "ds01"


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command that help shows below a command, with the words that name it."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command, info_name=" ".join((PROGRAM, *path)))
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None, f"{path} lists {name} and does not have it"
        if not child.hidden:
            yield from walk(child, (*path, name))


def spellings(entry: Entry) -> list[str]:
    """Return everything that can be typed for a command; the first is the one that the reference uses."""
    noun = f"{PROGRAM} {entry.noun} " if entry.noun else ""
    names = [f"{PROGRAM} {name}" for name in entry.daily]
    if noun:
        names += [noun + verb for verb in (entry.verb, *entry.aliases)]
    if DEFAULT_VERBS.get(entry.noun) == entry.verb:
        names.append(noun.strip())
    return names


def command_table() -> str:
    """Return the table of all commands."""
    rows = []
    for entry in ENTRIES:
        name, *others = spellings(entry)
        link = f"[`{name}`](#{name.replace(' ', '-')})"
        rows.append((link, ", ".join(code(other) for other in others) or NONE, entry.summary))
    return format_table(("command", "also", "what it does"), rows)


def command_sections() -> str:
    """Return one section for each command: summary, usage, details, options, examples."""
    root = build_cli()
    return "\n\n".join(_section(entry, _resolve(root, spellings(entry)[0])) for entry in ENTRIES)


def _resolve(root: click.Group, spelling: str) -> SpecCommand:
    command: click.Command | None = root
    for word in spelling.split()[1:]:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert isinstance(command, SpecCommand), spelling
    return command


def _section(entry: Entry, command: SpecCommand) -> str:
    name = spellings(entry)[0]
    usage = " ".join([name, *command.collect_usage_pieces(click.Context(command, info_name=name))])
    parts = [f"### {name}", entry.summary, f"```\n{usage}\n```"]
    if command.spec.details:
        parts.append(" ".join(command.spec.details.split()))
    rows = [(_spelled(option), option.meaning) for option in command.spec.options]
    if rows:
        parts.append(format_table(("option", "meaning"), rows))
    parts.append("Examples:\n\n```\n" + "\n".join(command.spec.examples) + "\n```")
    return "\n\n".join(parts)


def _spelled(option: Option) -> str:
    value = option.metavar or "|".join(option.choices) or ("" if option.kind == "flag" else option.key.upper())
    if option.kind == "optional":
        return ", ".join(code(f"{name}[={value}]") for name in option.names)
    return ", ".join(code(f"{name} {value}".rstrip()) for name in option.names)
