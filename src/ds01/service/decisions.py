"""What a grant may be, decided on what the store and the machine say now. Writes nothing, so a dry run asks it too."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.devices.gpu import GpuKind, Inventory, all_gpus, schedulable_gpus
from ds01.domain.request import FULL_KIND
from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.scheduling.board import Board
from ds01.domain.scheduling.occupancy import UNNAMED, Holder, occupy
from ds01.domain.scheduling.quota import quota_refusal, require_request_allowed, usage_of
from ds01.errors import ConflictError, NoCapacityError, QuotaExceededError
from ds01.service.observation import Observation


def name_taken(name: str) -> ConflictError:
    """Return the error for a name that the user has given already."""
    return ConflictError(
        f"You have a container {name!r} already.", hint=f"Open it with `ds01 open {name}`, or choose another name."
    )


def require_usable(name: str, gpu_uuids: Iterable[str], inventory: Inventory) -> None:
    """Raise if a device of a container is gone, or is in a state in which nobody can use it.

    Raises:
        NoCapacityError: The message names the device.
    """
    usable = {gpu.uuid for gpu in schedulable_gpus(inventory)}
    lost = sorted(set(gpu_uuids) - usable)
    if lost:
        raise NoCapacityError(
            f"The GPU {', '.join(lost)} of {name} is gone or cannot be used now.",
            hint="`ds01 gpus` shows the state of every device. A new container gets another one; your workspace stays.",
            details={"gpus": lost},
        )


def require_free(name: str, gpu_uuids: Iterable[str], others: Iterable[Allocation], observation: Observation) -> None:
    """Raise if somebody else holds one of these devices, its parent, or one of its instances.

    Args:
        name: The container that wants them.
        gpu_uuids: Its devices.
        others: Every grant but its own.
        observation: The machine as this container sees it.

    Raises:
        NoCapacityError: The message names the device and its holder.
    """
    occupancy = occupy(observation.inventory, others, observation.foreign)
    for uuid in gpu_uuids:
        holders = occupancy.holders.get(uuid, ())
        if holders or uuid in occupancy.blocked:
            held = f"it is held by {_holder_text(holders[0], observation)}" if holders else occupancy.blocked[uuid]
            raise NoCapacityError(
                f"The GPU {uuid} of {name} is in use: {held}.",
                hint="`ds01 gpus` shows who holds what; start it when that one is stopped.",
                details={"gpu": uuid},
            )


def require_in_service(name: str, gpu_uuids: Iterable[str], board: Board) -> None:
    """Raise if a device gets no new grants: drained, unhealthy, used past us.

    Raises:
        NoCapacityError: The message names the device and the reason.
    """
    wanted = set(gpu_uuids)
    for card in board.cards:
        uuids = {card.uuid} | {uuid for uuid, _ in card.instances}
        offered = set() if card.unusable else {position.gpu_uuid for position in card.positions}
        for uuid in sorted((wanted & uuids) - offered):
            raise NoCapacityError(
                f"The GPU {uuid} of {name} gets no new grants now: {card.unusable or 'it is out of service'}.",
                hint="`ds01 gpus` shows every device. A new container gets another one; your workspace stays.",
                details={"gpu": uuid},
            )


def _holder_text(holder: Holder, observation: Observation) -> str:
    if observation.reader not in {None, holder.uid}:
        return UNNAMED
    return holder.container_name + (f" ({holder.note})" if holder.note else "")


def grant_anew(
    released: Allocation,
    others: Sequence[Allocation],
    limits: EffectiveLimits,
    observation: Observation,
    now: datetime,
) -> Allocation:
    """Return a new grant of the same devices: the engine fixed them when the container was created.

    Raises:
        NoCapacityError: A device is gone.
        QuotaExceededError: The owner may not hold them, or not so many.
    """
    by_uuid = {gpu.uuid: gpu for gpu in all_gpus(observation.inventory)}
    gpus = [by_uuid[uuid] for uuid in released.gpu_uuids if uuid in by_uuid]
    if len(gpus) != len(released.gpu_uuids):
        require_usable(released.container_name, released.gpu_uuids, observation.inventory)
    if gpus:
        is_whole = any(gpu.kind is GpuKind.FULL for gpu in gpus)
        kind = FULL_KIND if is_whole else released.request.kind
        require_request_allowed(limits, replace(released.request, count=len(gpus), kind=kind))
    refusal = quota_refusal(limits, usage_of(released.uid, others, 0), gpus)
    if refusal is not None:
        raise QuotaExceededError(
            f"Your quota is reached: {refusal}.", hint="Stop another container of yours first: `ds01 list`."
        )
    return replace(
        released,
        id=secrets.token_hex(8),
        gpu_equivalents=sum(gpu.equivalents for gpu in gpus),
        state=AllocationState.ACTIVE,
        claimed_at=now,
        changed_at=now,
        deadline_at=None,
    )
