"""Which devices a request gets. Pure and deterministic: the same state gives the same answer.

Whole GPUs: the first free ones. MIG: the smallest instance that satisfies the request, on the card that already has the
most instances in use, so that whole layouts stay free. `any` takes the policy's preference, else the device with the
least compute that fits, so that a whole card is not spent on what an instance can do. Several devices are of one
profile: a program cannot use a whole GPU and an instance alike.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from ds01.domain.gpu import Gpu, GpuKind, GpuState, Inventory, PhysicalGpu, schedulable_gpus
from ds01.domain.limit import EffectiveLimits
from ds01.domain.occupancy import Occupancy
from ds01.domain.quota import QuotaExcess, Usage, find_quota_excess, require_request_allowed
from ds01.domain.request import ANY_KIND, FULL_KIND, MIG_KIND, GpuRequest
from ds01.errors import InvalidRequestError, NoCapacityError, QuotaExceededError
from ds01.units import format_size


@dataclass(frozen=True, slots=True)
class Placement:
    """Devices chosen for a request.

    Attributes:
        gpus: In display order; empty for a request without GPUs.
        reason: Why these, in one phrase.
    """

    gpus: tuple[Gpu, ...]
    reason: str

    @property
    def equivalents(self) -> float:
        """What the grant weighs."""
        return sum(gpu.equivalents for gpu in self.gpus)


def place(
    inventory: Inventory, occupancy: Occupancy, request: GpuRequest, limits: EffectiveLimits, usage: Usage
) -> Placement:
    """Return the devices for a request.

    Raises:
        InvalidRequestError: No device of this machine could ever satisfy it.
        QuotaExceededError: The user's quota forbids even the cheapest devices that fit; both figures are said.
        NoCapacityError: It would fit, but not now; who holds what is said.
    """
    if request.count == 0:
        return Placement((), "no GPU asked for")
    require_request_allowed(limits, request)
    fitting = fitting_gpus(inventory, request, limits)
    excess = find_quota_excess(limits, usage, _cheapest_set(fitting, request.count))
    if excess is not None:
        raise _quota_exceeded(excess, usage, limits, request)
    free = [gpu for gpu in fitting if occupancy.is_free(gpu.uuid)]
    too_dear: QuotaExcess | None = None
    for choice in _choices(free, request.count, inventory, occupancy, limits):
        refusal = find_quota_excess(limits, usage, choice)
        if refusal is None:
            return Placement(tuple(sorted(choice, key=_display_order)), _reason(choice, request, limits))
        too_dear = too_dear or refusal
    raise _no_capacity(fitting, free, occupancy, request, too_dear)


def fitting_gpus(inventory: Inventory, request: GpuRequest, limits: EffectiveLimits) -> list[Gpu]:
    """Return the devices that satisfy a request when they are free.

    Raises:
        InvalidRequestError: Too few exist, whoever waits; the message says the most that ever can be.
        QuotaExceededError: Enough exist, but they are whole GPUs and the user may have MIG instances only.
    """
    every = list(schedulable_gpus(inventory))
    if not every:
        raise InvalidRequestError(
            f"This machine has no usable GPU{_unusable(inventory)}.", hint="Create it with --cpu-only."
        )
    of_kind = [gpu for gpu in every if is_of_kind(gpu, request.kind)]
    if not of_kind:
        raise _unknown_kind(request.kind, every)
    fitting = [gpu for gpu in of_kind if request.memory_bytes is None or gpu.memory_bytes >= request.memory_bytes]
    if not fitting:
        largest = max(gpu.memory_bytes for gpu in of_kind)
        raise InvalidRequestError(
            f"No GPU of this machine ({request.kind}) has {format_size(request.memory_bytes or 0)} of memory; "
            f"the largest has {format_size(largest)}.",
            hint=f"Ask for --gpu-memory {largest // 1024**2}M or less.",
        )
    allowed = [gpu for gpu in fitting if limits.values.allow_full_gpu or gpu.kind is GpuKind.MIG]
    if _most_of_one_profile(allowed) >= request.count:
        return allowed
    if _most_of_one_profile(fitting) >= request.count:
        raise QuotaExceededError(
            "Your group may use MIG instances only, and this machine has too few that fit "
            f"(allow_full_gpu of group {limits.group}, set by {limits.origins.get('allow_full_gpu', 'built-in')}).",
            hint="Create it with --cpu-only, or ask your administrator.",
            details={"limit": "allow_full_gpu", "requested": request.count, "allowed": _most_of_one_profile(allowed)},
        )
    raise _too_few(allowed or fitting, request)


def _unusable(inventory: Inventory) -> str:
    """Say of each card why it cannot be used: nobody shall look for scarcity where a reset is missing."""
    reasons = {
        GpuState.MIG_EMPTY: "MIG is on and it has no instance",
        GpuState.PENDING: "its MIG mode waits for a reset",
    }
    said = [f"GPU {card.index}: {card.fault or reasons.get(card.state, card.state)}" for card in inventory.devices]
    return f" ({'; '.join(said)})" if said else ""


def _most_of_one_profile(gpus: Iterable[Gpu]) -> int:
    return max(Counter(gpu.profile for gpu in gpus).values(), default=0)


def _too_few(usable: Sequence[Gpu], request: GpuRequest) -> InvalidRequestError:
    most = _most_of_one_profile(usable)
    of_one = " of one size" if len(usable) > most else ""
    return InvalidRequestError(
        f"You asked for {request.count} GPUs ({request.kind}); this machine has {most}{of_one} that you may use.",
        hint=f"Ask for --gpus {most}.",
        details={"requested": request.count, "possible": most},
    )


def is_of_kind(gpu: Gpu, kind: str) -> bool:
    """Tell whether a device is of a kind: any, full, mig, a MIG profile, or whole words of the card's model."""
    if kind == ANY_KIND:
        return True
    if kind in {FULL_KIND, MIG_KIND}:
        return gpu.kind.value == kind
    model = gpu.model.lower().replace(" ", "-")
    return gpu.profile.lower() == kind or f"-{kind.replace(' ', '-')}-" in f"-{model}-"


