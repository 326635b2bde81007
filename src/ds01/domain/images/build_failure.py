"""Why a build failed: its output read as a person would, who knows what pip, apt and the engine say."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ds01.domain.images.image_name import REGISTRY
from ds01.domain.images.requirement import nearest_package

TAIL_LINES = 20
MAX_LINE_CHARACTERS = 500
_STEP = re.compile(r"Step (?:\d+/\d+ : |\[[^]]*\d+/\d+\] )?(?P<text>.+)")
_BASE_STEP = re.compile(r"FROM\s+(?:--\S+\s+)*(?P<image>\S+)", re.IGNORECASE)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[=>()][A-Z0-9]?")


class Cause(StrEnum):
    """The usual reasons."""

    NO_PACKAGE = "no_package"
    NO_VERSION = "no_version"
    WRONG_PYTHON = "wrong_python"
    CONFLICT = "conflict"
    NO_SYSTEM_PACKAGE = "no_system_package"
    NO_SPACE = "no_space"
    NO_NETWORK = "no_network"
    CERTIFICATE = "certificate"
    OUT_OF_MEMORY = "out_of_memory"
    TIME_LIMIT = "time_limit"
    WRONG_HASH = "wrong_hash"
    NO_BASE = "no_base"
    NO_TOOL = "no_tool"
    NO_COMPILER = "no_compiler"
    NEEDS_BUILDKIT = "needs_buildkit"
    WRONG_ARCHITECTURE = "wrong_architecture"
    MANAGED_PYTHON = "managed_python"
    NO_FILE = "no_file"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class BuildFailure:
    """Why a build failed.

    Attributes:
        cause: The likely reason.
        reason: The same in words, with the name of the package or file.
        hint: What to do.
        step: The step that failed, as it was written; empty before the first.
        tail: The last lines of that step.
        subject: The package, image, program or file; empty without.
    """

    cause: Cause
    reason: str
    hint: str
    step: str
    tail: tuple[str, ...]
    subject: str = ""


Reading = Callable[[re.Match[str], Sequence[str]], tuple[str, str, str]]
"""Subject, reason and hint of what was found; the names are those of packages that exist."""


def explain_failure(output: str, message: str, known: Sequence[str] = ()) -> BuildFailure:
    """Return why a build failed.

    Args:
        output: What the build printed.
        message: What the engine says at its end.
        known: Names of packages that exist, for the nearest one.
    """
    step, lines = _last_step(output)
    text = "\n".join([*lines, message])
    tail = tuple(line[:MAX_LINE_CHARACTERS] for line in lines[-TAIL_LINES:])
    for cause, pattern, reading in _RULES:
        found = pattern.search(text)
        if found is not None:
            subject, reason, hint = reading(found, known)
            base = _BASE_STEP.match(step) if cause is Cause.NO_NETWORK else None
            if base is not None:
                return _no_base(base["image"], step, tail)
            return BuildFailure(cause, reason, hint, step, tail, subject)
    return BuildFailure(Cause.UNKNOWN, _plain(message)[:300].rstrip("."), "The last lines say why.", step, tail)


def _no_base(image: str, step: str, tail: tuple[str, ...]) -> BuildFailure:
    """A base that is not here, and whose registry does not answer: that of people's own images never does."""
    if image.startswith(f"{REGISTRY}/"):
        reason, hint = f"there is no image {image}", "`ds01 image list` shows yours; one of them can be the base."
    else:
        reason = f"the base image {image} is not here, and its registry does not answer"
        hint = "Take one that is here (`ds01 image list --all`), or tell the administrator."
    return BuildFailure(Cause.NO_BASE, reason, hint, step, tail, image)


