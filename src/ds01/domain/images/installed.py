"""What is installed in a container and in its image, and what of it a recipe lacks.

Source: `pip list --format json`. What the tools have written down in files is read by `domain.package_record`.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ds01.domain.images.conda_package import conda_name, parse_conda_spec
from ds01.domain.images.recipe import ImageRecipe
from ds01.domain.images.recipe_edit import (
    add_conda,
    add_packages,
    add_system,
    remove_conda,
    remove_packages,
    remove_system,
)
from ds01.domain.images.requirement import package_key, parse_requirement
from ds01.domain.images.system_package import parse_system_package, system_package_name
from ds01.errors import BackendError, InvalidRequestError

_OF_PYTHON = frozenset({"pip", "setuptools", "wheel"})
_CREDENTIALS = re.compile(r"://(?!(?:git|hg)@)[^/@]+@")


class PackageTool(StrEnum):
    """What installs packages."""

    PIP = "pip"
    APT = "apt"
    CONDA = "conda"


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
        top_level: Keys of Python packages that somebody asked for; None where it is not known.
        manual: System packages that somebody asked for; None where it is not known.
        conda_asked: Packages of conda that somebody asked for; None where it is not known.
    """

    pip: Mapping[str, InstalledPackage]
    system: Mapping[str, str]
    conda: Mapping[str, str]
    top_level: frozenset[str] | None = None
    manual: frozenset[str] | None = None
    conda_asked: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A package that a container has otherwise than its image.

    Attributes:
        tool: What installed it.
        name: Its name.
        before: Version in the image; empty: it has none, or it is not known.
        after: Version in the container; empty: it was removed, or only its origin is known.
        line: The line for a recipe; empty: it was removed.
    """

    tool: PackageTool
    name: str
    before: str
    after: str
    line: str


@dataclass(frozen=True, slots=True)
class Drift:
    """What was installed and removed since a container was made.

    Attributes:
        changes: Packages.
        left_out: What is not taken, with the reason.
    """

    changes: tuple[PackageChange, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def is_empty(self) -> bool:
        """There is nothing to save."""
        return not self.changes

    def lines(self, tool: PackageTool) -> tuple[str, ...]:
        """Return the lines for a recipe that one tool follows."""
        return tuple(change.line for change in self.changes if change.tool is tool and change.line)

    def removed(self, tool: PackageTool) -> tuple[str, ...]:
        """Return the names of what was removed."""
        return tuple(change.name for change in self.changes if change.tool is tool and not change.line)


def parse_pip_list(text: str) -> dict[str, InstalledPackage]:
    """Return the packages of `pip list --format json`.

    Raises:
        BackendError: It is no such list: what is installed is unknown, which is not nothing.
    """
    found: dict[str, InstalledPackage] = {}
    for entry in _entries(text):
        name, version = entry.get("name"), entry.get("version")
        if not isinstance(name, str) or not isinstance(version, str):
            raise _unreadable(text)
        folder = entry.get("editable_project_location")
        found[package_key(name)] = InstalledPackage(name, version, folder if isinstance(folder, str) else "")
    return found


def _entries(text: str) -> list[dict[str, object]]:
    try:
        entries: object = json.loads(text)
    except (ValueError, RecursionError) as failure:
        raise _unreadable(text) from failure
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _unreadable(text)
    return entries


def _unreadable(text: str) -> BackendError:
    return BackendError(
        f"The list of what pip installed cannot be read: {text[:60]!r}", hint="Run pip in the container and look."
    )


def find_drift(before: Installed, after: Installed) -> Drift:
    """Return what a container has otherwise than its image.

    Args:
        before: What the image has.
        after: What the container has.
    """
    left_out: list[tuple[str, str]] = []
    changes = [
        *_pip_changes(before, after, left_out),
        *_changes_of(PackageTool.APT, _system_drift(before, after), left_out),
        *_changes_of(PackageTool.CONDA, _conda_drift(before, after), left_out),
        *_removals(before, after),
    ]
    return Drift(tuple(changes), tuple(left_out))


_Found = tuple[str, str, str, str]
"""Name, version before, version now, line."""


def _system_drift(before: Installed, after: Installed) -> list[_Found]:
    """Only what is new: another version is the archive's doing, and the archive may not have the old one any more."""
    names = sorted(set(after.system) - set(before.system))
    return [(name, "", after.system[name], name) for name in names if _is_asked(name, after.manual)]


def _conda_drift(before: Installed, after: Installed) -> list[_Found]:
    return [
        (name, before.conda.get(name, ""), version, f"{name}={version}")
        for name, version in sorted(after.conda.items())
        if before.conda.get(name) != version and (name in before.conda or _is_asked(name, after.conda_asked))
    ]


