"""The packages that are offered for an image, tier by tier; a site can replace the table."""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from ds01.domain.images.requirement import PackageRequirement, package_key, parse_requirement
from ds01.domain.images.system_package import parse_system_package
from ds01.errors import InvalidRequestError

MAX_CHARACTERS = 256 * 1024
_PLAIN = ("base", "system", "jupyter", "data_science")
_KEYS = frozenset({"about", "pip", "apt"})
_USE_CASES = "use_case"
_HEADING = r"\s*\[?\s*(?:use_case\s*\.\s*)?[\"']?{}[\"']?\s*[\]=.]"
_TOML_PLACE = re.compile(r"\s*\(at line (\d+), column \d+\)")
_TOML_END = " (at end of document)"
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
        InvalidRequestError: It is no such table; the message holds file and line, the details the place apart.
    """
    page = _Page(text.replace("\r\n", "\n").removeprefix("\ufeff"), source)
    if len(text) > MAX_CHARACTERS:
        raise page.refusal("", "", "the file is larger than 256 KiB.", "It lists names of packages only.")
    try:
        document = tomllib.loads(page.text)
    except RecursionError as failure:
        raise page.unreadable("the file is nested too deeply") from failure
    except ValueError as failure:  # no TOML, or a number of thousands of digits
        raise page.unreadable(str(failure)) from failure
    unknown = sorted(set(document) - {*_PLAIN, _USE_CASES})
    if unknown:
        known = ", ".join((*_PLAIN, f"{_USE_CASES}.NAME"))
        raise page.refusal(unknown[0], "", f"there is no tier {unknown[0]!r}.", f"One of: {known}")
    plain = {name: _tier(page, name, document.get(name, {})) for name in _PLAIN}
    cases = document.get(_USE_CASES, {})
    if not isinstance(cases, dict):
        raise page.refusal(_USE_CASES, "", f"{_USE_CASES} is not a table.", f"Write [{_USE_CASES}.cv].")
    return PackageTiers(
        base=plain["base"],
        system=plain["system"],
        jupyter=plain["jupyter"],
        data_science=plain["data_science"],
        use_cases=MappingProxyType({name: _tier(page, name, table, is_case=True) for name, table in cases.items()}),
    )


@dataclass(frozen=True, slots=True)
class _Page:
    """The file, for saying where something stands: the reader of TOML tells no lines.

    Attributes:
        text: Its text.
        source: Its name.
    """

    text: str
    source: str

    def refusal(self, tier: str, word: str, problem: str, hint: str | None) -> InvalidRequestError:
        """Return the error about a word of a tier, or about its heading where the word is not found."""
        where = f"{self.source}:{self._line_of(tier, word)}"
        return InvalidRequestError(f"{where}: {problem}", hint=hint, details={"where": where, "problem": problem})

    def unreadable(self, words: str) -> InvalidRequestError:
        """Return the error about what is no TOML, from the words of its reader."""
        found = _TOML_PLACE.search(words)
        line = found[1] if found else str(len(self.text.splitlines()))
        where, problem = f"{self.source}:{line}", f"{_TOML_PLACE.sub('', words).replace(_TOML_END, '').strip()}."
        hint = "Write lists as pip = ['a', 'b']."
        return InvalidRequestError(f"{where}: {problem}", hint=hint, details={"where": where, "problem": problem})

    def _line_of(self, tier: str, word: str) -> int:
        lines = self.text.splitlines()
        name = re.escape(tier.rpartition(".")[2])
        begin = next((number for number, line in enumerate(lines) if re.match(_HEADING.format(name), line)), 0)
        for number in range(begin, len(lines)):
            if number > begin and lines[number].lstrip().startswith("["):
                break
            if word and word in lines[number]:
                return number + 1
        return begin + 1


def _tier(page: _Page, name: str, table: object, *, is_case: bool = False) -> PackageTier:
    tier = f"{_USE_CASES}.{name}" if is_case else name

    def refusal(word: str, problem: str, hint: str | None) -> InvalidRequestError:
        return page.refusal(tier, word, f"[{tier}]{problem}", hint)

    if not isinstance(table, dict):
        raise refusal("", " is not a table.", f"Write [{tier}] on a line of its own.")
    if is_case and (name == "none" or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum()):
        raise refusal("", ": this cannot be the name of a use case.", "Write one such as cv.")
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise refusal(unknown[0], f": {unknown[0]!r} is not a key.", "The keys are about, pip and apt.")
    about = table.get("about", "")
    if not isinstance(about, str) or not about.isprintable() or len(about) > 200:
        raise refusal("about", ": about is not one line of text.", 'Write about = "For plots".')
    pip = tuple(_named(refusal, text, parse_requirement).text for text in _texts(refusal, "pip", table))
    apt = tuple(_named(refusal, text, parse_system_package) for text in _texts(refusal, "apt", table))
    _require_once(refusal, [package_key(parse_requirement(text).name) for text in pip], pip)
    _require_once(refusal, apt, apt)
    return PackageTier(name, about, pip, apt)


Refusal = Callable[[str, str, str | None], InvalidRequestError]
"""Makes an error of the word it is about, the problem and the hint."""


def _texts(refusal: Refusal, key: str, table: Mapping[str, object]) -> list[str]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise refusal(key, f": {key} is not a list of names.", f'Write {key} = ["a", "b"].')
    return found


def _named(refusal: Refusal, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except InvalidRequestError as problem:
        raise refusal(text, f": {problem.message}", problem.hint) from problem


def _require_once(refusal: Refusal, keys: Sequence[str], texts: Sequence[str]) -> None:
    for position, key in enumerate(keys):
        if key in keys[:position]:
            raise refusal(texts[position], f": {key} is listed twice.", "Leave one of them out.")


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
