"""Why a request is not granted: what this machine can never give, what a quota forbids, who holds what it needs."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from ds01.domain.allocation import Allocation
from ds01.domain.devices.gpu import Gpu, GpuKind
from ds01.domain.devices.position import Position
from ds01.domain.request import ANY_KIND, FULL_KIND, MIG_KIND, GpuRequest
from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.scheduling.board import Board, Card, Hold, holds_of
from ds01.domain.scheduling.ledger import Ledger, ledger_of
from ds01.domain.scheduling.occupancy import FOREIGN_STATE, UNNAMED
from ds01.domain.scheduling.option import Option, Options, Wish, grid_of, is_kind, most_at_once
from ds01.domain.scheduling.quota import (
    GroupHolding,
    QuotaExcess,
    Usage,
    find_quota_excess,
    require_container_quota,
    require_request_allowed,
)
from ds01.domain.scheduling.situation import Situation
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import InvalidRequestError, NoCapacityError, QuotaExceededError
from ds01.units import format_size


def require_possible(situation: Situation, waiting: Waiting) -> None:
    """Raise if waiting cannot help: the machine never has it, or the quota never allows it.

    Raises:
        InvalidRequestError: No device of this machine could ever satisfy it.
        QuotaExceededError: The quota forbids it even to somebody who holds nothing.
    """
    if not waiting.request.count:
        return
    limits = limits_of(situation, waiting)
    require_request_allowed(limits, waiting.request)
    options = possible_options(situation, waiting)
    cheapest = _cheapest(situation.board, options)
    excess = find_quota_excess(limits, Usage(), cheapest, _group(situation, waiting, Usage()))
    if excess is not None:
        held = _ledger(situation).usage(waiting.uid)
        raise _quota_exceeded(find_quota_excess(limits, held, cheapest) or excess, held, limits, waiting.request)


def require_within_quota(situation: Situation, waiting: Waiting, ledger: Ledger | None = None) -> None:
    """Raise if the user's or the group's quota forbids even the cheapest devices now. Call `require_possible` first.

    Args:
        situation: The scheduler's world.
        waiting: The request.
        ledger: What the user and the group hold; None: it is worked out.

    Raises:
        QuotaExceededError: The message says both figures.
    """
    limits, ledger = limits_of(situation, waiting), ledger or _ledger(situation)
    usage = ledger.usage(waiting.uid)
    others = sum(1 for other in situation.waiting if other.uid == waiting.uid and other.id != waiting.id)
    if not waiting.is_restart:
        require_container_quota(limits, Usage(usage.gpus, usage.gpu_equivalents, usage.containers + others))
    if not waiting.request.count:
        return
    cheapest = _cheapest(situation.board, possible_options(situation, waiting))
    group = _group(situation, waiting, Usage(*ledger.group_usage(waiting.group)))
    excess = find_quota_excess(limits, usage, cheapest, group)
    if excess is not None:
        raise _quota_exceeded(excess, usage, limits, waiting.request)


def limits_of(situation: Situation, waiting: Waiting) -> EffectiveLimits:
    """Return what applies to the user of a request.

    Raises:
        InvalidRequestError: The situation says nothing of the user.
    """
    person = situation.people.get(waiting.uid)
    if person is None:
        raise InvalidRequestError(f"Nothing is known of the user uid:{waiting.uid}.", hint="Ask your administrator.")
    return person.limits


def _ledger(situation: Situation) -> Ledger:
    return ledger_of(situation, holds_of(situation.board, situation.allocations, situation.foreign))


def possible_options(situation: Situation, waiting: Waiting) -> Options:
    """Return what satisfies a request when nobody holds anything and drained cards are back.

    Raises:
        InvalidRequestError: Too few exist, whoever waits; the message says the most that ever can be.
        QuotaExceededError: Enough exist, but they are whole GPUs and the user may have MIG instances only.
    """
    board, limits = situation.board, limits_of(situation, waiting)
    grid = grid_of(board)
    wish = grid.wish_of(waiting, limits.values)
    options = grid.possible(wish)
    if grid.most(options) >= waiting.request.count:
        return options
    raise _impossible(board, wish, limits, options)


def _impossible(board: Board, wish: Wish, limits: EffectiveLimits, options: Options) -> Exception:
    request = wish.request
    every = [(card, position) for card in board.cards for position in card.positions]
    if not every:
        return InvalidRequestError(
            f"This machine has no usable GPU{_unusable(board)}.", hint="Create it with --cpu-only."
        )
    of_kind = [found for found in every if is_kind(request.kind, found[1].kind, found[1].profile, found[0].model)]
    if not of_kind:
        return _unknown_kind(request.kind, [position for _, position in every])
    largest = max(position.memory_bytes for _, position in of_kind)
    if request.memory_bytes is not None and request.memory_bytes > largest:
        return InvalidRequestError(
            f"No GPU of this machine ({request.kind}) has {format_size(request.memory_bytes)} of memory; "
            f"the largest has {format_size(largest)}.",
            hint=f"Ask for --gpu-memory {largest // 1024**2}M or less.",
        )
    if wish.gpu_uuids:
        return NoCapacityError(
            f"A GPU of this container is gone or cannot be used now ({', '.join(wish.gpu_uuids)}).",
            hint="`ds01 gpus` shows the state of every device. A new container gets another one; your workspace stays.",
        )
    unlimited = grid_of(board).possible(wish._replace(allow_full=True))
    most = most_at_once(board, options)
    if not wish.allow_full and most_at_once(board, unlimited) >= request.count:
        return QuotaExceededError(
            "Your group may use MIG instances only, and this machine has too few that fit "
            f"(allow_full_gpu of group {limits.group}, set by {limits.origins.get('allow_full_gpu', 'built-in')}).",
            hint="Create it with --cpu-only, or ask your administrator.",
            details={"limit": "allow_full_gpu", "requested": request.count, "allowed": most},
        )
    return _too_few(board, options if most else unlimited, request)


def _unusable(board: Board) -> str:
    """Say of each card why it cannot be used: nobody shall look for scarcity where a reset is missing."""
    said = [f"GPU {card.index}: {card.unusable}" for card in board.cards if card.unusable]
    return f" ({'; '.join(said)})" if said else ""


def _too_few(board: Board, options: Options, request: GpuRequest) -> InvalidRequestError:
    most = most_at_once(board, options)
    of_one = " of one size" if len(options.by_profile) > 1 else ""
    return InvalidRequestError(
        f"You asked for {request.count} GPUs ({request.kind}); this machine has {most}{of_one} that you may use.",
        hint=f"Ask for --gpus {most}.",
        details={"requested": request.count, "possible": most},
    )


def _unknown_kind(kind: str, every: Iterable[Position]) -> InvalidRequestError:
    known = sorted({FULL_KIND if position.kind is GpuKind.FULL else position.profile for position in every})
    nearest = get_close_matches(kind, [*known, ANY_KIND, FULL_KIND, MIG_KIND], n=1)
    return InvalidRequestError(
        f"No GPU of this machine is of the kind {kind!r}; there are: {', '.join(known)}.",
        hint=f"Did you mean --gpu-kind {nearest[0]}?" if nearest else f"Use --gpu-kind {known[0]}.",
    )


def _cheapest(board: Board, options: Options) -> list[Position]:
    """Return the set with the least compute that could be granted if nobody held anything."""
    return [option.position for option in grid_of(board).cheapest(options)]


def gpu_of(card: Card, position: Position) -> Gpu:
    """Return a position as a device with the address that people type."""
    return Gpu(
        uuid=position.gpu_uuid or "",
        parent_uuid=card.uuid,
        address=address_of(card, position),
        kind=position.kind,
        profile=position.profile,
        model=card.model,
        memory_bytes=position.memory_bytes,
        equivalents=position.equivalents,
    )


def address_of(card: Card, position: Position) -> str:
    """Return what people call a position: `0`, `0:1`, or the card for an instance that is made on demand."""
    for number, (uuid, _) in enumerate(card.instances):
        if uuid == position.gpu_uuid:
            return f"{card.index}:{number}"
    return str(card.index)


def _group(situation: Situation, waiting: Waiting, usage: Usage) -> GroupHolding | None:
    """Return what the members of the request's group hold, if it has a quota."""
    rules = situation.groups.get(waiting.group)
    return None if rules is None else GroupHolding(waiting.group, rules, usage)


