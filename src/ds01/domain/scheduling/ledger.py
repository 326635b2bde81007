"""What everybody holds while a pass goes on, and what they will hold when promises come true, against their quotas."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ds01.domain.allocation import Allocation
from ds01.domain.rules.limit import Limits
from ds01.domain.scheduling.board import Hold
from ds01.domain.scheduling.quota import TOLERANCE, Usage
from ds01.domain.scheduling.situation import GroupRules, Person, Situation
from ds01.domain.scheduling.timeline import NEVER
from ds01.domain.scheduling.waiting import Waiting

UNLIMITED = float("inf")


@dataclass(slots=True)
class Account:
    """What a user or a group holds.

    Attributes:
        gpus: Devices now.
        gpu_equivalents: Compute now.
        items: End, devices and compute of everything that is held.
        later: What is still held at a moment, as far as somebody asked.
    """

    gpus: int = 0
    gpu_equivalents: float = 0.0
    items: list[tuple[int, int, float]] = field(default_factory=list)
    later: dict[int, tuple[int, float]] = field(default_factory=dict)

    def add(self, end: int, gpus: int, gpu_equivalents: float) -> None:
        """Count something that is held until `end`."""
        self.gpus += gpus
        self.gpu_equivalents += gpu_equivalents
        self.items.append((end, gpus, gpu_equivalents))
        self.later.clear()

    def at(self, tick: int) -> tuple[int, float]:
        """Return devices and compute that are still held at a moment."""
        if tick <= 0:
            return self.gpus, self.gpu_equivalents
        known = self.later.get(tick)
        if known is None:
            left = [(gpus, equivalents) for end, gpus, equivalents in self.items if end > tick]
            known = self.later[tick] = (sum(gpus for gpus, _ in left), sum(equivalents for _, equivalents in left))
        return known


_NOTHING = Account()


@dataclass(frozen=True, slots=True)
class _Kept:
    waiting: Waiting
    gpu_equivalents: float
    start: int


class Ledger:
    """Counts what users and groups hold. Whatever way it is attached, it counts."""

    def __init__(self, people: Mapping[int, Person], groups: Mapping[str, GroupRules]) -> None:
        self._people = people
        self._groups = groups
        self._users: dict[int, Account] = {}
        self._members: dict[str, Account] = {}
        self._containers: dict[int, int] = {}
        self._kept: dict[str, _Kept] = {}

    def group_of(self, uid: int) -> str:
        """Return the group of a user; empty if nothing is known."""
        person = self._people.get(uid)
        return "" if person is None else person.limits.group

    def add(self, uid: int, group: str, gpus: int, gpu_equivalents: float, *, end: int = NEVER) -> None:
        """Count something that is held until `end`."""
        self._users.setdefault(uid, Account()).add(end, gpus, gpu_equivalents)
        self._members.setdefault(group, Account()).add(end, gpus, gpu_equivalents)

    def set_out(self, waiting: Waiting, user: tuple[int, float], group: tuple[int, float]) -> None:
        """Count devices and compute of the user and of the group of a request, added up already."""
        self._users[waiting.uid], self._members[waiting.group] = Account(), Account()
        self._users[waiting.uid].add(NEVER, *user)
        self._members[waiting.group].add(NEVER, *group)

    def add_container(self, uid: int) -> None:
        """Count a container."""
        self._containers[uid] = self._containers.get(uid, 0) + 1

    def keep(self, waiting: Waiting, gpu_equivalents: float, start: int) -> None:
        """Keep room for the promised start of a request: its owner and group do not fill their quota before it."""
        self._kept[waiting.id] = _Kept(waiting, gpu_equivalents, start)

    def forget(self, waiting: Waiting) -> None:
        """Keep no room for a request any more."""
        self._kept.pop(waiting.id, None)

    def usage(self, uid: int) -> Usage:
        """Return what a user holds now."""
        held = self._users.get(uid, _NOTHING)
        person = self._people.get(uid)
        containers = (0 if person is None else person.containers) + self._containers.get(uid, 0)
        return Usage(held.gpus, held.gpu_equivalents, containers)

    def group_usage(self, group: str) -> tuple[int, float]:
        """Return devices and compute that the members of a group hold now."""
        return self._members.get(group, _NOTHING).at(0)

    def room(self, waiting: Waiting, end: int, start: int = 0) -> float | None:
        """Return how many gpu-equivalents a request may weigh; None: not even the lightest device.

        Args:
            waiting: The request.
            end: When its grant has given everything back: what is promised from then on is not touched.
            start: When it begins: what has ended by then does not count.
        """
        person = self._people.get(waiting.uid)
        if person is None or not self._may_have_container(waiting, person.limits.values):
            return None
        values, count = person.limits.values, waiting.request.count
        if values.max_gpus_per_container is not None and count > values.max_gpus_per_container:
            return None
        if not count:
            return UNLIMITED
        room: float | None = UNLIMITED
        if values.max_gpus is not None or values.max_gpu_equivalents is not None:
            mine = [kept for kept in self._kept.values() if kept.waiting.uid == waiting.uid] if self._kept else []
            account = _Quota(self._users.get(waiting.uid, _NOTHING), values.max_gpus, values.max_gpu_equivalents)
            room = account.room(waiting, mine, start, end)
        rules = self._groups.get(waiting.group)
        if room is None or rules is None:
            return room
        ours = [kept for kept in self._kept.values() if kept.waiting.group == waiting.group] if self._kept else []
        members = _Quota(self._members.get(waiting.group, _NOTHING), rules.max_gpus, rules.max_gpu_equivalents)
        left = members.room(waiting, ours, start, end)
        return None if left is None else min(room, left)

    def has_room_now(self, waiting: Waiting) -> bool:
        """Tell whether what is held now leaves room for as many devices as a request asks for."""
        person = self._people.get(waiting.uid)
        if person is None or not self._may_have_container(waiting, person.limits.values):
            return False
        values, count = person.limits.values, waiting.request.count
        if values.max_gpus_per_container is not None and count > values.max_gpus_per_container:
            return False
        held, rules = self._users.get(waiting.uid, _NOTHING), self._groups.get(waiting.group)
        if not _has_room(held, values.max_gpus, values.max_gpu_equivalents, count):
            return False
        members = self._members.get(waiting.group, _NOTHING)
        return rules is None or _has_room(members, rules.max_gpus, rules.max_gpu_equivalents, count)

    def _may_have_container(self, waiting: Waiting, values: Limits) -> bool:
        """A container that is started again exists already."""
        highest = values.max_containers
        return highest is None or waiting.is_restart or self.usage(waiting.uid).containers < highest


def _has_room(held: Account, max_gpus: int | None, max_equivalents: float | None, count: int) -> bool:
    if max_gpus is not None and held.gpus + count > max_gpus:
        return False
    return max_equivalents is None or max_equivalents - held.gpu_equivalents > TOLERANCE


class _Quota(NamedTuple):
    """One account against its limits."""

    account: Account
    max_gpus: int | None
    max_equivalents: float | None

    def room(self, waiting: Waiting, kept: Iterable[_Kept], start: int, end: int) -> float | None:
        """Return the least room at the start and whenever a promise comes true before the end."""
        others = [other for other in kept if other.waiting.id != waiting.id and other.start < end]
        if not others:
            return self._room_beside(self.account.at(start), waiting.request.count)
        room = UNLIMITED
        for tick in {start, *(other.start for other in others if other.start > start)}:
            gpus, equivalents = self.account.at(tick)
            for other in others:
                if other.start <= tick:
                    gpus += other.waiting.request.count
                    equivalents += other.gpu_equivalents
            if self.max_gpus is not None and gpus + waiting.request.count > self.max_gpus:
                return None
            if self.max_equivalents is not None:
                room = min(room, self.max_equivalents - equivalents)
        return room if room > TOLERANCE else None

    def _room_beside(self, held: tuple[int, float], count: int) -> float | None:
        if self.max_gpus is not None and held[0] + count > self.max_gpus:
            return None
        room = UNLIMITED if self.max_equivalents is None else self.max_equivalents - held[1]
        return room if room > TOLERANCE else None


def ledger_of(situation: Situation, holds: Iterable[Hold], ends: Iterable[int] | None = None) -> Ledger:
    """Return the ledger of everything that is held now.

    Args:
        situation: People and groups.
        holds: Everything that is held.
        ends: When each of them ends; None: nobody asks.
    """
    ledger = Ledger(situation.people, situation.groups)
    holds = tuple(holds)
    for hold, end in zip(holds, [NEVER] * len(holds) if ends is None else ends, strict=True):
        owner = hold.owner
        if isinstance(owner, Allocation):
            devices = max(len(owner.gpu_uuids), len(owner.slices))
            ledger.add(owner.uid, owner.group or ledger.group_of(owner.uid), devices, owner.gpu_equivalents, end=end)
        elif owner.uid is not None:
            counted = owner.counted
            ledger.add(owner.uid, ledger.group_of(owner.uid), counted.gpus, counted.equivalents, end=end)
    return ledger
