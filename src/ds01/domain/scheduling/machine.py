"""Machines that need not exist: `8xA100-80GB,4xH100-80GB` as a board, by the table of what devices can be cut into."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypedDict

from ds01.domain.devices.gpu import GpuKind, MigProfile
from ds01.domain.devices.mig import MigTable, make_table
from ds01.domain.devices.mig_value import with_values
from ds01.domain.devices.position import FULL_PROFILE, Position
from ds01.domain.scheduling.board import Board, Card
from ds01.errors import InvalidRequestError

StateValues = Mapping[str, Mapping[str, Sequence[float]]]
"""Geometry to the kinds of values of its states, as they are shipped."""
MAX_CARDS = 256
EXAMPLE = "Write it like --devices 8xA100-80GB or --devices 8xA100-80GB,4xH100-80GB."
MIB = 1024**2
_PART = re.compile(r"(?:(?P<count>[0-9]{1,6})\s*[xX*]\s*)?(?P<model>[A-Za-z][A-Za-z0-9 ._-]{0,40})")


class ProfileFacts(TypedDict):
    """What the table says of a profile; further keys are not read."""

    name: str
    nvml_profile_id: int
    compute_slices: int
    memory_slices: int
    valid_starts: Sequence[int]
    max_instances: int
    memory_mib: int | None


class DeviceFacts(TypedDict):
    """What the table says of a device model; further keys are not read."""

    compute_slices_total: int
    profiles: Sequence[ProfileFacts]
    mode_toggle_needs_gpu_reset: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """GPUs of a machine that is thought of.

    Attributes:
        text: As it is shown.
        board: Every card whole or cut on demand, as what is on it needs.
    """

    text: str
    board: Board

    @property
    def equivalents(self) -> float:
        """Compute of all cards."""
        return float(len(self.board.cards))


def table_of_facts(key: str, device: DeviceFacts, values: StateValues) -> MigTable:
    """Return the table of a device model with the values of its states.

    Args:
        key: Name of the model.
        device: What it can be cut into.
        values: By geometry, as they are shipped.
    """
    profiles = [
        MigProfile(
            name=one["name"],
            id=one["nvml_profile_id"],
            compute_slices=one["compute_slices"],
            memory_slices=one["memory_slices"],
            memory_bytes=(one["memory_mib"] or 0) * MIB,
            placements=tuple(one["valid_starts"]),
            max_instances=one["max_instances"],
        )
        for one in device["profiles"]
    ]
    needs_reset = device["mode_toggle_needs_gpu_reset"]
    table = make_table(key, profiles, compute_slices=device["compute_slices_total"], needs_reset=needs_reset)
    return with_values(table, values)


def parse_machine(text: str, facts: Mapping[str, DeviceFacts], values: StateValues | None = None) -> Machine:
    """Return the machine that is meant.

    Args:
        text: Number and model of its GPUs, several parts with commas.
        facts: What each device model can be cut into, by its name.
        values: Worth of the states of each geometry, as on a real machine; None: what can still be placed counts.

    Raises:
        InvalidRequestError: A number or a model cannot be understood; the message names the nearest one.
    """
    cards: list[Card] = []
    tables: dict[str, MigTable] = {}
    said: list[str] = []
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise InvalidRequestError(f"{part.strip()[:60]!r} does not say which GPUs.", hint=EXAMPLE)
        count, model = int(match["count"] or 1), _model(match["model"], facts)
        if count < 1 or len(cards) + count > MAX_CARDS:
            raise InvalidRequestError(
                f"A machine of {len(cards) + count} GPUs cannot be simulated.",
                hint=f"Use at least 1 and at most {MAX_CARDS}.",
            )
        positions = positions_of(facts[model])
        if values is not None:
            tables[model] = table_of_facts(model, facts[model], values)
        table = model if model in tables else None
        first = len(cards)
        cards += [Card(f"GPU-{i}", i, model, positions, table=table) for i in range(first, first + count)]
        said.append(f"{count}x{model}")
    return Machine(",".join(said), Board(tuple(cards), tables=tables))


def _model(text: str, facts: Mapping[str, DeviceFacts]) -> str:
    wanted = text.strip().upper().replace(" ", "-").removeprefix("NVIDIA-")
    for model in facts:
        if wanted == model.upper():
            return model
    same = [model for model in facts if model.upper().startswith(f"{wanted}-")]
    near = same or get_close_matches(wanted, list(facts), n=1)
    known = ", ".join(facts)
    raise InvalidRequestError(
        f"No GPU model {text.strip()!r} is known; there are: {known}.",
        hint=f"Did you mean {' or '.join(near)}?" if near else EXAMPLE,
    )


def positions_of(device: DeviceFacts) -> tuple[Position, ...]:
    """Return the ways to take a card that is whole when nothing is on it, and is cut as it is needed.

    Only plain profiles are cut, one for each size: `2g` is the one of two compute slices with the least memory.
    """
    total = device["compute_slices_total"]
    plain: dict[int, ProfileFacts] = {}
    for profile in device["profiles"]:
        known = plain.get(profile["compute_slices"])
        if known is None or profile["memory_slices"] < known["memory_slices"]:
            plain[profile["compute_slices"]] = profile
    largest = plain.pop(max(plain))
    whole_mask = (1 << largest["memory_slices"]) - 1
    whole = Position(
        whole_mask, GpuKind.FULL, FULL_PROFILE, None, 0, 1.0, _memory(largest, largest, largest["memory_mib"])
    )
    parts = [
        Position(
            ((1 << profile["memory_slices"]) - 1) << start,
            GpuKind.MIG,
            f"{compute}g",
            None,
            start,
            compute / total,
            _memory(profile, largest, largest["memory_mib"]),
        )
        for compute, profile in sorted(plain.items())
        for start in profile["valid_starts"]
    ]
    return (whole, *parts)


def _memory(profile: ProfileFacts, largest: ProfileFacts, whole_mib: int | None) -> int:
    """Return the memory of an instance; a table that does not say it leaves its share of the card's."""
    mib = profile["memory_mib"]
    if mib is None:
        mib = (whole_mib or largest["memory_slices"] * 1024) * profile["memory_slices"] // largest["memory_slices"]
    return mib * MIB
