"""An environment.yml of conda, for an image. The YAML is parsed by who reads the file; here is what it means."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ds01.domain.images.conda_package import CondaPackages, conda_name, parse_channel, parse_conda_spec
from ds01.domain.images.import_text import Import, ImportProblem
from ds01.domain.images.requirements_file import ReadText, import_numbered
from ds01.domain.images.shell_word import require_one_line
from ds01.errors import InvalidRequestError

Path = tuple[str | int, ...]
LineOf = Callable[[Path], int | None]
"""Returns the line of an entry, from 1, by the keys and positions that lead to it; None if it is not known."""
_KEYS = frozenset({"name", "channels", "dependencies", "variables", "prefix"})
_OF_THE_BASE = frozenset({"python", "pip"})
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(slots=True)
class _Found:
    specs: list[str] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)
    env: list[tuple[str, str]] = field(default_factory=list)
    pip: list[tuple[int | None, str]] = field(default_factory=list)
    problems: list[ImportProblem] = field(default_factory=list)
    notes: list[ImportProblem] = field(default_factory=list)


def import_environment(document: Mapping[str, object], name: str, line_of: LineOf, read: ReadText) -> Import:
    """Return what an environment file asks for.

    Args:
        document: The parsed YAML.
        name: Name of the file, for messages.
        line_of: Gives the line of an entry.
        read: Gives the text of a requirements file that the list for pip includes.
    """
    reading = _Reading(name, line_of)
    for key, value in document.items():
        reading.key(key, value)
    found = reading.found
    pip = import_numbered(found.pip, name, read)
    return replace(
        pip,
        conda=CondaPackages(tuple(found.specs), tuple(found.channels)) if found.specs else CondaPackages(),
        env=tuple(found.env),
        problems=(*found.problems, *pip.problems),
        notes=(*found.notes, *pip.notes),
    )


class _Reading:
    def __init__(self, name: str, line_of: LineOf) -> None:
        self.found = _Found()
        self._name = name
        self._line_of = line_of

    def key(self, key: str, value: object) -> None:
        """Read one key of the file."""
        if key not in _KEYS:
            self._refuse(
                (key,), f"{str(key)[:40]!r} is not a key of an environment.", f"The keys: {', '.join(sorted(_KEYS))}"
            )
        elif key == "channels":
            self._each((key,), value, self._channel)
        elif key == "dependencies":
            self._each((key,), value, self._dependency)
        elif key == "variables":
            self._variables(value)

    def _each(self, path: Path, value: object, take: Callable[[Path, object], None]) -> None:
        if not isinstance(value, list):
            if value is not None:
                self._refuse(path, f"{path[-1]} is not a list.", "Begin each line of it with `- `.")
            return
        for position, entry in enumerate(value):
            place = (*path, position)
            try:
                take(place, entry)
            except InvalidRequestError as problem:
                self._refuse(place, problem.message, problem.hint or "")

    def _channel(self, _path: Path, entry: object) -> None:
        self.found.channels.append(parse_channel(_text(entry)))

    def _dependency(self, path: Path, entry: object) -> None:
        if isinstance(entry, Mapping):
            for key, value in entry.items():
                if key != "pip":
                    raise InvalidRequestError(
                        f"{str(key)[:40]!r} is not a list for pip.", hint="Write `- pip:` above a list."
                    )
                self._each((*path, "pip"), value, self._for_pip)
            return
        spec = parse_conda_spec(_text(entry))
        if conda_name(spec) in _OF_THE_BASE:
            why = f"{spec} is left out: the base image has its own {conda_name(spec)}."
            self.found.notes.append(
                ImportProblem(self._at(path), why, "Choose a base image with the one that you need.")
            )
        else:
            self.found.specs.append(spec)

    def _for_pip(self, path: Path, entry: object) -> None:
        self.found.pip.append((self._line_of(path), _text(entry)))

    def _variables(self, value: object) -> None:
        if not isinstance(value, Mapping):
            if value is not None:
                self._refuse(("variables",), "variables is not a set of names and values.", "Write NAME: value.")
            return
        for key, entry in value.items():
            path = ("variables", str(key))
            try:
                self.found.env.append(_variable(str(key), entry))
            except InvalidRequestError as problem:
                self._refuse(path, problem.message, problem.hint or "")

    def _refuse(self, path: Path, problem: str, hint: str) -> None:
        self.found.problems.append(ImportProblem(self._at(path), problem, hint))

    def _at(self, path: Path) -> str:
        line = self._line_of(path)
        return self._name if line is None else f"{self._name}:{line}"


def _variable(key: str, entry: object) -> tuple[str, str]:
    if not _VARIABLE.fullmatch(key):
        raise InvalidRequestError(f"{key[:40]!r} is not a name of a variable.", hint="Write letters, digits and _.")
    text = _text(entry)
    require_one_line(text, f"variable {key}")
    return key, text


def _text(entry: object) -> str:
    if isinstance(entry, bool) or not isinstance(entry, str | int | float):
        raise InvalidRequestError(f"{str(entry)[:40]!r} is not a text.", hint="Write it in quotes.")
    return str(entry)