def plain_lines(text: str) -> list[str]:
    """Return lines as a terminal would show them in the end: without colours, bars that were redrawn only once."""
    shown = (_plain(line).rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n"))
    return [line for line in shown if line]


def step_of(line: str) -> str | None:
    """Return the step that a line announces, or None."""
    found = _STEP.fullmatch(line.strip())
    return found["text"] if found else None


def _last_step(output: str) -> tuple[str, list[str]]:
    step = ""
    lines: list[str] = []
    for line in plain_lines(output):
        announced = step_of(line)
        if announced is not None:
            step, lines = announced, []
        else:
            lines.append(line)
    return step, lines


def _plain(text: str) -> str:
    return "".join(one for one in _ESCAPES.sub("", text) if one.isprintable() or one in "\r\t")


def _no_package(found: re.Match[str], known: Sequence[str]) -> tuple[str, str, str]:
    name = _name_of(found["package"])
    near = nearest_package(name, known)
    if near is not None and near.lower() != name.lower():
        return name, f"there is no package {name}", f"Did you mean {near}?"
    return name, f"there is no package {name} for this Python", "Look at the name: https://pypi.org/search"


def _no_version(found: re.Match[str], _known: Sequence[str]) -> tuple[str, str, str]:
    versions = [one.strip() for one in found["versions"].split(",") if one.strip()]
    newest = ", ".join(versions[-5:])
    wanted = found["package"].strip()
    return _name_of(wanted), f"there is no version for {wanted}", f"There are: {newest}."


def _wrong_python(found: re.Match[str], _known: Sequence[str]) -> tuple[str, str, str]:
    package, wanted, there = found["package"], found["wanted"].strip(), found["there"]
    hint = "Take an older version of it, or a base image with another Python."
    return package, f"{package} needs Python {wanted}, and the base image has {there}", hint


def _name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement.strip())
    return found[0] if found else requirement.strip()[:60]


def _wrong_hash(found: re.Match[str], _known: Sequence[str]) -> tuple[str, str, str]:
    package = found["package"] or ""
    return (
        package,
        f"what was fetched{f' as {package}' if package else ''} is not what its hash says",
        "Try again: the download may be damaged. If it stays so, correct the hash in the requirements.",
    )


def _says(reason: str, hint: str, subject: str = "") -> Reading:
    """Return a reading whose words name the groups of what was found."""

    def read(found: re.Match[str], _known: Sequence[str]) -> tuple[str, str, str]:
        groups = {name: (text or "").strip()[:200] for name, text in found.groupdict().items()}
        return groups.get(subject, ""), reason.format(**groups), hint.format(**groups)

    return read


def _rule(cause: Cause, pattern: str, reading: Reading) -> tuple[Cause, re.Pattern[str], Reading]:
    return cause, re.compile(pattern, re.IGNORECASE), reading


