"""The sections of a Dockerfile: their headings, and how each is written."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum

from ds01.domain import label
from ds01.domain.images.conda_package import NO_DEFAULTS, CondaPackages
from ds01.domain.images.recipe import MAX_SECTION_CHARACTERS, CopiedFile, ImageRecipe, RequirementsFile, Tier
from ds01.domain.images.shell_word import quote_word

REQUIREMENTS_PATH = "/tmp/ds01-requirements.txt"  # noqa: S108 - a path in the image while it is built
CONSTRAINTS_PATH = "/tmp/ds01-constraints.txt"  # noqa: S108
SOURCE_PREFIX = "# Source: "
PIP_CACHE = "--mount=type=cache,target=/root/.cache/pip"
JUPYTER_SETTINGS = (
    'c.ServerApp.ip = "0.0.0.0"',
    "c.ServerApp.open_browser = False",
    'c.ServerApp.root_dir = "/workspace"',
)
"""Of the whole image, not of one user. The token stays on, and the port is published on loopback only."""
_BARE_VALUE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


class Section(Enum):
    """The sections in their order; the values are the headings that the predecessors' tools know too."""

    SYSTEM = "System packages"
    CONDA = "Conda packages"
    REQUIREMENTS = "Packages from requirements.txt"
    CORE = "Core Python packages"
    JUPYTER = "Jupyter & Interactive"
    DATA_SCIENCE = "Core Data Science"
    USE_CASE = "Use case specific packages"
    ADDITIONAL = "Additional user packages"
    CUSTOM = "Custom additional packages"
    FILES = "Files"
    JUPYTER_CONFIG = "Configure Jupyter Lab"
    KERNEL = "IPython kernel"
    USER = "User/Group Setup"
    ENVIRONMENT = "Environment variables"


SECTION_ORDER = {section: position for position, section in enumerate(Section)}
TIER_SECTIONS = {
    Tier.CORE: Section.CORE,
    Tier.JUPYTER: Section.JUPYTER,
    Tier.DATA_SCIENCE: Section.DATA_SCIENCE,
    Tier.USE_CASE: Section.USE_CASE,
    Tier.ADDITIONAL: Section.ADDITIONAL,
    Tier.CUSTOM: Section.CUSTOM,
}
SECTION_TIERS = {section: tier for tier, section in TIER_SECTIONS.items()}
_HEADINGS = {
    **{section.value.lower(): section for section in Section},
    "configure jupyter": Section.JUPYTER_CONFIG,
    "base packages": Section.CORE,
}
_VARIANT = re.compile(r"\s*\((?:custom|default|legacy)\)$", re.IGNORECASE)


def find_section(comment: str) -> Section | None:
    """Return the section that a comment heads, or None if it is any other comment."""
    text = comment.strip().lstrip("#").strip()
    return _HEADINGS.get(_VARIANT.sub("", text).lower())


def write_section(recipe: ImageRecipe, section: Section, *, has_cache: bool = False) -> str:
    """Return the instructions of a section without its heading; empty if the recipe has none for it.

    Args:
        recipe: The recipe.
        section: The section.
        has_cache: Keep what pip fetches in a cache of the builder (BuildKit only).
    """
    tier = SECTION_TIERS.get(section)
    if tier is not None:
        return write_pip(recipe.packages_of(tier), has_cache=has_cache)
    if section is Section.REQUIREMENTS:
        return _write_requirements(recipe.requirements, has_cache=has_cache)
    return _WRITERS[section](recipe) if section in _WRITERS else ""


def write_pip(packages: Sequence[str], *, has_cache: bool = False) -> str:
    """Return the command that installs packages of Python."""
    if not packages:
        return ""
    return _command(f"RUN {_pip(has_cache=has_cache)}", packages)


def _pip(*, has_cache: bool) -> str:
    return f"{PIP_CACHE} pip install" if has_cache else "pip install --no-cache-dir"


def _command(head: str, words: Iterable[str], tail: Sequence[str] = ()) -> str:
    return " \\\n    ".join([head, *map(quote_word, words), *tail]) + "\n"


