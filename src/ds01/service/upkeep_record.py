"""What is kept in mind about devices, as one fact of the store. It is bounded by the devices that there are."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from functools import lru_cache
from typing import Any

from ds01.domain.devices.upkeep import Drain, GpuFault, SeenCard, Upkeep
from ds01.service.ports import StoreTransaction

KEY = "gpu_upkeep"
NOTHING = Upkeep()


def read_upkeep(transaction: StoreTransaction) -> Upkeep:
    """Return what is kept in mind; at the very first start that is nothing."""
    text = transaction.get_fact(KEY)
    return NOTHING if text is None else _parse(text)


# It is read at every decision, and changes only when a device does.
@lru_cache(maxsize=4)
def _parse(text: str) -> Upkeep:
    kept: Mapping[str, Mapping[str, Any]] = json.loads(text)
    return Upkeep(
        drains={uuid: Drain(one["reason"], one["by_uid"], _moment(one)) for uuid, one in kept["drains"].items()},
        faults={uuid: GpuFault(one["text"], _moment(one), one["boot"]) for uuid, one in kept["faults"].items()},
        seen={uuid: _seen(one) for uuid, one in kept["seen"].items()},
        gone={uuid: _seen(one) for uuid, one in kept["gone"].items()},
    )


def write_upkeep(transaction: StoreTransaction, upkeep: Upkeep) -> None:
    """Keep it."""
    kept = asdict(upkeep)
    transaction.set_fact(KEY, json.dumps(kept, default=_plain, sort_keys=True))


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not kept")


def _moment(one: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(one["at"])


def _seen(one: Mapping[str, Any]) -> SeenCard:
    return SeenCard(one["index"], one["model"], one["fault"], tuple(one["instances"]))
