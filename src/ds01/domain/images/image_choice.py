"""Which row of the catalogue a machine gets, and why."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from ds01.domain.devices.gpu import Inventory
from ds01.domain.images.catalogue import CatalogueRow, find_framework, frameworks
from ds01.errors import NotFoundError

_CUDA_VERSION = re.compile(r"cuda(\d+)\.(\d+)")
_ANY = (999, 0)

# The label is a CUDA generation, not a card: which compute capabilities (from, below) the framework builds of a
# generation hold. Source: AIME's README, table of GPU architectures. Without a card nothing speaks for the newest
# generation, which few drivers run.
_GENERATIONS: tuple[tuple[str, tuple[int, int], tuple[int, int]], ...] = (
    ("CUDA_BLACKWELL", (10, 0), _ANY),
    ("CUDA_ADA", (8, 0), (10, 0)),
    ("CUDA_AMPERE", (8, 0), (9, 0)),
    ("CUDA", (6, 0), (8, 0)),
)
_OLDEST = "CUDA"
_NOT_WITHOUT_CARD = frozenset({"CUDA_BLACKWELL"})


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


@dataclass(frozen=True, slots=True)
class ArchitectureChoice:
    """The generations whose images are candidates, the best first.

    Attributes:
        names: Such as `CUDA_ADA`.
        reason: Why these.
        was_asked: They were asked for, so the driver is not asked.
    """

    names: tuple[str, ...]
    reason: str
    was_asked: bool = False


def choose_architectures(
    rows: Sequence[CatalogueRow], inventory: Inventory, architecture: str | None
) -> ArchitectureChoice:
    """Return the generations for this machine, or the one that was asked for.

    Raises:
        NotFoundError: The catalogue has no such generation; the message names the nearest.
    """
    if architecture is None:
        return _found_architectures(inventory)
    asked = architecture.upper()
    _require_architecture(rows, asked)
    return ArchitectureChoice((asked,), f"{asked} was asked for", was_asked=True)


def _found_architectures(inventory: Inventory) -> ArchitectureChoice:
    usable = [card for card in inventory.devices if card.fault is None]  # a broken one may not know what it is
    if not usable:
        names = tuple(name for name, _, _ in _GENERATIONS if name not in _NOT_WITHOUT_CARD)
        return ArchitectureChoice(names, "no GPU here, so any CUDA image")
    weakest = min(usable, key=lambda card: card.compute_capability)
    strongest = max(card.compute_capability for card in usable)
    lowest = weakest.compute_capability
    held = [name for name, first, below in _GENERATIONS if lowest >= first and strongest < below]
    if not held:  # no generation holds every card: the weakest decides, because images run on what they were made for
        held = [name for name, first, below in _GENERATIONS if first <= lowest < below]
    cuda = ".".join(map(str, inventory.cuda_version))
    return ArchitectureChoice(tuple(held or [_OLDEST]), f"{weakest.model} with a driver for CUDA {cuda}")


def runs_here(row: CatalogueRow, candidates: ArchitectureChoice, inventory: Inventory) -> bool:
    """Tell whether a row is for one of the generations, and its CUDA one that the driver runs."""
    is_for_them = not set(row.architectures).isdisjoint(candidates.names)
    return is_for_them and (candidates.was_asked or _driver_runs(row, inventory))


def choose_image(
    rows: Sequence[CatalogueRow], framework: str, version: str | None, *, inventory: Inventory, architecture: str | None
) -> CatalogueChoice:
    """Return the catalogue's image for a framework on this machine.

    Args:
        rows: The catalogue; the first row of a framework and architecture is its newest.
        framework: Name in any case.
        version: Wanted version in any case; None for the newest.
        inventory: Devices and driver, from which the architecture follows.
        architecture: Overrides what follows from the machine.

    Raises:
        NotFoundError: No such framework, version or architecture; the message names the nearest.
    """
    known = require_framework(rows, framework)
    candidates = choose_architectures(rows, inventory, architecture)
    of_framework = [row for row in rows if row.framework == known]
    usable = [row for row in of_framework if runs_here(row, candidates, inventory)]
    for candidate in candidates.names:
        for row in usable:
            if candidate not in row.architectures or not _is_version(row, version):
                continue
            which = "newest" if version is None else "this version"
            return CatalogueChoice(row, candidate, f"{_reason(row, candidates, inventory)}; {which} for {candidate}")
    raise _unknown_version(of_framework, usable, version, candidates.names)


def _is_version(row: CatalogueRow, version: str | None) -> bool:
    return version is None or row.version.lower() == version.lower()


def _reason(row: CatalogueRow, candidates: ArchitectureChoice, inventory: Inventory) -> str:
    if _driver_runs(row, inventory):
        return candidates.reason
    return f"{candidates.reason}, although the driver here is for CUDA {'.'.join(map(str, inventory.cuda_version))}"


def _driver_runs(row: CatalogueRow, inventory: Inventory) -> bool:
    """A driver runs every CUDA up to its own. What runs a newer minor version by compatibility is not relied on."""
    match = _CUDA_VERSION.search(row.image)
    if match is None or not inventory.devices:
        return True
    return (int(match[1]), int(match[2])) <= inventory.cuda_version


def require_framework(rows: Sequence[CatalogueRow], framework: str) -> str:
    """Return the framework's name as the catalogue writes it.

    Raises:
        NotFoundError: It has none such; the hint names the nearest.
    """
    known = find_framework(rows, framework)
    if known is not None:
        return known
    names = [name.lower() for name in frameworks(rows)]
    near = get_close_matches(framework.lower(), names, n=1)
    hint = (
        f"Did you mean {near[0]}?"
        if near
        else f"There are: {', '.join(names)}. Any other image: with its tag, such as ubuntu:24.04."
    )
    raise NotFoundError(f"There is no framework {framework!r} in the catalogue.", hint=hint)


def _require_architecture(rows: Sequence[CatalogueRow], architecture: str) -> None:
    known = list(dict.fromkeys(name for row in rows for name in row.architectures))
    if architecture not in known:
        near = get_close_matches(architecture, known, n=1)
        hint = f"Did you mean --arch {near[0]}?" if near else f"There are: {', '.join(known)}."
        raise NotFoundError(f"The catalogue has no images for the architecture {architecture!r}.", hint=hint)


def _unknown_version(
    of_framework: Sequence[CatalogueRow], usable: Sequence[CatalogueRow], version: str | None, candidates: Sequence[str]
) -> NotFoundError:
    framework, machine = of_framework[0].framework, f"this machine ({', '.join(candidates)})"
    if version is None or not usable:
        return NotFoundError(
            f"The catalogue has no {framework} image for {machine}.", hint="Use --arch or --image REF."
        )
    elsewhere = list(
        dict.fromkeys(name for row in of_framework if _is_version(row, version) for name in row.architectures)
    )
    if elsewhere:
        return NotFoundError(
            f"{framework} {version} is not for {machine}, only for {', '.join(elsewhere)} or a newer driver.",
            hint=f"The newest for it is {usable[0].version}; to have {version} anyway: --arch {elsewhere[0]}.",
        )
    versions = list(dict.fromkeys(row.version for row in usable))
    near = get_close_matches(version, versions, n=3) or versions[:5]
    return NotFoundError(f"There is no {framework} {version!r} for {machine}.", hint=f"There are: {', '.join(near)}.")