def _quota_exceeded(
    excess: QuotaExcess, usage: Usage, limits: EffectiveLimits, request: GpuRequest
) -> QuotaExceededError:
    hint = (
        "Remove a container of yours that has a GPU: `ds01 list`, then `ds01 rm NAME`; `ds01 limits` shows your quota."
    )
    if excess.is_of_group:
        hint = "Wait until somebody of your group gives some back: create it with --wait."
    if excess.is_for_good:
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


def no_capacity(situation: Situation, waiting: Waiting) -> NoCapacityError:
    """Return the error for a request that would fit, but not now: who holds what, and what is kept for whom."""
    board, request = situation.board, waiting.request
    options = possible_options(situation, waiting)
    holds = holds_of(board, situation.allocations, situation.foreign)
    devices = _devices(options)
    reader = _reader(situation, waiting)
    reasons = [_why_busy(board, option, holds, reader) for option in devices]
    busy = [said for said in reasons if said is not None]
    free = [option for option, said in zip(devices, reasons, strict=True) if said is None]
    addresses = [address_of(board.cards[option.card], option.position) for option in free]
    too_dear = _too_dear(situation, waiting, free)
    if too_dear is not None:
        busy.append(f"what is free ({', '.join(addresses)}) is too large for your quota: {too_dear.reason}")
    elif len(free) >= request.count and most_at_once(board, options) >= request.count and free:
        kept = ", ".join(dict.fromkeys(addresses))
        busy.append(f"free, but kept for a reservation or for those who wait: {kept}")
    elif free and request.count > 1:
        named = (f"{address} ({option.position.profile})" for address, option in zip(addresses, free, strict=True))
        busy.append(f"free: {', '.join(named)}")
    message = "No GPU that you may have is free now"
    if request.count > 1:
        message = f"{request.count} GPUs of one size are asked for and are not free now"
    return NoCapacityError(
        f"{message}: {'; '.join(dict.fromkeys(busy))}.",
        hint="`ds01 gpus` shows who holds what. Wait for it with --wait. A container without a GPU: --cpu-only.",
        details={"requested": request.count, "free": len(free), "fitting": len(devices)},
    )


