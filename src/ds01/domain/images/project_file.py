"""The dependencies of a pyproject.toml, for an image.

Source: PEP 621 (project), PEP 735 (dependency groups), Poetry's documentation of dependency specification.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ds01.domain.images.import_text import Import, ImportProblem
from ds01.domain.images.requirement import package_key
from ds01.domain.images.requirements_file import import_numbered
from ds01.errors import InvalidRequestError

MAX_GROUPS = 50
_CARET = re.compile(r"\^\s*v?(\d+)(?:\.(\d+))?(?:\.(\d+))?([a-z0-9.]*)")
_TILDE = re.compile(r"~\s*v?(\d+)(?:\.(\d+))?(?:\.(\d+))?")
_BARE = re.compile(r"v?\d[\w.*+!]*")


def import_project(text: str, name: str, *, extras: Sequence[str] = (), groups: Sequence[str] = ()) -> Import:
    """Return what a project depends on.

    Args:
        text: The text of a pyproject.toml.
        name: Its name, for messages.
        extras: Optional dependencies to take too.
        groups: Dependency groups to take too.

    Raises:
        InvalidRequestError: It is no TOML, or lacks an extra or group that was asked for.
    """
    cleaned = text.removeprefix("\ufeff").replace("\r\n", "\n")
    try:
        document = tomllib.loads(cleaned)
    except (ValueError, RecursionError) as failure:
        raise InvalidRequestError(f"{name}: {failure}.", hint="Mend it; this is not TOML.") from failure
    reading = _Reading(cleaned.split("\n"), name)
    project = reading.table(document, "project")
    if project or "dependency-groups" in document:
        reading.project(project, extras)
        reading.groups(reading.table(document, "dependency-groups"), groups)
    else:
        tool = reading.table(document, "tool")
        reading.poetry(reading.table(reading.table(tool, "poetry"), "dependencies"))
    found = import_numbered(reading.lines, name, lambda _: None)
    return replace(found, problems=(*reading.problems, *found.problems), notes=(*reading.notes, *found.notes))


class _Reading:
    def __init__(self, lines: Sequence[str], name: str) -> None:
        self.lines: list[tuple[int | None, str]] = []
        self.problems: list[ImportProblem] = []
        self.notes: list[ImportProblem] = []
        self._text = lines
        self._name = name

    def table(self, within: Mapping[str, object], key: str) -> Mapping[str, object]:
        """Return a table, empty if there is none."""
        found = within.get(key, {})
        if not isinstance(found, Mapping):
            self._refuse(key, f"{key} is not a table.", f"Write [{key}] on a line of its own.")
            return {}
        return found

    def project(self, project: Mapping[str, object], extras: Sequence[str]) -> None:
        """Read what a project depends on, and extras of it."""
        dynamic = project.get("dynamic", ())
        if isinstance(dynamic, list) and "dependencies" in dynamic:
            self._refuse(
                "dynamic",
                "the dependencies are made when the project is built.",
                "Import its requirements.txt instead.",
            )
        self._take(project.get("dependencies", []), "dependencies")
        offered = self.table(project, "optional-dependencies")
        by_key = {package_key(extra): extra for extra in offered}
        for extra in extras:
            if package_key(extra) not in by_key:
                raise InvalidRequestError(
                    f"{self._name} has no extra {extra[:40]!r}.", hint=f"It has: {', '.join(offered) or 'none'}"
                )
            self._take(offered[by_key[package_key(extra)]], f"optional-dependencies.{extra}")
        if isinstance(project.get("requires-python"), str):
            self._note(
                "requires-python", f"the project needs Python {project['requires-python']}: the base image decides."
            )

    def groups(self, offered: Mapping[str, object], groups: Sequence[str]) -> None:
        """Read dependency groups."""
        for group in groups:
            self._group(offered, group, ())

    def _group(self, offered: Mapping[str, object], group: str, path: tuple[str, ...]) -> None:
        by_key = {package_key(name): name for name in offered}
        key = package_key(group)
        if key not in by_key:
            raise InvalidRequestError(
                f"{self._name} has no dependency group {group[:40]!r}.", hint=f"It has: {', '.join(offered) or 'none'}"
            )
        if key in path or len(path) > MAX_GROUPS:
            self._refuse(group, f"the group {group} includes itself.", "Leave the include out.")
            return
        entries = offered[by_key[key]]
        for entry in entries if isinstance(entries, list) else [entries]:
            inner = entry.get("include-group") if isinstance(entry, Mapping) else None
            if isinstance(inner, str):
                self._group(offered, inner, (*path, key))
            else:
                self._take([entry], f"dependency-groups.{group}")

    def _take(self, entries: object, key: str) -> None:
        if not isinstance(entries, list):
            self._refuse(key, f"{key} is not a list.", f'Write {key.rpartition(".")[2]} = ["numpy"].')
            return
        for entry in entries:
            if isinstance(entry, str):
                self.lines.append((self._line_of(entry), entry.replace("\n", " ")))
            else:
                self._refuse(key, f"{str(entry)[:40]!r} in {key} is not a text.", "Write it in quotes.")

    def poetry(self, dependencies: Mapping[str, object]) -> None:
        """Read what a project of Poetry depends on."""
        for package, wanted in dependencies.items():
            if package_key(package) == "python":
                self._note(package, "python is left out: the base image decides.")
                continue
            line = _poetry_line(package, wanted)
            if line is None:
                self._refuse(
                    package, f"what is asked of {package} cannot be taken.", f"Write it as: {package} = '>=1.0'"
                )
            else:
                self.lines.append((self._line_of(package), line))

    def _refuse(self, key: str, problem: str, hint: str) -> None:
        self.problems.append(ImportProblem(self._at(key), problem, hint))

    def _note(self, key: str, problem: str) -> None:
        self.notes.append(ImportProblem(self._at(key), problem))

    def _at(self, key: str) -> str:
        line = self._line_of(key.rpartition(".")[2])
        return self._name if line is None else f"{self._name}:{line}"

    def _line_of(self, text: str) -> int | None:
        """Return the line that holds a text: the library tells none."""
        first = text.split("\n", 1)[0]
        quoted = (f'"{first}"', f"'{first}'")
        exact = (number for number, line in enumerate(self._text, start=1) if any(one in line for one in quoted))
        loose = (number for number, line in enumerate(self._text, start=1) if first and first in line)
        return next(exact, None) or next(loose, None)


def _poetry_line(package: str, wanted: object) -> str | None:
    if isinstance(wanted, str):
        bounds = _poetry_bounds(wanted)
        return None if bounds is None else f"{package}{bounds}"
    if not isinstance(wanted, Mapping) or set(wanted) - {
        "version",
        "extras",
        "markers",
        "git",
        "rev",
        "tag",
        "branch",
        "url",
    }:
        return None
    extras, marker = wanted.get("extras", []), wanted.get("markers")
    listed = f"[{','.join(map(str, extras))}]" if isinstance(extras, list) and extras else ""
    tail = f" ; {marker}" if isinstance(marker, str) else ""
    if isinstance(wanted.get("git"), str):
        at = next((f"@{wanted[key]}" for key in ("rev", "tag", "branch") if key in wanted), "")
        return f"{package}{listed} @ git+{wanted['git']}{at}{tail}"
    if isinstance(wanted.get("url"), str):
        return f"{package}{listed} @ {wanted['url']}{tail}"
    bounds = _poetry_bounds(str(wanted.get("version", "*")))
    return None if bounds is None else f"{package}{listed}{bounds}{tail}"


def _poetry_bounds(text: str) -> str | None:
    """Return the bounds of PEP 440 for Poetry's: `^1.2` is `>=1.2,<2`, `~1.2` is `>=1.2,<1.3`."""
    found: list[str] = []
    for part in (piece.strip() for piece in text.split(",")):
        if "||" in part or " " in part.strip("<>=!~^ "):
            return None
        caret, tilde = _CARET.fullmatch(part), _TILDE.fullmatch(part)
        if part == "*":
            continue
        if caret is not None:
            found.append(f">={part[1:].strip()},<{_next_of(caret.groups()[:3])}")
        elif tilde is not None and not part.startswith("~="):
            upper = f"{tilde[1]}.{int(tilde[2]) + 1}" if tilde[2] is not None else str(int(tilde[1]) + 1)
            found.append(f">={part[1:].strip()},<{upper}")
        elif _BARE.fullmatch(part):
            found.append(f"=={part}")
        else:
            found.append(part)
    return ",".join(found)


def _next_of(numbers: Sequence[str | None]) -> str:
    """Return the version below which nothing incompatible is expected: the left-most number that is not 0 counts."""
    given = [int(number) for number in numbers if number is not None]
    for position, number in enumerate(given):
        if number or position == len(given) - 1:
            return ".".join(map(str, [*given[:position], number + 1]))
    return "1"
