"""What is imported into a recipe: the text of a file, and what was found in it."""

import codecs
from dataclasses import dataclass

from ds01.domain.images.conda_package import NO_CONDA, CondaPackages
from ds01.domain.images.requirement import PackageRequirement
from ds01.errors import InvalidRequestError

MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ImportProblem:
    """Something in an imported file that cannot be taken.

    Attributes:
        place: `file:line`, or the file alone.
        problem: What it is.
        hint: What to do.
    """

    place: str
    problem: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Import:
    """What a file asks for.

    Attributes:
        lines: Lines for pip, in the spelling of a requirements file.
        constraints: Lines of its constraint files.
        packages: The packages among the lines.
        conda: Packages of conda.
        env: Environment variables.
        problems: What cannot be taken; nothing of it is in the other fields.
        notes: What was taken otherwise than it is written, and why.
    """

    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    packages: tuple[PackageRequirement, ...] = ()
    conda: CondaPackages = NO_CONDA
    env: tuple[tuple[str, str], ...] = ()
    problems: tuple[ImportProblem, ...] = ()
    notes: tuple[ImportProblem, ...] = ()


def require_whole(found: Import, name: str) -> Import:
    """Return an import if everything in it can be taken.

    Raises:
        InvalidRequestError: Something cannot; the message names the first, the details all of them.
    """
    if not found.problems:
        return found
    first, others = found.problems[0], len(found.problems) - 1
    more = f" ({others} more in {name})" if others else ""
    raise InvalidRequestError(
        f"{first.place}: {first.problem}{more}",
        hint=first.hint or None,
        details={"problems": [f"{one.place}: {one.problem} {one.hint}".strip() for one in found.problems]},
    )


def decode_text(raw: bytes, name: str) -> str:
    """Return the text of a file that a person gives: UTF-8, or UTF-16 as PowerShell's `>` writes it.

    Raises:
        InvalidRequestError: It is neither, is too large, or is no text.
    """
    if len(raw) > MAX_BYTES:
        raise InvalidRequestError(f"{name} is larger than 4 MiB.", hint="Is it the right file?")
    is_wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = raw.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as failure:
        line = raw[: failure.start].count(b"\n") + 1
        raise InvalidRequestError(f"{name}:{line}: the file is not UTF-8.", hint="Save it as UTF-8.") from failure
    if "\0" in text:
        raise InvalidRequestError(f"{name} is not a text.", hint="Is it the right file?")
    return text
