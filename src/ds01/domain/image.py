"""Images: references, the catalogue of framework images, and which row of it a machine can use."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from ds01.domain.gpu import Inventory
from ds01.domain.name import EngineName, parse_engine_name
from ds01.errors import InvalidRequestError, NotFoundError

_REFERENCE = re.compile(
    r"(?P<repository>(?:[a-zA-Z0-9][a-zA-Z0-9.-]*(?::\d{1,5})?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_IMAGE_ID = re.compile(r"(?:sha256:)?[0-9a-f]{12,64}")
MAX_REFERENCE_LENGTH = 255
DEFAULT_TAG = "latest"
HIDDEN_FRAMEWORKS = frozenset({"mxnet", "rocm"})
_CUDA_VERSION = re.compile(r"cuda(\d+)\.(\d+)")

# Which images a card can run: the label is a CUDA generation, not a card. Framework builds of a generation hold
# the compute capabilities up to it. Source: AIME's README, table of GPU architectures. Without a card nothing speaks
# for the newest generation, which few drivers run.
_GENERATIONS: tuple[tuple[str, tuple[int, int]], ...] = (
    ("CUDA_BLACKWELL", (10, 0)),
    ("CUDA_ADA", (8, 0)),
    ("CUDA_AMPERE", (8, 0)),
    ("CUDA", (6, 0)),
)
_NOT_WITHOUT_CARD = frozenset({"CUDA_BLACKWELL"})


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A parsed image reference.

    Attributes:
        repository: Registry and path.
        tag: Tag; None with a digest only.
        digest: `sha256:...`; None without.
    """

    repository: str
    tag: str | None
    digest: str | None

    def __str__(self) -> str:
        text = self.repository
        if self.tag is not None:
            text += f":{self.tag}"
        return text + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> ImageReference:
    """Return the parts of an image reference; without tag and digest the tag is `latest`.

    Raises:
        InvalidRequestError: `text` is not a reference.
    """
    match = _REFERENCE.fullmatch(text) if len(text) <= MAX_REFERENCE_LENGTH else None
    if match is None:
        raise InvalidRequestError(
            f"{text[:100]!r} is not an image reference.",
            hint="Write repository:tag in lower case, such as aimehub/pytorch-2.8.0-cuda12.6.3.",
        )
    tag = match["tag"] or (None if match["digest"] else DEFAULT_TAG)
    return ImageReference(repository=match["repository"], tag=tag, digest=match["digest"])


def is_image_id(text: str) -> bool:
    """Tell whether the text is an image id (at least 12 hex digits) rather than a name."""
    return _IMAGE_ID.fullmatch(text) is not None


def private_tag(image: str, engine_name: EngineName) -> str:
    """Return the free tag a container is created from: `<repo>:<name>._.<uid>`.

    AIME's `mlc remove` deletes the image that a container names. With a tag of its own, that costs nothing but the tag.
    The tag of an image that has one other than `latest` goes into the repository part.
    """
    if is_image_id(image):
        return f"ds01.invalid/image-{image.removeprefix('sha256:')[:12]}:{engine_name}"
    reference = parse_reference(image)
    repository = reference.repository
    if reference.tag not in {None, DEFAULT_TAG}:
        repository += "-" + (re.sub(r"[^a-z0-9]+", "-", str(reference.tag).lower()).strip("-") or "tag")
    elif reference.digest is not None:
        repository += "-" + reference.digest.removeprefix("sha256:")[:12]
    return f"{repository}:{engine_name}"


def is_private_tag(reference: str) -> bool:
    """Tell whether the tag was made for one container: such tags are hidden and go with it."""
    _, _, tag = reference.rpartition(":")
    return parse_engine_name(tag) is not None


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One framework image.

    Attributes:
        framework: As people know it, such as `Pytorch`.
        version: Version with its suffix, such as `2.8.0-aime`.
        architectures: CUDA or ROCm generations it was made for.
        image: Reference.
    """

    framework: str
    version: str
    architectures: tuple[str, ...]
    image: str


@dataclass(frozen=True, slots=True)
class CatalogueChoice:
    """The row that was chosen.

    Attributes:
        row: The row.
        architecture: The generation it was chosen for.
        reason: Why this one, in one phrase.
    """

    row: CatalogueRow
    architecture: str
    reason: str


def parse_catalogue(text: str) -> tuple[CatalogueRow, ...]:
    """Return the rows of a catalogue with the columns framework, version, architecture and image.

    Several architectures are joined by `;`. The first line is the heading.

    Raises:
        InvalidRequestError: A row has another number of columns; the message says which.
    """
    rows: list[CatalogueRow] = []
    for number, line in enumerate(text.splitlines()[1:], start=2):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != 4:
            raise InvalidRequestError(f"Row {number} of the catalogue has {len(cells)} columns, not 4.", hint=line)
        rows.append(CatalogueRow(cells[0], cells[1], tuple(cells[2].split(";")), cells[3]))
    return tuple(rows)


def is_offered(row: CatalogueRow) -> bool:
    """Tell whether a row is shown without `--all`: not the discontinued frameworks."""
    return row.framework.lower() not in HIDDEN_FRAMEWORKS


def frameworks(rows: Iterable[CatalogueRow]) -> tuple[str, ...]:
    """Return the names of the offered frameworks in the catalogue's order."""
    return tuple(dict.fromkeys(row.framework for row in rows if is_offered(row)))