def _devices(options: Options) -> list[Option]:
    """Return one option of every device, in the order of cards."""
    found: dict[tuple[int, str | None, int], Option] = {}
    for level in options.levels:
        for option in level.options:
            position = option.position
            key = (option.card, position.gpu_uuid, option.mask if position.gpu_uuid is None else 0)
            found.setdefault(key, option)
    return sorted(found.values(), key=lambda option: (option.card, option.number))


def _too_dear(situation: Situation, waiting: Waiting, free: Sequence[Option]) -> QuotaExcess | None:
    """Return the quota that every free device exceeds."""
    limits, usage = limits_of(situation, waiting), _ledger(situation).usage(waiting.uid)
    first: QuotaExcess | None = None
    for option in free:
        gpus = [gpu_of(situation.board.cards[option.card], option.position)] * waiting.request.count
        excess = find_quota_excess(limits, usage, gpus)
        if excess is None:
            return None
        first = first or excess
    return first


def _reader(situation: Situation, waiting: Waiting) -> int | None:
    """Return who must not read the names of others' containers; None: everybody may."""
    person = situation.people.get(waiting.uid)
    may_read = situation.names_holders or (person is not None and person.is_admin)
    return None if may_read else waiting.uid


def _why_busy(board: Board, option: Option, holds: Iterable[Hold], reader: int | None) -> str | None:
    card = board.cards[option.card]
    address = address_of(card, option.position)
    if card.unusable:
        return f"{address}: {card.unusable}"
    holders = [hold for hold in holds if any(n == option.card and option.mask & bits for n, bits in hold.pieces)]
    if not holders:
        return None
    same = [hold for hold in holders if option.position.start is not None or _is_named(hold, option.position)]
    if same:
        return f"{address} is held by {', '.join(_holder_text(hold, reader) for hold in same)}"
    if option.position.kind is GpuKind.MIG:
        return f"{address}: the whole GPU {card.index} is held"
    return f"{address}: its MIG instances are held by {', '.join(_holder_text(hold, reader) for hold in holders)}"


def _is_named(hold: Hold, position: Position) -> bool:
    return position.gpu_uuid in hold.owner.gpu_uuids


def _holder_text(hold: Hold, reader: int | None) -> str:
    owner = hold.owner
    name = owner.container_name if isinstance(owner, Allocation) else owner.name
    state = owner.state if isinstance(owner, Allocation) else FOREIGN_STATE
    return f"{name if reader in {None, owner.uid} else UNNAMED} ({state})"
