"""What would help a request that is not granted. Each way has been tried in the real planner, and works."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from ds01.domain.allocation import Allocation
from ds01.domain.devices.gpu import GpuKind
from ds01.domain.reasons.explanation import Counterfactual, Way
from ds01.domain.reasons.trial import Trial
from ds01.domain.request import ANY_KIND, FULL_KIND, GpuRequest
from ds01.domain.scheduling.situation import Estimate, Grant
from ds01.domain.scheduling.waiting import Waiting

SHORTEST = timedelta(minutes=10)
"""Nobody is helped by less time."""
LONGEST = timedelta(days=7)
"""The longest time that is tried for a request without a limit."""
MINUTE = timedelta(minutes=1)
MOST_KINDS = 8


def list_counterfactuals(trial: Trial, estimate: Estimate | None) -> tuple[Counterfactual, ...]:
    """Return what would help, what changes the request least at the front.

    Args:
        trial: The request, which is not granted.
        estimate: When it starts, if it waits.
    """
    found: list[Counterfactual] = []
    if not trial.waiting.is_restart:
        found += [*_in_reservation(trial), *_shared(trial), *_shorter(trial)]
        found += [*_fewer(trial), *_other_kinds(trial), *_less_memory(trial)]
        if not found:
            found += _smallest(trial)
    else:
        found += _shorter(trial)
    return (*found, *_give_back(trial), *_wait(trial, estimate))


def _try(trial: Trial, way: Way, changed: Waiting) -> Counterfactual | None:
    attempt = trial.asked_anew(changed)
    grant = attempt.grant()
    return None if grant is None else Counterfactual(way, attempt.waiting, grant, trial.situation.now)


def _in_reservation(trial: Trial) -> Iterator[Counterfactual]:
    now, waiting = trial.situation.now, trial.waiting
    for reservation in sorted(trial.situation.reservations, key=lambda found: (found.start_at, found.id)):
        is_open = reservation.start_at <= now < reservation.end_at and not reservation.state.is_over
        if is_open and reservation.is_for(waiting.uid, waiting.group) and reservation.id != waiting.reservation:
            found = _try(trial, Way.RESERVATION, replace(waiting, reservation=reservation.id))
            if found is not None:
                yield found


def _shared(trial: Trial) -> Iterator[Counterfactual]:
    if trial.waiting.is_exclusive:
        found = _try(trial, Way.SHARED, replace(trial.waiting, is_exclusive=False))
        if found is not None:
            yield found


def _shorter(trial: Trial) -> Iterator[Counterfactual]:
    """The longest time that works, to the minute."""
    present = trial.waiting.time_limit
    longest = LONGEST if present is None else present - MINUTE

    def attempt(minutes: int) -> Counterfactual | None:
        return _try(trial, Way.SHORTER_TIME, replace(trial.waiting, time_limit=minutes * MINUTE))

    low, high = SHORTEST // MINUTE, longest // MINUTE
    best = attempt(low) if high >= low else None
    while best is not None and low < high:
        middle = (low + high + 1) // 2
        found = attempt(middle)
        if found is None:
            high = middle - 1
        else:
            best, low = found, middle
    if best is not None:
        yield best


def _fewer(trial: Trial) -> Iterator[Counterfactual]:
    request = trial.waiting.request
    for count in range(request.count - 1, 0, -1):
        found = _try(trial, Way.FEWER_GPUS, replace(trial.waiting, request=replace(request, count=count)))
        if found is not None:
            yield found
            return


def _kinds(trial: Trial) -> list[tuple[str, int]]:
    """Every profile of the board with the memory of its smallest device, the largest first."""
    memory: dict[str, int] = {}
    weight: dict[str, float] = {}
    for card in trial.situation.board.cards:
        for position in card.positions if not card.unusable else ():
            kind = FULL_KIND if position.kind is GpuKind.FULL else position.profile.lower()
            memory[kind] = min(memory.get(kind, position.memory_bytes), position.memory_bytes)
            weight[kind] = max(weight.get(kind, 0.0), position.equivalents)
    return sorted(memory.items(), key=lambda item: (-weight[item[0]], -item[1], item[0]))[:MOST_KINDS]


def _of_kinds(trial: Trial, count: int) -> Iterator[Counterfactual]:
    request = trial.waiting.request
    for kind, memory in _kinds(trial):
        least = request.memory_bytes
        wanted = GpuRequest(count, kind, least if least is not None and least <= memory else None)
        if replace(wanted, count=request.count) != request:
            found = _try(trial, Way.OTHER_KIND, replace(trial.waiting, request=wanted))
            if found is not None:
                yield found


def _other_kinds(trial: Trial) -> Iterator[Counterfactual]:
    """Kinds that can be had now. Who asks for any kind gets the policy's choice anyway, where it has enough memory."""
    if trial.waiting.request.kind != ANY_KIND:
        yield from _of_kinds(trial, trial.waiting.request.count)


def _less_memory(trial: Trial) -> Iterator[Counterfactual]:
    """The most memory that can be had now."""
    request = trial.waiting.request
    if request.memory_bytes is None or request.kind != ANY_KIND:
        return
    sizes = {memory for _, memory in _kinds(trial) if memory < request.memory_bytes}
    for size in sorted(sizes, reverse=True):
        found = _try(trial, Way.LESS_MEMORY, replace(trial.waiting, request=replace(request, memory_bytes=size)))
        if found is not None:
            yield found
            return


def _smallest(trial: Trial) -> Iterator[Counterfactual]:
    """Nothing else helps: one device of another kind instead of several."""
    if trial.waiting.request.count > 1:
        yield from _of_kinds(trial, 1)


def _give_back(trial: Trial) -> Iterator[Counterfactual]:
    """One of the user's own containers, else all of them."""
    own = [grant for grant in trial.situation.allocations if grant.uid == trial.waiting.uid and grant.is_holding]
    own = [grant for grant in own if grant.gpu_uuids or grant.slices]
    found = [attempt for grant in own if (attempt := _try_without(trial, [grant])) is not None]
    if not found and len(own) > 1:
        every = _try_without(trial, own)
        found = [every] if every is not None else []
    yield from found


def _try_without(trial: Trial, grants: list[Allocation]) -> Counterfactual | None:
    attempt = trial.without_grants({grant.id for grant in grants})
    grant = attempt.grant()
    return _counted(trial, Way.GIVE_BACK, grant, grants) if grant is not None else None


def _counted(trial: Trial, way: Way, grant: Grant, ended: list[Allocation]) -> Counterfactual:
    return Counterfactual(
        way,
        trial.waiting,
        grant,
        trial.situation.now,
        given_back=tuple(found.id for found in ended),
        containers=tuple((found.uid, found.container_name) for found in ended),
    )


def _wait(trial: Trial, estimate: Estimate | None) -> Iterator[Counterfactual]:
    """A promised start, and whose time ends until then at the latest."""
    if estimate is None or estimate.start_at is None or not estimate.is_promise:
        return
    now, margin = trial.situation.now, trial.situation.release_margin
    ended = [
        grant
        for grant in trial.situation.allocations
        if grant.is_holding and grant.ends_at is not None and now < grant.ends_at + margin <= estimate.start_at
    ]
    last = max((grant.ends_at for grant in ended if grant.ends_at), default=None)
    named = [grant for grant in ended if grant.ends_at == last]
    counted = _counted(trial, Way.WAIT, Grant(trial.waiting, (), "promised"), named)
    yield replace(counted, start_at=estimate.start_at)