def _write_system(packages: Sequence[str]) -> str:
    if not packages:
        return ""
    head = "RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends"
    return _command(head, packages, ["&& rm -rf /var/lib/apt/lists/*"])


def _write_conda(conda: CondaPackages) -> str:
    if not conda.specs:
        return ""
    options = ["--override-channels"] if NO_DEFAULTS in conda.channels else []
    options += [f"-c {quote_word(channel)}" for channel in conda.channels if channel != NO_DEFAULTS]
    return _command(" ".join(["RUN conda install -y", *options]), conda.specs, ["&& conda clean -afy"])


def _write_requirements(found: RequirementsFile | None, *, has_cache: bool) -> str:
    if found is None:
        return ""
    text = _write_lines(found.lines, REQUIREMENTS_PATH)
    install, paths = f"RUN {_pip(has_cache=has_cache)} -r {REQUIREMENTS_PATH}", REQUIREMENTS_PATH
    if found.constraints:
        text += _write_lines(found.constraints, CONSTRAINTS_PATH)
        install += f" -c {CONSTRAINTS_PATH}"
        paths += f" {CONSTRAINTS_PATH}"
    return text + f"{install} && rm -f {paths}\n"


def _write_lines(lines: Sequence[str], path: str) -> str:
    """Write a file by printf: here-documents are not known to the classic builder. Long files take several commands."""
    chunks: list[list[str]] = [[]]
    size = 0
    for line in lines:
        size += len(line) + 10
        if size > MAX_SECTION_CHARACTERS and chunks[-1]:
            chunks.append([])
            size = len(line) + 10
        chunks[-1].append(line)
    return "".join(
        _command("RUN printf '%s\\n'", chunk, [f"{'>>' if number else '>'} {path}"])
        for number, chunk in enumerate(chunks)
    )


def _write_files(files: Sequence[CopiedFile]) -> str:
    return "".join(f"COPY {json.dumps([one.source, one.target], ensure_ascii=False)}\n" for one in files)


def _write_jupyter() -> str:
    tail = ["> /etc/jupyter/jupyter_server_config.py"]
    return _command("RUN mkdir -p /etc/jupyter && printf '%s\\n'", JUPYTER_SETTINGS, tail)


def _write_kernel(recipe: ImageRecipe) -> str:
    shown = f"{recipe.name} ({recipe.framework})" if recipe.framework else recipe.name
    options = [f"--name {quote_word(recipe.name)}", f"--display-name {quote_word(shown)}"]
    return " \\\n    ".join(["RUN python3 -m ipykernel install --sys-prefix", *options]) + "\n"


_WRITERS: Mapping[Section, Callable[[ImageRecipe], str]] = {
    Section.SYSTEM: lambda recipe: _write_system(recipe.system),
    Section.CONDA: lambda recipe: _write_conda(recipe.conda),
    Section.FILES: lambda recipe: _write_files(recipe.files),
    Section.JUPYTER_CONFIG: lambda recipe: _write_jupyter() if recipe.has_server else "",
    Section.KERNEL: lambda recipe: _write_kernel(recipe) if recipe.has_kernel else "",
    Section.ENVIRONMENT: lambda recipe: "".join(f"ENV {key}={quote_value(value)}\n" for key, value in recipe.env),
}


def label_pairs(recipe: ImageRecipe) -> tuple[tuple[str, str], ...]:
    """Return the labels of a recipe, ours first."""
    ours = (
        (label.MAINTAINER, recipe.author),
        (label.CUSTOM_IMAGE, recipe.name),
        (label.FRAMEWORK, recipe.framework),
        (label.USE_CASE, recipe.use_case),
        (label.CREATED, recipe.created),
    )
    return (*((key, value) for key, value in ours if value), *recipe.labels)


def write_labels(recipe: ImageRecipe) -> str:
    """Return the labels of a recipe as instructions."""
    return "".join(f"LABEL {key}={_in_double_quotes(value)}\n" for key, value in label_pairs(recipe))


def quote_value(value: str) -> str:
    """Return the value of an ENV as builders read it back: they know quotes, backslashes and variables."""
    return value if _BARE_VALUE.fullmatch(value) else _in_double_quotes(value)


def _in_double_quotes(value: str) -> str:
    return '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"'
