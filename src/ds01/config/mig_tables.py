"""The MIG tables that are shipped with the package, and tables of what a driver reports."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import cast
from zlib import crc32

from ds01.domain.devices.gpu import MigProfile, PhysicalGpu
from ds01.domain.devices.mig import MigTable, make_table
from ds01.domain.devices.mig_value import with_values
from ds01.domain.scheduling.machine import DeviceFacts, table_of_facts
from ds01.errors import InvalidRequestError

PROFILES_NAME = "mig_profiles.json"
VALUES_NAME = "mig_values.json"


@cache
def read_shipped_tables() -> Mapping[str, MigTable]:
    """Return the table of each device model that is known, by its key (`A100-40GB`), with values."""
    devices = cast("dict[str, DeviceFacts]", _read(PROFILES_NAME)["devices"])
    values = read_shipped_values()
    return {key: table_of_facts(key, device, values) for key, device in devices.items()}


def table_of_card(card: PhysicalGpu) -> MigTable | None:
    """Return the table of a card: of what its driver reports; else the shipped one of its model.

    None: it knows no MIG, or nobody can say how it is cut. What the driver says comes first, because names of profiles
    differ between products of one chip.
    """
    shipped = _shipped_table_of(card)
    if card.slices_total <= 0:
        return None
    if not card.mig_profiles:
        return shipped
    return _reported_table(card.mig_profiles, card.slices_total, shipped)


@cache
def _reported_table(profiles: tuple[MigProfile, ...], slices: int, shipped: MigTable | None) -> MigTable | None:
    """Profiles whose limits cannot be kept (a further variant with a media engine) are left out, plain ones are not."""
    said = [f"{one.name}:{one.compute_slices}x{one.memory_slices}@{one.placements}" for one in profiles]
    key = f"{shipped.key if shipped is not None else 'device'}-{crc32(' '.join(said).encode()):08x}"
    needs_reset = shipped.needs_reset if shipped is not None else None
    plain = tuple(one for one in profiles if one.name.isalnum() or one.name.replace(".", "").isalnum())
    for offered in (profiles, plain):
        try:
            table = make_table(key, offered, compute_slices=slices, needs_reset=needs_reset)
        except InvalidRequestError:
            continue
        return with_values(table, read_shipped_values())
    return None


def _shipped_table_of(card: PhysicalGpu) -> MigTable | None:
    """Find a table by family and size in the model's name: `NVIDIA A100-PCIE-40GB`, `NVIDIA H100 80GB HBM3`."""
    model = card.model.upper().replace(" ", "-")
    for key, table in read_shipped_tables().items():
        family, _, size = key.partition("-")
        gigabytes = card.memory_bytes / 1024**3
        stated = float(size.removesuffix("GB"))
        if f"-{family}-" in f"-{model}-" and 0.9 * stated <= gigabytes <= 1.1 * stated:
            return table
    return None


@cache
def read_shipped_values() -> Mapping[str, Mapping[str, Sequence[float]]]:
    """Return the values of states by geometry, as `python -m dev.mig_values` has worked them out."""
    return cast("Mapping[str, Mapping[str, Sequence[float]]]", _read(VALUES_NAME)["geometries"])


def _read(name: str) -> Mapping[str, object]:
    text = (resources.files("ds01") / "data" / name).read_text(encoding="utf-8")
    return cast("Mapping[str, object]", json.loads(text))