def find_framework(rows: Sequence[CatalogueRow], name: str) -> str | None:
    """Return the framework's name as the catalogue writes it, whatever the case typed; None if it has none such."""
    for known in dict.fromkeys(row.framework for row in rows):
        if known.lower() == name.lower():
            return known
    return None


def choose_image(
    rows: Sequence[CatalogueRow], framework: str, version: str | None, *, inventory: Inventory, architecture: str | None
) -> CatalogueChoice:
    """Return the catalogue's image for a framework on this machine.

    Args:
        rows: The catalogue; the first row of a framework and architecture is its newest.
        framework: Name in any case.
        version: Wanted version; None for the newest.
        inventory: Devices and driver, from which the architecture follows.
        architecture: Overrides what follows from the machine.

    Raises:
        NotFoundError: No such framework or version; the message names the nearest.
    """
    known = find_framework(rows, framework)
    if known is None:
        raise _unknown_framework(rows, framework)
    candidates, reason = _architectures(inventory, architecture)
    of_framework = [row for row in rows if row.framework == known]
    if architecture is not None:
        _require_architecture(rows, candidates[0])
    for candidate in candidates:
        for row in of_framework:
            if candidate not in row.architectures or not (version is None or row.version == version):
                continue
            if architecture is None and not _driver_runs(row, inventory):
                continue
            return CatalogueChoice(
                row, candidate, f"{reason}; {'newest' if version is None else 'this version'} for {candidate}"
            )
    usable = [row for row in of_framework if set(row.architectures) & set(candidates)]
    if architecture is None:
        usable = [row for row in usable if _driver_runs(row, inventory)]
    raise _unknown_version(of_framework, usable, version, candidates)


def _architectures(inventory: Inventory, architecture: str | None) -> tuple[list[str], str]:
    if architecture is not None:
        return [architecture.upper()], f"{architecture.upper()} was asked for"
    usable = [card for card in inventory.devices if card.fault is None]  # a broken one may not know what it is
    if not usable:
        return [name for name, _ in _GENERATIONS if name not in _NOT_WITHOUT_CARD], "no GPU here, so any CUDA image"
    weakest = min(usable, key=lambda card: card.compute_capability)
    found = [name for name, lowest in _GENERATIONS if weakest.compute_capability >= lowest]
    cuda = ".".join(map(str, inventory.cuda_version))
    return found or ["CUDA"], f"{weakest.model} with a driver for CUDA {cuda}"


def _driver_runs(row: CatalogueRow, inventory: Inventory) -> bool:
    """A driver runs every CUDA up to its own. What runs a newer minor version by compatibility is not relied on."""
    match = _CUDA_VERSION.search(row.image)
    if match is None or not inventory.devices:
        return True
    return (int(match[1]), int(match[2])) <= inventory.cuda_version or int(match[1]) < inventory.cuda_version[0]


def _require_architecture(rows: Sequence[CatalogueRow], architecture: str) -> None:
    known = list(dict.fromkeys(name for row in rows for name in row.architectures))
    if architecture not in known:
        near = get_close_matches(architecture, known, n=1)
        hint = f"Did you mean --arch {near[0]}?" if near else f"There are: {', '.join(known)}."
        raise NotFoundError(f"The catalogue has no images for the architecture {architecture!r}.", hint=hint)


def _unknown_framework(rows: Sequence[CatalogueRow], framework: str) -> NotFoundError:
    names = frameworks(rows)
    near = get_close_matches(framework.lower(), [name.lower() for name in names], n=1)
    hint = (
        f"Did you mean {near[0]}?"
        if near
        else f"There are: {', '.join(name.lower() for name in names)}. Any other image: --image REF."
    )
    return NotFoundError(f"There is no framework {framework!r} in the catalogue.", hint=hint)


def _unknown_version(
    of_framework: Sequence[CatalogueRow], usable: Sequence[CatalogueRow], version: str | None, candidates: Sequence[str]
) -> NotFoundError:
    framework, machine = of_framework[0].framework, f"this machine ({', '.join(candidates)})"
    if version is None or not usable:
        return NotFoundError(
            f"The catalogue has no {framework} image for {machine}.", hint="Use --arch or --image REF."
        )
    elsewhere = list(
        dict.fromkeys(name for row in of_framework if row.version == version for name in row.architectures)
    )
    if elsewhere:
        return NotFoundError(
            f"{framework} {version} is not for {machine}, only for {', '.join(elsewhere)} or a newer driver.",
            hint=f"The newest for it is {usable[0].version}; to have {version} anyway: --arch {elsewhere[0]}.",
        )
    versions = list(dict.fromkeys(row.version for row in usable))
    near = get_close_matches(version, versions, n=3) or versions[:5]
    return NotFoundError(f"There is no {framework} {version!r} for {machine}.", hint=f"There are: {', '.join(near)}.")