def _unknown_kind(kind: str, every: Sequence[Gpu]) -> InvalidRequestError:
    known = sorted({FULL_KIND if gpu.kind is GpuKind.FULL else gpu.profile for gpu in every})
    nearest = get_close_matches(kind, [*known, ANY_KIND, FULL_KIND, MIG_KIND], n=1)
    return InvalidRequestError(
        f"No GPU of this machine is of the kind {kind!r}; there are: {', '.join(known)}.",
        hint=f"Did you mean --gpu-kind {nearest[0]}?" if nearest else f"Use --gpu-kind {known[0]}.",
    )


def _cheapest_set(gpus: Sequence[Gpu], count: int) -> list[Gpu]:
    """Return the set with the least compute that could be granted if nobody held anything."""
    sets: list[list[Gpu]] = []
    for profile in dict.fromkeys(gpu.profile for gpu in gpus):
        same = sorted((gpu for gpu in gpus if gpu.profile == profile), key=lambda gpu: gpu.equivalents)
        if len(same) >= count:
            sets.append(same[:count])
    return min(sets, key=lambda found: sum(gpu.equivalents for gpu in found))


def _choices(
    free: Sequence[Gpu], count: int, inventory: Inventory, occupancy: Occupancy, limits: EffectiveLimits
) -> list[list[Gpu]]:
    """Return candidate sets, best first: of each profile the best ranked, which are its cheapest too."""
    cards = {card.uuid: card for card in inventory.devices}
    ranked = sorted(free, key=lambda gpu: _rank(gpu, cards[gpu.parent_uuid], occupancy, limits))
    if count == 1:
        return [[gpu] for gpu in ranked]
    sets: list[list[Gpu]] = []
    for profile in dict.fromkeys(gpu.profile for gpu in ranked):
        same = [gpu for gpu in ranked if gpu.profile == profile]
        if len(same) >= count:
            sets.append(same[:count])
    return sets


def _rank(gpu: Gpu, card: PhysicalGpu, occupancy: Occupancy, limits: EffectiveLimits) -> tuple[object, ...]:
    preferred = limits.values.gpu_preference
    unliked = 0 if preferred in {ANY_KIND, gpu.kind.value} else 1
    siblings_in_use = sum(1 for instance in card.instances if not occupancy.is_free(instance.uuid))
    return (unliked, gpu.equivalents, gpu.memory_bytes, -siblings_in_use, _display_order(gpu))


def _display_order(gpu: Gpu) -> tuple[int, ...]:
    return tuple(int(part) for part in gpu.address.split(":"))


def _reason(choice: Sequence[Gpu], request: GpuRequest, limits: EffectiveLimits) -> str:
    what = "whole GPU" if choice[0].kind is GpuKind.FULL else f"MIG instance {choice[0].profile}"
    if request.count > 1:
        return f"{len(choice)} free devices of one kind ({what})"
    if request.kind == ANY_KIND and limits.values.gpu_preference == choice[0].kind.value:
        return f"the smallest free device that fits, of the kind your policy prefers ({what})"
    return f"the smallest free device that fits ({what})"


def _quota_exceeded(
    excess: QuotaExcess, usage: Usage, limits: EffectiveLimits, request: GpuRequest
) -> QuotaExceededError:
    hint = (
        "Remove a container of yours that has a GPU: `ds01 list`, then `ds01 rm NAME`; `ds01 limits` shows your quota."
    )
    if excess.asked > excess.allowed:
        hint = "Ask for fewer or smaller GPUs, or --cpu-only; `ds01 limits` shows your quota."
    return QuotaExceededError(
        f"Your quota is reached: {excess.reason}.",
        hint=hint,
        details={
            "limit": excess.limit,
            "gpus_used": usage.gpus,
            "gpus_allowed": limits.values.max_gpus,
            "gpu_equivalents_used": round(usage.gpu_equivalents, 6),
            "gpu_equivalents_allowed": limits.values.max_gpu_equivalents,
            "gpus_requested": request.count,
        },
    )


def _no_capacity(
    fitting: Sequence[Gpu], free: Sequence[Gpu], occupancy: Occupancy, request: GpuRequest, too_dear: QuotaExcess | None
) -> NoCapacityError:
    busy = [said for gpu in fitting if (said := _why_busy(gpu, occupancy)) is not None]
    if too_dear is not None:
        said = ", ".join(gpu.address for gpu in free)
        busy.append(f"what is free ({said}) is too large for your quota: {too_dear.reason}")
    elif free and request.count > 1:
        busy.append(f"free: {', '.join(f'{gpu.address} ({gpu.profile})' for gpu in free)}")
    message = "No GPU that you may have is free now"
    if request.count > 1:
        message = f"{request.count} GPUs of one size are asked for and are not free now"
    return NoCapacityError(
        f"{message}: {'; '.join(busy)}.",
        hint="`ds01 gpus` shows who holds what. A container without a GPU: --cpu-only.",
        details={"requested": request.count, "free": len(free), "fitting": len(fitting)},
    )


def _why_busy(gpu: Gpu, occupancy: Occupancy) -> str | None:
    holders = occupancy.holders.get(gpu.uuid, ())
    if holders:
        held = ", ".join(f"{holder.container_name} ({holder.state})" for holder in holders)
        return f"{gpu.address} is held by {held}"
    reason = occupancy.blocked.get(gpu.uuid)
    return f"{gpu.address}: {reason}" if reason is not None else None
