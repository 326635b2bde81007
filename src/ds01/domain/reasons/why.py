"""Why a request waits: every cause, and what would help. Pure, so the answer is the same wherever it is asked.

A cause is listed when lifting it alone, or together with what stands before it, lets the planner grant the request. The
planner itself is asked each time; nothing here decides on its own who gets what. Lifted one after the other: others who
wait, reservations, quotas, the time it was asked for, and all who hold something. Where the planner grants it after
one of these, that one is a cause; so a request that is not granted has at least one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ds01.domain.devices.gpu import GpuKind
from ds01.domain.reasons.blocker import blockers_of, device_names
from ds01.domain.reasons.counterfactual import list_counterfactuals
from ds01.domain.reasons.explanation import (
    CapacityCause,
    Cause,
    DeviceCause,
    Explanation,
    FixedCause,
    GpuExplanation,
    NeverCause,
    NotBeforeCause,
    QuotaCause,
    ReservationCause,
)
from ds01.domain.reasons.order_cause import list_order_causes
from ds01.domain.reasons.trial import Trial
from ds01.domain.request import ANY_KIND, FULL_KIND, GpuRequest
from ds01.domain.rules.limit import EffectiveLimits, Limits
from ds01.domain.scheduling.board import taken_of
from ds01.domain.scheduling.option import Grid, Level, Options, Values, families_of, most_at_once, options_of
from ds01.domain.scheduling.quota import (
    GroupHolding,
    QuotaExcess,
    Weighed,
    count_containers,
    find_container_excess,
    group_usage_of,
    list_quota_excesses,
    usage_by_member,
    usage_of,
)
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.schedule import estimate_starts, plan_grant
from ds01.domain.scheduling.situation import Person, Situation
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import Ds01Error, InvalidRequestError, NotFoundError, QuotaExceededError

NOBODY = -1
"""Uid of a made-up request that only asks whether a device can be granted."""


def explain(situation: Situation, asked: str | Waiting, values: Values | None = None) -> Explanation:
    """Return why a request is not granted now, and what would help.

    Args:
        situation: What there is.
        asked: Id of a request that waits, or a newcomer who asks right now.
        values: What the states of cards are worth, where their instances are made on demand.

    Raises:
        NotFoundError: No request of this id waits.
    """
    trial = _trial(situation, asked, values or {})
    grant = trial.grant()
    estimate = estimate_starts(trial.joined(), trial.values).get(trial.waiting.id)
    if grant is not None:
        return Explanation(trial.waiting, grant, (), estimate, ())
    causes = list_causes(trial)
    return Explanation(trial.waiting, None, causes, estimate, list_counterfactuals(trial, estimate))


def list_causes(trial: Trial) -> tuple[Cause, ...]:
    """Return every cause of a request that is not granted, what must be lifted first at the front."""
    never = _never(trial)
    if never:
        return never
    quota = _quota(trial)
    time = _not_before(trial)
    capacity = _capacity(trial)
    reserved = _reserved(trial)
    order = list_order_causes(trial)
    return (*quota, *time, *capacity, *reserved, *order)


def _trial(situation: Situation, asked: str | Waiting, values: Values) -> Trial:
    if isinstance(asked, Waiting):
        return Trial(situation, asked, is_queued=False, values=values)
    waiting = next((found for found in situation.waiting if found.id == asked), None)
    if waiting is None:
        raise NotFoundError(f"No request {asked!r} waits.", hint="`ds01 queue` shows those that wait.")
    return Trial(situation, waiting, is_queued=True, values=values)


def _limits_of(trial: Trial) -> EffectiveLimits:
    person = trial.situation.people.get(trial.waiting.uid)
    return person.limits if person is not None else EffectiveLimits(Limits(), {}, trial.waiting.group)


def _options(trial: Trial, *, also_unusable: bool = False) -> Options:
    reservation = trial.reservation()
    inside = reservation.request if reservation is not None else None
    wish = Grid(trial.situation.board).wish_of(trial.waiting, _limits_of(trial).values, inside)
    return options_of(trial.situation.board, wish, families_of(trial.situation.board, also_unusable=also_unusable))


# --- never, as long as the machine and the policy are as they are -----------------------------------------------------


def _never(trial: Trial) -> tuple[Cause, ...]:
    """What an empty machine without any quota refuses too; drained cards are said one by one."""
    empty = trial.alone().with_reservations(()).without_holders().without_quota().at_any_time()
    if empty.grant() is not None:
        return ()
    if trial.waiting.reservation is not None and trial.reservation() is None:
        return (NeverCause("The reservation that it starts in is over.", "Ask for GPUs without --reservation."),)
    devices = _unusable_cards(trial)
    if trial.waiting.gpu_uuids:
        return (_fixed(trial), *devices)
    refusal = _refusal(empty)
    is_for_good = isinstance(refusal, InvalidRequestError | QuotaExceededError)
    if devices and not is_for_good:
        return devices
    message = refusal.message if refusal is not None else "This machine cannot give it."
    return (NeverCause(message, refusal.hint if refusal is not None else None), *devices)


def _refusal(trial: Trial) -> Ds01Error | None:
    try:
        plan_grant(trial.asked_anew(trial.waiting).situation, trial.waiting, trial.values)
    except Ds01Error as refusal:
        return refusal
    return None


def _unusable_cards(trial: Trial) -> tuple[DeviceCause, ...]:
    """Cards that might do and cannot be used. Of one whose parts are not known, only model and size speak."""
    reach = _options(trial, also_unusable=True).reach
    request = trial.waiting.request
    return tuple(
        DeviceCause(card.uuid, card.index, card.model, card.unusable)
        for number, card in enumerate(trial.situation.board.cards)
        if card.unusable and (reach[number] or (not card.positions and _might_be(card.model, request)))
    )


def _might_be(model: str, request: GpuRequest) -> bool:
    words = f"-{model.lower().replace(' ', '-')}-"
    is_size = request.kind in {ANY_KIND, FULL_KIND, GpuKind.MIG.value} or "g." in request.kind
    return is_size or f"-{request.kind.replace(' ', '-')}-" in words


# --- quotas -----------------------------------------------------------------------------------------------------------


def _quota(trial: Trial) -> tuple[Cause, ...]:
    """Quotas that the lightest devices exceed; else those that what is free now exceeds."""
    excesses = _excesses(trial, lightest(_options(trial)))
    if not excesses:
        now = trial.alone().with_reservations(()).at_any_time()
        free = now.without_quota().grant() if now.grant() is None else None
        if free is not None:
            excesses = _excesses(trial, [taken.position for taken in free.positions])
    return tuple(_quota_cause(trial, excess) for excess in (*excesses, *_too_many_containers(trial)))


def _too_many_containers(trial: Trial) -> list[QuotaExcess]:
    """A newcomer counts beside those that wait; one that waits was counted when it came."""
    waiting, person = trial.waiting, trial.situation.people.get(trial.waiting.uid)
    if waiting.is_restart or person is None:
        return []
    others = () if trial.is_queued else trial.situation.waiting
    excess = find_container_excess(_limits_of(trial), person.containers + count_containers(waiting.uid, (), others))
    return [excess] if excess is not None else []


def lightest(options: Options) -> list[Weighed]:
    """Return the set with the least compute that would do if nobody held anything."""
    sets: list[list[Weighed]] = []
    for levels in options.by_profile:
        found: list[Weighed] = [option.position for level in levels for option in level.options]
        found.sort(key=lambda position: position.equivalents)
        if len(found) >= options.count:
            sets.append(found[: options.count])
    return min(sets, key=lambda found: sum(position.equivalents for position in found), default=[])


def _excesses(trial: Trial, positions: Sequence[Weighed]) -> list[QuotaExcess]:
    situation, waiting = trial.situation, trial.waiting
    usage = usage_of(waiting.uid, situation.allocations, 0, situation.foreign)
    rules = situation.groups.get(waiting.group)
    group = None
    if rules is not None:
        held = group_usage_of(waiting.group, situation.allocations, situation.foreign, _groups(situation))
        group = GroupHolding(waiting.group, rules, held)
    return list_quota_excesses(_limits_of(trial), usage, positions, group)


def _groups(situation: Situation) -> dict[int, str]:
    return {uid: person.limits.group for uid, person in situation.people.items()}


def _quota_cause(trial: Trial, excess: QuotaExcess) -> QuotaCause:
    situation, waiting = trial.situation, trial.waiting
    if not excess.is_of_group:
        own = [grant for grant in situation.allocations if grant.uid == waiting.uid and grant.is_holding]
        names = [grant.container_name for grant in own if grant.gpu_uuids or grant.slices]
        names += [found.name for found in situation.foreign if found.uid == waiting.uid]
        return QuotaCause(excess, own=tuple(names))
    members = usage_by_member(waiting.group, situation.allocations, situation.foreign, _groups(situation))
    ranked = sorted(members.items(), key=lambda item: (-item[1].gpu_equivalents, -item[1].gpus, item[0]))
    return QuotaCause(excess, group=waiting.group, members=tuple(item for item in ranked if item[1].gpus))


# --- time and devices -------------------------------------------------------------------------------------------------


def _not_before(trial: Trial) -> tuple[Cause, ...]:
    """It was asked for a later time, or for a reservation that is not open yet."""
    reservation = trial.reservation()
    moments = (trial.waiting.not_before, reservation.start_at if reservation is not None else None)
    later = [moment for moment in moments if moment is not None and moment > trial.situation.now]
    return (NotBeforeCause(max(later)),) if later else ()


def _capacity(trial: Trial) -> tuple[Cause, ...]:
    """Too little is free that would do, and that the quota allows."""
    situation, options = trial.situation, _options(trial)
    quiet = trial.alone().with_reservations(()).at_any_time()
    if not options.count or quiet.grant() is not None:
        return ()
    if trial.waiting.gpu_uuids:
        fixed = _fixed(trial)
        return (fixed,) if fixed.gpus or fixed.gone else ()
    if quiet.without_quota().grant() is not None:
        # what is free is too much for the quota, which is said there; here stands what would not be
        options = _affordable(trial, options)
        if not options.levels:
            return ()
    busy = taken_of(situation.board, situation.allocations, situation.foreign)
    if _most_free(options, busy) >= options.count:
        return ()  # something else of the quota is against it
    existing = most_at_once(situation.board, options)
    cause = CapacityCause(options.count, _most_free(options, busy), existing, blockers_of(situation, options.reach))
    return (cause, *_unusable_cards(trial))


def _affordable(trial: Trial, options: Options) -> Options:
    """Return those options of which the quota allows as many as are asked for."""

    def is_affordable(level: Level) -> bool:
        return not _excesses(trial, [level.options[0].position] * options.count)

    levels = tuple(level for level in options.levels if is_affordable(level))
    reach = [0] * len(options.reach)
    for level in levels:
        for option in level.options:
            reach[option.card] |= option.mask
    by_profile = tuple(tuple(level for level in found if level in levels) for found in options.by_profile)
    return replace(options, levels=levels, by_profile=tuple(filter(None, by_profile)), reach=tuple(reach))


def _most_free(options: Options, busy: Sequence[int]) -> int:
    """How many devices of one profile are free at most."""
    most = 0
    for levels in options.by_profile:
        taken, count = list(busy), 0
        for option in (option for level in levels for option in level.options):
            if not option.mask & taken[option.card]:
                taken[option.card] |= option.mask
                count += 1
        most = max(most, count)
    return most


def _fixed(trial: Trial) -> FixedCause:
    situation, wanted = trial.situation, trial.waiting.gpu_uuids
    names = device_names(situation.board)
    reach = [0] * len(situation.board.cards)
    usable: set[str] = set()
    busy = taken_of(situation.board, situation.allocations, situation.foreign)
    taken: list[str] = []
    for number, card in enumerate(situation.board.cards):
        for position in card.positions if not card.unusable else ():
            if position.gpu_uuid in wanted and position.shares == 1:
                usable.add(position.gpu_uuid)
                reach[number] |= position.mask
                if position.mask & busy[number]:
                    taken.append(names[position.gpu_uuid][0])
    gone = [names[uuid][0] if uuid in names else uuid for uuid in wanted if uuid not in usable]
    return FixedCause(tuple(taken), blockers_of(situation, reach), tuple(gone))


# --- reservations -----------------------------------------------------------------------------------------------------


def _reserved(trial: Trial) -> tuple[Cause, ...]:
    """Reservations against it: with the machine as it is, or, when that is full anyway, with all of it free."""
    ids = [found.id for found in trial.situation.reservations if found.id != trial.waiting.reservation]
    if not ids:
        return ()
    quiet = trial.alone().without_quota().at_any_time()
    for base in (quiet, quiet.without_holders()):
        if base.grant() is None and base.with_reservations(()).grant() is not None:
            return _blamed(base, ids)
    return ()


def _blamed(base: Trial, ids: Iterable[str]) -> tuple[Cause, ...]:
    """Each that would do it alone; without such, each that is not needless."""
    known = {found.id: found for found in base.situation.reservations}
    alone = [found for found in ids if base.with_reservations({found}).grant() is None]
    if not alone:
        alone = [found for found in ids if base.with_reservations(set(known) - {found}).grant() is not None]
    blamed = alone or list(ids)
    ordered = sorted((known[found] for found in blamed), key=lambda found: (found.start_at, found.id))
    return tuple(ReservationCause(found) for found in ordered)


# --- one device -------------------------------------------------------------------------------------------------------


def explain_gpu(situation: Situation, gpu_uuid: str, values: Values | None = None) -> GpuExplanation:
    """Return why a device is not grantable now.

    Args:
        situation: What there is.
        gpu_uuid: A card or a MIG instance.
        values: What the states of cards are worth, where their instances are made on demand.

    Raises:
        NotFoundError: The machine has no such device.
    """
    board = situation.board
    names = device_names(board)
    if gpu_uuid not in names:
        raise NotFoundError(f"There is no GPU {gpu_uuid} on this machine.", hint="Run `ds01 gpus`.")
    address, _, (number, mask) = names[gpu_uuid]
    card = board.cards[number]
    reach = [0] * len(board.cards)
    reach[number] = mask or card.all_bits
    taken = taken_of(board, situation.allocations, situation.foreign)[number] & reach[number]
    ways = [position for position in card.positions if position.mask & reach[number] == position.mask]
    free = [position for position in ways if not position.mask & taken]
    shares = max((position.shares for position in ways), default=1)
    reserved = _kept_from_everybody(situation, gpu_uuid, values or {}) if free and not card.unusable else ()
    return GpuExplanation(
        uuid=gpu_uuid,
        gpu=address,
        is_free=bool(free) and not card.unusable and not reserved,
        unusable=card.unusable or ("" if ways else "it is drained"),
        blockers=blockers_of(situation, reach) if taken else (),
        reservations=reserved,
        shares=shares,
        free_shares=sum(1 for position in free if position.shares > 1),
    )


def _kept_from_everybody(situation: Situation, gpu_uuid: str, values: Values) -> tuple[Reservation, ...]:
    """Reservations because of which somebody without any quota would not get it for the usual time."""
    asked = Waiting(
        id="0",
        uid=NOBODY,
        group="",
        container_name="",
        request=GpuRequest(1),
        priority=0,
        time_limit=situation.rules.assumed_duration,
        queued_at=situation.now,
        gpu_uuids=(gpu_uuid,),
    )
    nobody = Person(NOBODY, EffectiveLimits(Limits(), {}, ""))
    known = replace(situation, people={**situation.people, NOBODY: nobody}, waiting=())
    causes = _reserved(Trial(known, asked, is_queued=False, values=values))
    return tuple(cause.reservation for cause in causes if isinstance(cause, ReservationCause))
