"""What an image is made of. A recipe that exists is legal: no shell or builder can take anything in it otherwise."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from ds01.domain.images.conda_package import NO_CONDA, NO_DEFAULTS, CondaPackages, parse_channel, parse_conda_spec
from ds01.domain.images.image import parse_reference
from ds01.domain.images.requirement import PackageRequirement, parse_requirement
from ds01.domain.images.requirements_line import parse_requirements_line
from ds01.domain.images.shell_word import require_one_line
from ds01.domain.images.system_package import parse_system_package
from ds01.domain.label import RESERVED_PREFIXES
from ds01.errors import InvalidRequestError

MAX_SECTION_CHARACTERS = 60_000
"""Most that one command installs. The kernel gives an argument 128 KiB. Source: execve(2), MAX_ARG_STRLEN."""
SERVER_PACKAGES = frozenset({"jupyter", "jupyterlab", "notebook", "jupyter-server"})
KERNEL_PACKAGES = frozenset({"ipykernel", "jupyter", "jupyterlab", "notebook"})
DEFAULT_ENVIRONMENT = (
    ("PYTHONUNBUFFERED", "1"),
    ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),
    ("HF_HOME", "/workspace/.cache/huggingface"),
    ("TORCH_HOME", "/workspace/.cache/torch"),
    ("MPLCONFIGDIR", "/workspace/.cache/matplotlib"),
)
"""Caches below the workspace outlive the container; GPUs are counted as nvidia-smi counts them."""
_IMAGE_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_USE_CASE = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_DAY = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_BASE_WITH_ARGUMENT = re.compile(r"[A-Za-z0-9._/:@${}-]*\$[A-Za-z0-9._/:@${}-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,127}")
_NOT_IN_PATHS = re.compile(r"""['"\\$*?<>]|\[|\]""")
_OLD_LABELS = frozenset({"maintainer", "maintainer.id"})


class Tier(StrEnum):
    """Where a package of Python comes from, in the order in which they are installed."""

    CORE = "core"
    JUPYTER = "jupyter"
    DATA_SCIENCE = "data_science"
    USE_CASE = "use_case"
    ADDITIONAL = "additional"
    CUSTOM = "custom"


_TIER_ORDER = {tier: position for position, tier in enumerate(Tier)}


@dataclass(frozen=True, slots=True)
class TierPackages:
    """The packages of one tier.

    Attributes:
        tier: The tier.
        packages: Requirements.
    """

    tier: Tier
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RequirementsFile:
    """What came from a requirements.txt, an environment.yml or a pyproject.toml.

    Attributes:
        lines: Requirements with their hashes, and options of pip.
        constraints: Lines of constraint files.
        source: Name of the file, for people; may be empty.
    """

    lines: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """A file or folder of the build context that goes into the image.

    Attributes:
        source: Path in the context.
        target: Absolute path in the image.
    """

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """What an image is made of. The texts are brought to one spelling.

    Attributes:
        base: Image to begin with.
        name: Short name of the image; empty for files that are not ours.
        author: Who made it.
        framework: Framework and version of the base, such as `Pytorch-2.8.0-aime`.
        use_case: Name of the use case, such as `cv`; empty without.
        created: Day when its Dockerfile was made, such as `2026-01-31`, or that moment in full; empty if unknown.
        system: Packages of the system (apt).
        conda: Packages of conda.
        requirements: What a requirements file asks for.
        packages: Packages of Python by tier, in the tiers' order; none is empty.
        files: Files of the build context.
        env: Environment variables.
        labels: Labels beside ours.

    Raises:
        InvalidRequestError: A text is not what it should be.
    """

    base: str
    name: str = ""
    author: str = ""
    framework: str = ""
    use_case: str = ""
    created: str = ""
    system: tuple[str, ...] = ()
    conda: CondaPackages = NO_CONDA
    requirements: RequirementsFile | None = None
    packages: tuple[TierPackages, ...] = ()
    files: tuple[CopiedFile, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Check everything, and bring it to one spelling."""
        _require_facts(self)
        _set(self, "system", _limited(map(parse_system_package, self.system), "packages of the system"))
        _set(self, "conda", _spelled_conda(self.conda))
        _set(self, "requirements", _spelled_requirements(self.requirements))
        _set(self, "packages", _spelled_packages(self.packages))
        for copied in self.files:
            require_copied(copied)
        _require_pairs(self.env, _VARIABLE, "environment variable")
        _require_pairs(self.labels, _LABEL, "label")
        for key, value in self.labels:
            if key in _OLD_LABELS or key.startswith(RESERVED_PREFIXES):
                raise InvalidRequestError(f"The label {key} is reserved.", hint="Choose a name of your own.")
            _require_label_value(value, f"label {key}")

    def packages_of(self, tier: Tier) -> tuple[str, ...]:
        """Return the requirements of a tier."""
        return next((group.packages for group in self.packages if group.tier is tier), ())

    def with_packages(self, tier: Tier, packages: Iterable[str]) -> Self:
        """Return the recipe with other requirements in a tier."""
        others = tuple(group for group in self.packages if group.tier is not tier)
        return replace(self, packages=(*others, TierPackages(tier, tuple(packages))))

    def all_packages(self) -> tuple[PackageRequirement, ...]:
        """Return everything that pip is asked for, the requirements file first."""
        lines = self.requirements.lines if self.requirements is not None else ()
        named = (parse_requirements_line(line).package for line in lines)
        tiers = (parse_requirement(text) for group in self.packages for text in group.packages)
        return (*(package for package in named if package is not None), *tiers)

    @property
    def has_server(self) -> bool:
        """A Jupyter server is installed, so it is configured."""
        return self._installs(SERVER_PACKAGES)

    @property
    def has_kernel(self) -> bool:
        """An IPython kernel is installed, so it is registered under the image's name."""
        return bool(self.name) and self._installs(KERNEL_PACKAGES)

    def _installs(self, keys: frozenset[str]) -> bool:
        lines = self.requirements.lines if self.requirements is not None else ()
        texts = (*lines, *(text for group in self.packages for text in group.packages))
        initials = {key[0] for key in keys}  # reading them all would take longer than writing the file
        likely = (parse_requirements_line(text).package for text in texts if text[0].lower() in initials)
        # one with a marker is perhaps not installed, and configuring what is not there breaks the build
        return any(package is not None and package.key in keys and not package.has_marker for package in likely)


def _set(recipe: ImageRecipe, name: str, value: object) -> None:
    object.__setattr__(recipe, name, value)


def _require_facts(recipe: ImageRecipe) -> None:
    if not _BASE_WITH_ARGUMENT.fullmatch(recipe.base):
        parse_reference(recipe.base)
    if recipe.name and not _IMAGE_NAME.fullmatch(recipe.name):
        raise InvalidRequestError(
            f"{recipe.name[:60]!r} is not a name of an image.", hint="Write one such as my-image."
        )
    if recipe.use_case and not _USE_CASE.fullmatch(recipe.use_case):
        raise InvalidRequestError(f"{recipe.use_case[:60]!r} is not a use case.", hint="Write one such as cv or nlp.")
    if recipe.created and not _DAY.fullmatch(recipe.created):
        raise InvalidRequestError(f"{recipe.created[:60]!r} is not a day.", hint="Write one such as 2026-01-31.")
    _require_label_value(recipe.author, "author")
    _require_label_value(recipe.framework, "framework")


def _require_label_value(value: str, what: str) -> None:
    require_one_line(value, what)
    if "," in value:  # AIME's tool splits the labels of a container at commas, also those of its image
        raise InvalidRequestError(f"The {what} {value[:60]!r} holds a comma.", hint="Write `;` in its place.")


def _limited(texts: Iterable[str], what: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(texts))
    if sum(len(text) + 10 for text in found) > MAX_SECTION_CHARACTERS:
        raise InvalidRequestError(
            f"{len(found)} {what} are more than one command takes.", hint="Put them into a requirements.txt."
        )
    return found


def _spelled_conda(conda: CondaPackages) -> CondaPackages:
    if not conda.specs:
        return NO_CONDA  # channels without packages ask for nothing
    return CondaPackages(
        specs=_limited(map(parse_conda_spec, conda.specs), "packages of conda"),
        # the one that is an option of the command has no place among the others
        channels=tuple(sorted(dict.fromkeys(map(parse_channel, conda.channels)), key=NO_DEFAULTS.__eq__)),
    )


def _spelled_requirements(found: RequirementsFile | None) -> RequirementsFile | None:
    if found is None or not found.lines:
        return None
    require_one_line(found.source, "name of the file")
    return RequirementsFile(
        lines=tuple(dict.fromkeys(parse_requirements_line(line).text for line in found.lines)),
        constraints=tuple(dict.fromkeys(parse_requirements_line(line).text for line in found.constraints)),
        source=" ".join(found.source.split()),
    )


def _spelled_packages(groups: Iterable[TierPackages]) -> tuple[TierPackages, ...]:
    by_tier: dict[Tier, list[str]] = {}
    for group in groups:
        by_tier.setdefault(group.tier, []).extend(parse_requirement(text).text for text in group.packages)
    ordered = sorted(by_tier, key=_TIER_ORDER.__getitem__)
    return tuple(TierPackages(tier, _limited(by_tier[tier], "packages")) for tier in ordered if by_tier[tier])


def require_copied(copied: CopiedFile) -> None:
    """Raise if a file cannot be copied into an image.

    Raises:
        InvalidRequestError: It cannot.
    """
    require_one_line(copied.source, "path")
    require_one_line(copied.target, "path")
    if not copied.source or copied.source.startswith("/") or ".." in copied.source.split("/"):
        raise InvalidRequestError(
            f"{copied.source[:60]!r} is not a path in the build's folder.", hint="Copy the file there first."
        )
    if not copied.target.startswith("/"):
        raise InvalidRequestError(f"{copied.target[:60]!r} is not an absolute path.", hint="Begin with /.")
    # builders fill in variables, take quotes away and look for patterns, in the JSON form too
    found = _NOT_IN_PATHS.search(copied.source + copied.target)
    if found is not None:
        raise InvalidRequestError(
            f"{copied.source[:60]!r} to {copied.target[:60]!r}: builders give {found[0]!r} a meaning of its own.",
            hint="Rename the file.",
        )


def _require_pairs(pairs: tuple[tuple[str, str], ...], form: re.Pattern[str], what: str) -> None:
    seen: set[str] = set()
    for key, value in pairs:
        if len(key) > MAX_SECTION_CHARACTERS or not form.fullmatch(key):
            raise InvalidRequestError(f"{key[:60]!r} is not a name of a {what}.", hint="Write letters, digits and _.")
        if key in seen:
            raise InvalidRequestError(f"The {what} {key} is given twice.", hint="Leave one of them out.")
        seen.add(key)
        require_one_line(value, f"{what} {key}")