def _removals(before: Installed, after: Installed) -> list[PackageChange]:
    pip = [(package.name, package.version) for key, package in sorted(before.pip.items()) if key not in after.pip]
    system = [pair for pair in sorted(before.system.items()) if pair[0] not in after.system]
    conda = [pair for pair in sorted(before.conda.items()) if pair[0] not in after.conda]
    return [
        *(PackageChange(PackageTool.PIP, name, version, "", "") for name, version in pip),
        *(
            PackageChange(PackageTool.APT, name, version, "", "")
            for name, version in system
            if _is_asked(name, before.manual)
        ),
        *(PackageChange(PackageTool.CONDA, name, version, "", "") for name, version in conda),
    ]


def _is_asked(name: str, manual: frozenset[str] | None) -> bool:
    return manual is None or name in manual


def _pip_changes(before: Installed, after: Installed, left_out: list[tuple[str, str]]) -> Iterable[PackageChange]:
    for key, package in sorted(after.pip.items()):
        there = before.pip.get(key)
        if there == package or key in _OF_PYTHON:
            continue
        if there is None and after.top_level is not None and key not in after.top_level:
            continue  # another one brings it
        line, reason = _line_of(package)
        if reason:
            left_out.append((package.name, reason))
        else:
            yield PackageChange(
                PackageTool.PIP, package.name, there.version if there is not None else "", package.version, line
            )


def _line_of(package: InstalledPackage) -> tuple[str, str]:
    """Return the line for a recipe, or nothing and why there is none."""
    # the part behind the plus says which build it was, and most indexes do not have it; == takes any of them
    candidate = f"{package.name}=={package.version.partition('+')[0]}"
    if package.origin:
        if _CREDENTIALS.search(package.origin):
            return "", "the address that it came from holds credentials"
        if "://" not in package.origin or package.origin.startswith("file:"):
            return "", f"it was installed from {package.origin[:80]}, which a build does not see"
        candidate = f"{package.name} @ {package.origin}"
    try:
        return parse_requirement(candidate).text, ""
    except InvalidRequestError as problem:
        return "", problem.message


def _changes_of(tool: PackageTool, found: Sequence[_Found], left_out: list[tuple[str, str]]) -> Iterable[PackageChange]:
    parse: Callable[[str], str] = parse_system_package if tool is PackageTool.APT else parse_conda_spec
    for name, before, after, line in found:
        try:
            yield PackageChange(tool, name, before, after, parse(line))
        except InvalidRequestError as problem:
            left_out.append((name, problem.message))


@dataclass(frozen=True, slots=True)
class SavedRecipe:
    """A recipe that was brought to what a container has.

    Attributes:
        recipe: The recipe.
        left_out: What was removed in the container and is not the recipe's to remove, with the reason.
    """

    recipe: ImageRecipe
    left_out: tuple[tuple[str, str], ...]


def save_drift(recipe: ImageRecipe, drift: Drift) -> SavedRecipe:
    """Return a recipe that has what a container has, and no more what was removed there.

    A system package that the recipe pins keeps its pin.
    """
    left_out: list[tuple[str, str]] = []
    recipe = _without_removed(recipe, drift, left_out)
    recipe = add_packages(recipe, drift.lines(PackageTool.PIP)).recipe
    named = {system_package_name(text) for text in recipe.system}
    recipe = add_system(recipe, [name for name in drift.lines(PackageTool.APT) if name not in named]).recipe
    recipe = add_conda(recipe, drift.lines(PackageTool.CONDA)).recipe
    return SavedRecipe(recipe, tuple(left_out))


def lost_changes(recipe: ImageRecipe, drift: Drift) -> tuple[PackageChange, ...]:
    """Return what was installed in a container and is not in a recipe: what is lost when it is made again from that."""
    return tuple(
        change for change in drift.changes if change.line and save_drift(recipe, Drift((change,))).recipe != recipe
    )


def _without_removed(recipe: ImageRecipe, drift: Drift, left_out: list[tuple[str, str]]) -> ImageRecipe:
    pip = {package.key for package in recipe.all_packages()}
    system = {system_package_name(text) for text in recipe.system}
    conda = {conda_name(text) for text in recipe.conda.specs}
    for change in drift.changes:
        if change.line:
            continue
        if change.tool is PackageTool.PIP and package_key(change.name) in pip:
            recipe = remove_packages(recipe, [change.name]).recipe
        elif change.tool is PackageTool.APT and change.name in system:
            recipe = remove_system(recipe, [change.name]).recipe
        elif change.tool is PackageTool.CONDA and change.name in conda:
            recipe = remove_conda(recipe, [change.name]).recipe
        else:
            left_out.append((change.name, "it was removed, but the recipe does not install it: it comes with the base"))
    return recipe
