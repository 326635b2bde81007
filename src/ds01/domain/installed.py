"""What is installed in a container or image, and what of it a recipe lacks.

Source: run inside, `pip list --format json`, `pip freeze`, `conda list --json`, `apt-mark showmanual`, and
`dpkg-query -W` with the format of abbreviated state, package and version, a tab between them.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ds01.domain.conda_package import parse_conda_spec
from ds01.domain.recipe import ImageRecipe
from ds01.domain.recipe_edit import RecipeChange, add_conda, add_packages, add_system
from ds01.domain.requirement import package_key, parse_requirement
from ds01.domain.system_package import parse_system_package, system_package_name
from ds01.errors import BackendError, InvalidRequestError

FROM_PIP = "pypi"
"""Channel that conda gives to what pip installed."""
_OF_PYTHON = frozenset({"pip", "setuptools", "wheel"})
_FROZEN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:===?(?P<version>\S+)|\s+@\s+(?P<url>\S+))")
_EGG = re.compile(r"#egg=([A-Za-z0-9][A-Za-z0-9._-]*)")


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """A package that is there.

    Attributes:
        name: Its name.
        version: Its version; empty where only its origin is known.
        origin: URL or folder that it came from; empty for what came from an index.
    """

    name: str
    version: str
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Installed:
    """Everything that is installed.

    Attributes:
        pip: Packages of Python by key.
        system: Versions of the system's packages.
        conda: Versions of conda's packages.
        top_level: Keys of Python packages that no other needs; None where it is not known.
        manual: System packages that somebody asked for; None where it is not known.
    """

    pip: Mapping[str, InstalledPackage]
    system: Mapping[str, str]
    conda: Mapping[str, str]
    top_level: frozenset[str] | None = None
    manual: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """What was installed since a container was made.

    Attributes:
        pip: Requirements for the recipe.
        system: System packages for the recipe.
        conda: Specifications for the recipe.
        left_out: What is not taken, with the reason.
        removed: What the image has and the container has not.
    """

    pip: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    conda: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """There is nothing to save."""
        return not (self.pip or self.system or self.conda)


def parse_pip_list(text: str) -> dict[str, InstalledPackage]:
    """Return the packages of `pip list --format json`.

    Raises:
        BackendError: It is no such list: what is installed is unknown, which is not nothing.
    """
    found: dict[str, InstalledPackage] = {}
    for entry in _entries(text, "pip"):
        name, version = entry.get("name"), entry.get("version")
        if not isinstance(name, str) or not isinstance(version, str):
            raise _unreadable("pip", text)
        folder = entry.get("editable_project_location")
        found[package_key(name)] = InstalledPackage(name, version, folder if isinstance(folder, str) else "")
    return found


def parse_pip_freeze(text: str) -> dict[str, InstalledPackage]:
    """Return the packages of `pip freeze`; comments and lines that say nothing are passed over.

    Raises:
        BackendError: It holds something else.
    """
    found: dict[str, InstalledPackage] = {}
    for line in (one.strip() for one in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        match, egg = _FROZEN.fullmatch(line), _EGG.search(line)
        if match is not None:
            package = InstalledPackage(match["name"], match["version"] or "", match["url"] or "")
        elif line.startswith("-e "):
            origin = line.removeprefix("-e ").strip()
            package = InstalledPackage(egg[1] if egg else origin.rstrip("/").rpartition("/")[2], "", origin)
        else:
            raise _unreadable("pip", line)
        found[package_key(package.name)] = package
    return found


def parse_conda_list(text: str) -> dict[str, str]:
    """Return the packages of `conda list --json` without those that pip installed.

    Raises:
        BackendError: It is no such list.
    """
    found: dict[str, str] = {}
    for entry in _entries(text, "conda"):
        name, version = entry.get("name"), entry.get("version")
        if not isinstance(name, str) or not isinstance(version, str):
            raise _unreadable("conda", text)
        if entry.get("channel") != FROM_PIP:
            found[name] = version
    return found


def parse_dpkg_list(text: str) -> dict[str, str]:
    """Return the installed packages of dpkg-query; what was removed and left its settings is not installed.

    Raises:
        BackendError: It is no such list.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        cells = line.split("\t")
        if len(cells) != 3:
            raise _unreadable("dpkg", line)
        if cells[0].strip().startswith(("ii", "hi")):
            found[cells[1]] = cells[2]
    return found