_RULES = (  # the first that fits: what makes the others happen comes before them
    _rule(
        Cause.NO_SPACE,
        r"no space left on device|You don't have enough free space|disk quota exceeded",
        _says("the disk is full", "Remove images that you do not need (ds01 image list), or tell the administrator."),
    ),
    _rule(
        Cause.CERTIFICATE,
        r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError|certificate verify failed",
        _says(
            "the certificate of a server is not trusted inside the build",
            "The site's own certificate has to be in the base image; tell the administrator.",
        ),
    ),
    _rule(
        Cause.NO_NETWORK,
        r"Temporary failure (?:in name resolution|resolving)|Could not resolve host|Network is unreachable"
        r"|bad address '|NewConnectionError|Failed to establish a new connection|no such host|Connection timed out",
        _says("the network does not answer", "Try again later, or tell the administrator."),
    ),
    _rule(
        Cause.WRONG_HASH,
        r"DO NOT MATCH THE HASHES[^\n]*(?:\n+\s+(?P<package>[A-Za-z0-9][^\s(]*))?|Hash Sum mismatch",
        _wrong_hash,
    ),
    _rule(
        Cause.WRONG_PYTHON,
        r"Package '?(?P<package>[A-Za-z0-9._-]+)'? requires a different Python: (?P<there>[\d.]+\S*?) not in "
        r"['\"](?P<wanted>[^'\"]+)['\"]",
        _wrong_python,
    ),
    _rule(
        Cause.NO_VERSION,
        r"Could not find a version that satisfies the requirement (?P<package>[^\n]*?) \(from versions: "
        r"(?P<versions>(?!none\b)[^)\n]+)\)",
        _no_version,
    ),
    _rule(
        Cause.NO_PACKAGE,
        r"Could not find a version that satisfies the requirement (?P<package>[^\n]*?) \(from versions: none\)"
        r"|No matching distribution found for (?P<other>\S+)",
        lambda found, known: _no_package(_either(found), known),
    ),
    _rule(
        Cause.CONFLICT,
        r"Cannot install (?P<packages>[^\n]+?) because these package versions have conflicting",
        _says("{packages} do not go together", "Leave the bounds of one of them out.", "packages"),
    ),
    _rule(
        Cause.NO_SYSTEM_PACKAGE,
        r"E: (?:Unable to locate package|Couldn't find any package by (?:glob|regex)) '?(?P<package>[^\s']+)"
        r"|E: Package '(?P<other>[^']+)' has no installation candidate",
        lambda found, _known: (
            found["package"] or found["other"],
            f"the base image's apt has no package {found['package'] or found['other']}",
            "Look at the name for this release: https://packages.debian.org",
        ),
    ),
    _rule(
        Cause.MANAGED_PYTHON,
        r"externally-managed-environment",
        _says(
            "the base image's Python is managed by its system (PEP 668)",
            "Take a framework image as base, or set PIP_BREAK_SYSTEM_PACKAGES=1 with ENV.",
        ),
    ),
    _rule(
        Cause.NEEDS_BUILDKIT,
        r"the --(?:mount|security|chmod|link) option requires BuildKit|unknown instruction: <?EOF|Unknown flag: mount",
        _says("a line of the Dockerfile needs BuildKit", "Build with --buildkit."),
    ),
    _rule(
        Cause.WRONG_ARCHITECTURE,
        r"exec format error",
        _says(
            "the base image, or a program in it, is for another kind of processor than this machine has",
            "Take a base image for this machine: `ds01 image catalogue`.",
        ),
    ),
    _rule(
        Cause.NO_COMPILER,
        r"(?:unable to execute '|error: command ')(?P<tool>gcc|g\+\+|cc|nvcc|x86_64-linux-gnu-gcc)"
        r"|(?P<other>gcc|cmake|nvcc): (?:command )?not found",
        _says(
            "a package has to be compiled, and the base image has no compiler",
            "Add build-essential with --system, or take a version with a wheel.",
        ),
    ),
    _rule(
        Cause.NO_TOOL,
        r"(?:/bin/sh: (?:\d+: |line \d+: )?(?P<tool>[\w.+-]+): (?:command )?not found)"
        r"|exec: \\?\"(?P<other>[^\"\\]+)\\?\": (?:executable file not found|stat )",
        lambda found, _known: (
            found["tool"] or found["other"],
            f"the base image has no {found['tool'] or found['other']}",
            "Take another base image: `ds01 image catalogue`.",
        ),
    ),
    _rule(
        Cause.NO_FILE,
        r"(?:COPY|ADD) failed: [^\n]*?(?P<file>[^\s:]+): (?:file does not exist|no such file)"
        r"|failed to compute cache key: [^\n]*\"(?P<other>[^\"]+)\":? not found",
        lambda found, _known: (
            found["file"] or found["other"],
            f"{found['file'] or found['other']} is not in the folder of the Dockerfile",
            "Copy it there, or look at .dockerignore.",
        ),
    ),
    _rule(
        Cause.NO_BASE,
        r"(?:pull access denied for|manifest for|failed to resolve source metadata for) (?P<image>[^\s,]+)"
        r"|(?P<other>\S+): (?:not found|failed to do request)(?=\n|$)",
        lambda found, _known: (
            (found["image"] or found["other"]).rstrip(":"),
            f"there is no image {(found['image'] or found['other']).rstrip(':')}",
            "Look at the line FROM, and at `ds01 image catalogue`.",
        ),
    ),
    _rule(
        Cause.OUT_OF_MEMORY,
        r"\bKilled\b|MemoryError|returned a non-zero code: 137|exit code: 137",
        _says(
            "a program was killed, most likely because the memory of your limits was used up",
            "`ds01 limits` says how much you have.",
        ),
    ),
)


def _either(found: re.Match[str]) -> re.Match[str]:
    """Return the match so that `package` is what was named."""
    if found["package"] is not None:
        return found
    again = re.fullmatch(r"(?P<package>.*)", found["other"])
    assert again is not None
    return again
