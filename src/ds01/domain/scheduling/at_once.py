"""What a newcomer gets while nobody waits and nothing is reserved: the same as from a whole pass, found sooner.

There is then no order, no promise and nothing to keep: only what is taken now and the quotas decide. Whoever gets
nothing here is looked at again by a whole pass, which also says why.
"""

from collections.abc import Iterator, Sequence
from operator import attrgetter

from ds01.domain.allocation import Allocation
from ds01.domain.scheduling.admission import reason_of
from ds01.domain.scheduling.board import Piece
from ds01.domain.scheduling.choice import choose
from ds01.domain.scheduling.ledger import Ledger
from ds01.domain.scheduling.option import Grid, grid_of
from ds01.domain.scheduling.refusal import limits_of, require_within_quota
from ds01.domain.scheduling.situation import Grant, Situation, TakenPosition
from ds01.domain.scheduling.timeline import NEVER
from ds01.domain.scheduling.waiting import Waiting

_AGE = attrgetter("claimed_at", "id")


def grant_at_once(situation: Situation, newcomer: Waiting) -> Grant | None:
    """Return what `plan_grant` would grant, or None if only a whole pass can say. Call `require_possible` first.

    Raises:
        QuotaExceededError: As `plan_grant`.
    """
    if not _decides_alone(situation, newcomer):
        return None
    grid = grid_of(situation.board)
    held = [grant for grant in situation.allocations if grant.is_holding]
    if grid.is_shared or any(grant.shares > 1 for grant in held):
        return None
    ledger = _ledger_of_two(situation, newcomer, held)
    require_within_quota(situation, newcomer, ledger)
    options = grid.options(grid.wish_of(newcomer, limits_of(situation, newcomer).values))
    room = ledger.room(newcomer, NEVER)
    if room is None or grid.most(options) < options.count:
        return None
    chosen = choose(grid, options, _taken(grid, situation, held), budget=room)
    if chosen is None:
        return None
    cards = situation.board.cards
    positions = tuple(TakenPosition(cards[option.card].uuid, option.position) for option in chosen)
    return Grant(newcomer, positions, reason_of(newcomer, chosen))


def _decides_alone(situation: Situation, newcomer: Waiting) -> bool:
    """Nobody and nothing else has a claim on what is free."""
    if situation.waiting or situation.reservations or not newcomer.request.count:
        return False
    if newcomer.reservation is not None or newcomer.promised_at is not None:
        return False
    return newcomer.not_before is None or newcomer.not_before <= situation.now


def _ledger_of_two(situation: Situation, newcomer: Waiting, held: Sequence[Allocation]) -> Ledger:
    """Return the ledger of the newcomer and of the newcomer's group: nobody else's quota matters."""
    ledger = Ledger(situation.people, situation.groups)
    gpus = group_gpus = 0
    equivalents = group_equivalents = 0.0
    # weights are added up in the order of `holds_of`, so that the sums are the very same numbers
    for uid, group, devices, weight in (*_strangers(situation), *_grants(held)):
        if uid == newcomer.uid:
            gpus += devices
            equivalents += weight
        if (group or ledger.group_of(uid)) == newcomer.group:
            group_gpus += devices
            group_equivalents += weight
    ledger.set_out(newcomer, (gpus, equivalents), (group_gpus, group_equivalents))
    return ledger


def _strangers(situation: Situation) -> Iterator[tuple[int, str, int, float]]:
    for other in sorted(situation.foreign, key=lambda container: (container.created_at, container.name)):
        if other.uid is not None:
            yield other.uid, "", other.counted.gpus, other.counted.equivalents


def _grants(held: Sequence[Allocation]) -> Iterator[tuple[int, str, int, float]]:
    for grant in sorted(held, key=_AGE):
        devices = max(len(grant.gpu_uuids), len(grant.slices))
        yield grant.uid, grant.group, devices, grant.gpu_equivalents


def _taken(grid: Grid, situation: Situation, held: Sequence[Allocation]) -> list[int]:
    """Return what nobody can have now, one mask a card."""
    taken = [0] * grid.size
    for number, mask in _pieces(grid, situation, held):
        taken[number] |= mask
    return taken


def _pieces(grid: Grid, situation: Situation, held: Sequence[Allocation]) -> Iterator[Piece]:
    places = grid.places
    for grant in held:
        for name in grant.slices or grant.gpu_uuids:
            place = places.get(name)
            if place is None and grant.slices:
                place = places.get(name.rpartition("/")[0])
            if place is not None:
                yield place
    for other in situation.foreign:
        for uuid in other.gpu_uuids:
            if uuid in places:
                yield places[uuid]
