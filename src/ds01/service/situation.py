"""The scheduler's world, put together in one transaction: what the store says now and what was seen just before."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from ds01.domain.allocation import Allocation
from ds01.domain.devices.gpu import Inventory
from ds01.domain.devices.topology import near_cards
from ds01.domain.name import EngineName
from ds01.domain.rules.consumption import used_at, used_between
from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.rules.policy import Policy
from ds01.domain.rules.site import ENFORCE, SHOW_USERS
from ds01.domain.scheduling.board import Board, board_of
from ds01.domain.scheduling.group import group_rules_of
from ds01.domain.scheduling.occupancy import ForeignContainer
from ds01.domain.scheduling.queue import QueueEntry, QueueState
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.reservation_life import in_force, merged, policy_reservations
from ds01.domain.scheduling.situation import GroupRules, Person, Situation
from ds01.service.dynamic_instances import OnDemandCards
from ds01.service.mig_change import changing_cards
from ds01.service.observation import Observation
from ds01.service.ports import StoreTransaction

Boards = Callable[[StoreTransaction, Inventory], Board]
"""Returns the cards and the ways to take them: what is drained or made on demand stands in the store."""


class UnknownPersonError(Exception):
    """Somebody waits or holds something whose limits nobody has looked up yet: look them up and try again.

    Attributes:
        uids: Who.
    """

    def __init__(self, uids: set[int]) -> None:
        super().__init__(f"unknown: {sorted(uids)}")
        self.uids = uids


@dataclass(frozen=True, slots=True)
class View:
    """What was seen outside before the transaction.

    Attributes:
        now: The moment.
        observation: Devices and containers.
        limits: Limits of everybody who is known, by uid.
        policy: The policy in force.
        boards: Makes the board.
        admins: Administrators among them.
    """

    now: datetime
    observation: Observation
    limits: Mapping[int, EffectiveLimits]
    policy: Policy
    boards: Boards
    admins: frozenset[int] = field(default_factory=frozenset)


Unusable = Callable[[StoreTransaction, Inventory], Mapping[str, str]]
"""Returns why devices must not be granted now, by UUID, see `UpkeepService.unusable`."""


def mig_boards(policy: Callable[[], Policy], unusable: Unusable, on_demand: OnDemandCards) -> Boards:
    """Return what makes boards with the cards whose instances are made by grants, and without those being cut anew.

    The same devices, the same board: it is worked out once.
    """
    known: list[tuple[Inventory, tuple[object, ...], Board]] = []

    def make(transaction: StoreTransaction, inventory: Inventory) -> Board:
        out = {**unusable(transaction, inventory), **changing_cards(transaction)}
        shares, dynamic = policy().site.sharing.max_containers_per_gpu, transaction.list_dynamic_cards()
        terms = (shares, out, dynamic)
        for seen, seen_terms, board in known[-1:]:
            if seen_terms == terms and (seen is inventory or seen == inventory):
                return board
        cards, tables = on_demand.find(dynamic, inventory)
        near = near_cards(inventory)
        board = replace(board_of(inventory, unusable=out, dynamic=cards, shares=shares, near=near), tables=tables)
        known[:] = [(inventory, terms, board)]
        return board

    return make


def situation_in(
    transaction: StoreTransaction, view: View, *, is_for_newcomer: bool = False
) -> tuple[Situation, dict[str, QueueEntry]]:
    """Return the scheduler's world, and the requests that wait by id.

    Args:
        transaction: What the store says now.
        view: What was seen just before.
        is_for_newcomer: Somebody asks who will not wait. Who used how much decides about the order alone: it is then
            left out unless others wait.

    Raises:
        UnknownPersonError: The limits of somebody are not known.
    """
    allocations = tuple(transaction.list_allocations())
    entries = {entry.id: entry for entry in transaction.list_waiting() if entry.state is QueueState.WAITING}
    uids = {entry.uid for entry in entries.values()} | {grant.uid for grant in allocations}
    # what others made for somebody counts for that one's group too
    uids |= {found.uid for found in view.observation.foreign if found.uid is not None}
    unknown = uids - view.limits.keys()
    if unknown:
        raise UnknownPersonError(unknown)
    used = _Used(transaction, allocations, view, is_wanted=bool(entries) or not is_for_newcomer)
    site = view.policy.site
    situation = Situation(
        now=view.now,
        board=view.boards(transaction, view.observation.inventory),
        allocations=_with_ends(allocations, view),
        foreign=_still_foreign(view.observation.foreign, allocations),
        waiting=tuple(entry.waiting for entry in entries.values()),
        reservations=_reservations(transaction, view),
        people=_people(transaction, uids, used, view),
        groups=used.groups(),
        rules=site.scheduling,
        names_holders=site.access.show_holders == SHOW_USERS,
    )
    return situation, entries


def _reservations(transaction: StoreTransaction, view: View) -> tuple[Reservation, ...]:
    """Return what keeps something now or later: of the store, and of the policy."""
    stored, of_policy = transaction.list_reservations(), policy_reservations(view.policy)
    if not stored and not of_policy:
        return ()
    over = _over_of_policy(transaction, of_policy)
    return tuple(item for item in in_force(merged(stored, of_policy), view.now) if item.id not in over)


def _over_of_policy(transaction: StoreTransaction, reservations: Iterable[Reservation]) -> set[str]:
    """Reservations of the policy that are over before their end: a no-show is remembered in the store."""
    of_policy = {(item.id, item.start_at, item.end_at) for item in reservations}
    if not of_policy:
        return set()
    stored = transaction.list_reservations(with_over=True)
    return {item.id for item in stored if item.state.is_over and (item.id, item.start_at, item.end_at) in of_policy}


def _with_ends(grants: tuple[Allocation, ...], view: View) -> tuple[Allocation, ...]:
    """A grant that should have ended, and that the policy lets go on, ends nobody knows when."""
    if view.policy.site.lifecycle.mode == ENFORCE:
        return grants
    return tuple(
        replace(grant, ends_at=None) if grant.ends_at is not None and grant.ends_at <= view.now else grant
        for grant in grants
    )


def _still_foreign(
    foreign: Iterable[ForeignContainer], allocations: Iterable[Allocation]
) -> tuple[ForeignContainer, ...]:
    """Leave out what got its grant after the engine was asked."""
    foreign = tuple(foreign)
    if not foreign:
        return ()
    granted = {str(EngineName(grant.container_name, grant.uid)): grant for grant in allocations}
    return tuple(
        found
        for found in foreign
        if found.name not in granted or not found.gpu_uuids <= set(granted[found.name].gpu_uuids)
    )


class _Used:
    """Who used how much lately: of grants that are released, and of those that are not."""

    def __init__(
        self, transaction: StoreTransaction, allocations: Iterable[Allocation], view: View, *, is_wanted: bool
    ) -> None:
        self._policy = view.policy
        half_life = view.policy.site.scheduling.fair_share_half_life
        self.by_uid: dict[int, float] = defaultdict(float)
        self._by_group: dict[str, float] = defaultdict(float)
        if not is_wanted:
            return
        for found in transaction.list_consumption():
            self._add(found.uid, found.group, used_at(found, view.now, half_life))
        for grant in allocations:
            used_s = used_between(grant.gpu_equivalents, grant.claimed_at, view.now, view.now, half_life)
            self._add(grant.uid, grant.group, used_s)

    def _add(self, uid: int, group: str, used_s: float) -> None:
        self.by_uid[uid] += used_s
        self._by_group[group] += used_s

    def groups(self) -> dict[str, GroupRules]:
        """Return the rules of every group of the policy, and what groups without any have used."""
        rules = group_rules_of(self._policy, self._by_group)
        return {name: GroupRules(recent_use_s=used_s) for name, used_s in self._by_group.items()} | rules


def _people(transaction: StoreTransaction, uids: set[int], used: _Used, view: View) -> dict[int, Person]:
    containers = transaction.count_containers()
    return {
        uid: Person(uid, view.limits[uid], containers.get(uid, 0), used.by_uid.get(uid, 0.0), uid in view.admins)
        for uid in uids | view.limits.keys()
    }
