"""The packages that are offered for an image, tier by tier; a site can replace the table."""

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from ds01.domain.requirement import PackageRequirement, package_key, parse_requirement
from ds01.domain.system_package import parse_system_package
from ds01.errors import InvalidRequestError

MAX_CHARACTERS = 256 * 1024
_PLAIN = ("base", "system", "jupyter", "data_science")
_KEYS = frozenset({"about", "pip", "apt"})
_USE_CASES = "use_case"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PackageTier:
    """What one tier offers.

    Attributes:
        name: Such as `jupyter` or `cv`.
        about: What it is for, in a phrase.
        pip: Packages of Python.
        apt: Packages of the system.
    """

    name: str
    about: str = ""
    pip: tuple[str, ...] = ()
    apt: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PackageTiers:
    """The whole table.

    Attributes:
        base: What framework images contain.
        system: Packages of the system that every image gets.
        jupyter: Notebooks.
        data_science: Tables, statistics, plots.
        use_cases: By name, in the order of the file.
    """

    base: PackageTier
    system: PackageTier
    jupyter: PackageTier
    data_science: PackageTier
    use_cases: Mapping[str, PackageTier]

    def require_use_case(self, name: str) -> PackageTier:
        """Return the tier of a use case.

        Raises:
            InvalidRequestError: There is none of this name; the hint lists them.
        """
        found = self.use_cases.get(name)
        if found is None:
            known = ", ".join([*self.use_cases, "none"])
            raise InvalidRequestError(f"There is no use case {name[:40]!r}.", hint=f"One of: {known}")
        return found


def parse_package_tiers(text: str, source: str) -> PackageTiers:
    """Return the table of a file.

    Args:
        text: TOML: a table each for base, system, jupyter, data_science, and use_case.NAME, with about, pip and apt.
        source: Name of the file, for messages.

    Raises:
        InvalidRequestError: It is no such table; the message says where.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidRequestError(
            f"{source}: the file is larger than 256 KiB.", hint="It lists names of packages only."
        )
    try:
        document = tomllib.loads(text.replace("\r\n", "\n").removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as failure:
        raise InvalidRequestError(f"{source}: {failure}.", hint="Write lists as pip = ['a', 'b'].") from failure
    unknown = sorted(set(document) - {*_PLAIN, _USE_CASES})
    if unknown:
        known = ", ".join((*_PLAIN, f"{_USE_CASES}.NAME"))
        raise InvalidRequestError(f"{source}: there is no tier {unknown[0]!r}.", hint=f"One of: {known}")
    plain = {name: _tier(name, document.get(name, {}), source) for name in _PLAIN}
    cases = document.get(_USE_CASES, {})
    if not isinstance(cases, dict):
        raise InvalidRequestError(f"{source}: {_USE_CASES} is not a table.", hint=f"Write [{_USE_CASES}.cv].")
    return PackageTiers(
        base=plain["base"],
        system=plain["system"],
        jupyter=plain["jupyter"],
        data_science=plain["data_science"],
        use_cases=MappingProxyType({name: _tier(name, table, source, is_case=True) for name, table in cases.items()}),
    )


def _tier(name: str, table: object, source: str, *, is_case: bool = False) -> PackageTier:
    place = f"{source}: [{_USE_CASES + '.' if is_case else ''}{name}]"
    if not isinstance(table, dict):
        raise InvalidRequestError(f"{place} is not a table.", hint=f"Write [{name}] on a line of its own.")
    if is_case and (name == "none" or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum()):
        raise InvalidRequestError(f"{place}: this cannot be the name of a use case.", hint="Write one such as cv.")
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise InvalidRequestError(f"{place}: {unknown[0]!r} is not a key.", hint="The keys are about, pip and apt.")
    about = table.get("about", "")
    if not isinstance(about, str) or not about.isprintable() or len(about) > 200:
        raise InvalidRequestError(f"{place}: about is not one line of text.", hint='Write about = "For plots".')
    pip = tuple(_named(place, text, parse_requirement).text for text in _texts(place, "pip", table))
    apt = tuple(_named(place, text, parse_system_package) for text in _texts(place, "apt", table))
    _require_once(place, [package_key(parse_requirement(text).name) for text in pip])
    _require_once(place, apt)
    return PackageTier(name, about, pip, apt)


def _texts(place: str, key: str, table: Mapping[str, object]) -> list[str]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise InvalidRequestError(f"{place}: {key} is not a list of names.", hint=f'Write {key} = ["a", "b"].')
    return found


def _named(place: str, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except InvalidRequestError as problem:
        raise InvalidRequestError(f"{place}: {problem.message}", hint=problem.hint) from problem


def _require_once(place: str, keys: Sequence[str]) -> None:
    twice = next((key for position, key in enumerate(keys) if key in keys[:position]), None)
    if twice is not None:
        raise InvalidRequestError(f"{place}: {twice} is listed twice.", hint="Leave one of them out.")


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A package that would be installed twice.

    Attributes:
        package: The new one.
        known: How the one that is there is written.
        where: Which tier has it.
    """

    package: str
    known: str
    where: str


def find_duplicates(
    wanted: Iterable[str], known: Sequence[tuple[str, Iterable[str]]]
) -> tuple[tuple[PackageRequirement, ...], tuple[Duplicate, ...]]:
    """Return the packages that are new, and those that some tier has already.

    Args:
        wanted: Requirements, as typed.
        known: Names of tiers with their requirements, the first one that has a package is named. What cannot be read
            is passed over: lists of what is installed hold many things.

    Raises:
        InvalidRequestError: One of the wanted is no requirement.
    """
    held: dict[str, tuple[str, str]] = {}
    for where, texts in known:
        for text in texts:
            held.setdefault(_key(text), (text, where))
    new: list[PackageRequirement] = []
    duplicates: list[Duplicate] = []
    for text in wanted:
        package = parse_requirement(text)
        there = held.get(package.key)
        if there is None:
            new.append(package)
            held[package.key] = (package.text, "this list")
        elif package not in new:  # the same line twice is one line
            duplicates.append(Duplicate(package.text, *there))
    return tuple(new), tuple(duplicates)


def _key(text: str) -> str:
    try:
        return parse_requirement(text).key
    except InvalidRequestError:
        return package_key(text)


def without_known(texts: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return the packages of a tier that are not there yet: a tier's defaults never warn."""
    held = {_key(text) for text in known}
    return tuple(text for text in texts if _key(text) not in held)