def _entries(text: str, tool: str) -> list[dict[str, object]]:
    try:
        entries: object = json.loads(text)
    except (ValueError, RecursionError) as failure:
        raise _unreadable(tool, text) from failure
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _unreadable(tool, text)
    return entries


def _unreadable(tool: str, text: str) -> BackendError:
    return BackendError(
        f"The list of what {tool} installed cannot be read: {text[:60]!r}",
        hint=f"Run {tool} in the container and look.",
    )


def find_drift(before: Installed, after: Installed) -> Drift:
    """Return what a container has beyond its image, as lines for a recipe.

    Args:
        before: What the image has.
        after: What the container has.
    """
    left_out: list[tuple[str, str]] = []
    pip = _python_drift(before, after, left_out)
    system = [name for name in _new_names(before.system, after.system) if _is_asked(name, after.manual)]
    conda = [(name, version) for name, version in after.conda.items() if before.conda.get(name) != version]
    return Drift(
        pip=tuple(pip),
        system=tuple(_legal(((name, name) for name in system), parse_system_package, left_out)),
        conda=tuple(_legal(((name, f"{name}={version}") for name, version in conda), parse_conda_spec, left_out)),
        left_out=tuple(left_out),
        removed=(
            *(package.name for key, package in sorted(before.pip.items()) if key not in after.pip),
            *(name for name in _new_names(after.system, before.system) if _is_asked(name, before.manual)),
            *(name for name in _new_names(after.conda, before.conda)),
        ),
    )


def _new_names(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return sorted(set(after) - set(before))


def _is_asked(name: str, manual: frozenset[str] | None) -> bool:
    return manual is None or name in manual


def _python_drift(before: Installed, after: Installed, left_out: list[tuple[str, str]]) -> list[str]:
    found: list[str] = []
    for key, package in sorted(after.pip.items()):
        there = before.pip.get(key)
        if there == package or key in _OF_PYTHON:
            continue
        if there is None and after.top_level is not None and key not in after.top_level:
            continue  # another one brings it
        line = _line_of(package)
        if line is None:
            left_out.append((package.name, f"it was installed from {package.origin[:80]}, which a build does not see"))
        else:
            found.append(line)
    return found


def _line_of(package: InstalledPackage) -> str | None:
    candidate = f"{package.name}=={package.version}"
    if package.origin:
        if "://" not in package.origin:
            return None
        candidate = package.origin if _EGG.search(package.origin) else f"{package.name} @ {package.origin}"
    try:
        return parse_requirement(candidate).text
    except InvalidRequestError:
        return None


def _legal(pairs: Iterable[tuple[str, str]], parse: Callable[[str], str], left_out: list[tuple[str, str]]) -> list[str]:
    found: list[str] = []
    for name, text in pairs:
        try:
            found.append(parse(text))
        except InvalidRequestError as problem:
            left_out.append((name, problem.message))
    return found


def save_drift(recipe: ImageRecipe, drift: Drift) -> tuple[RecipeChange, ...]:
    """Return the changes that bring a recipe to what a container has: of pip, of the system, of conda, in this order.

    The recipe of the last one is the result.
    """
    pip = add_packages(recipe, drift.pip)
    named = {system_package_name(text) for text in recipe.system}
    system = add_system(pip.recipe, [name for name in drift.system if name not in named])  # its pin stays
    return pip, system, add_conda(system.recipe, drift.conda)
