"""What everybody holds while a pass goes on, against what they may hold."""

from collections.abc import Iterable
from dataclasses import dataclass

from ds01.domain.allocation import Allocation
from ds01.domain.board import Hold
from ds01.domain.quota import TOLERANCE, Usage
from ds01.domain.situation import GroupRules, Situation
from ds01.domain.waiting import Waiting

UNLIMITED = float("inf")


@dataclass(slots=True)
class Account:
    """What a user or a group holds.

    Attributes:
        gpus: Devices.
        gpu_equivalents: Compute.
    """

    gpus: int = 0
    gpu_equivalents: float = 0.0


class Ledger:
    """Counts what users and groups hold. Whatever way it is attached, it counts."""

    def __init__(self, situation: Situation, holds: Iterable[Hold]) -> None:
        self._people = situation.people
        self._groups = situation.groups
        self._users: dict[int, Account] = {}
        self._members: dict[str, Account] = {}
        self._containers: dict[int, int] = {}
        self._kept: dict[str, tuple[Waiting, float, int]] = {}
        for hold in holds:
            owner = hold.owner
            if isinstance(owner, Allocation):
                devices = max(len(owner.gpu_uuids), len(owner.slices))
                group = owner.group or self._group_of(owner.uid)
                self.add(owner.uid, group, devices, owner.gpu_equivalents)
            elif owner.uid is not None:
                counted = owner.counted
                self.add(owner.uid, self._group_of(owner.uid), counted.gpus, counted.equivalents)

    def _group_of(self, uid: int) -> str:
        person = self._people.get(uid)
        return "" if person is None else person.limits.group

    def add(self, uid: int, group: str, gpus: int, gpu_equivalents: float) -> None:
        """Count something that is held."""
        for account in (self._users.setdefault(uid, Account()), self._members.setdefault(group, Account())):
            account.gpus += gpus
            account.gpu_equivalents += gpu_equivalents

    def add_container(self, uid: int) -> None:
        """Count a container."""
        self._containers[uid] = self._containers.get(uid, 0) + 1

    def keep(self, waiting: Waiting, gpu_equivalents: float, start: int) -> None:
        """Keep room for the promised start of a request: its owner and group do not fill their quota before it."""
        self._kept[waiting.id] = (waiting, gpu_equivalents, start)

    def forget(self, waiting: Waiting) -> None:
        """Keep no room for a request any more."""
        self._kept.pop(waiting.id, None)

    def usage(self, uid: int) -> Usage:
        """Return what a user holds now."""
        held = self._users.get(uid, Account())
        person = self._people.get(uid)
        containers = (0 if person is None else person.containers) + self._containers.get(uid, 0)
        return Usage(held.gpus, held.gpu_equivalents, containers)

    def group_usage(self, group: str) -> Account:
        """Return what the members of a group hold now."""
        return self._members.get(group, Account())

    def room(self, waiting: Waiting, end: int) -> float | None:
        """Return how many gpu-equivalents a request may weigh now; None: not even the lightest device.

        Args:
            waiting: The request.
            end: When its grant has given everything back: what is promised to its owner from then on is not touched.
        """
        person = self._people.get(waiting.uid)
        if person is None:
            return None
        values = person.limits.values
        count = waiting.request.count
        most = values.max_gpus_per_container
        if most is not None and count > most:
            return None
        if not self._may_have_container(waiting, values.max_containers):
            return None
        if not count:
            return UNLIMITED
        mine = self._kept_for(waiting, end, by_group=False) if self._kept else Account()
        room = _room(self._users.get(waiting.uid), mine, values.max_gpus, values.max_gpu_equivalents, count)
        rules = self._groups.get(waiting.group)
        if room is None or rules is None:
            return room
        return self._group_room(waiting, rules, end, room)

    def _may_have_container(self, waiting: Waiting, highest: int | None) -> bool:
        """A container whose devices are fixed exists already."""
        return highest is None or bool(waiting.gpu_uuids) or self.usage(waiting.uid).containers < highest

    def _group_room(self, waiting: Waiting, rules: GroupRules, end: int, room: float) -> float | None:
        ours = self._kept_for(waiting, end, by_group=True) if self._kept else Account()
        members = self._members.get(waiting.group)
        left = _room(members, ours, rules.max_gpus, rules.max_gpu_equivalents, waiting.request.count)
        return None if left is None else min(room, left)

    def _kept_for(self, waiting: Waiting, end: int, *, by_group: bool) -> Account:
        kept = Account()
        for other, equivalents, start in self._kept.values():
            is_ours = other.group == waiting.group if by_group else other.uid == waiting.uid
            if is_ours and start < end and other.id != waiting.id:
                kept.gpus += other.request.count
                kept.gpu_equivalents += equivalents
        return kept


def _room(
    held: Account | None, kept: Account, max_gpus: int | None, max_equivalents: float | None, count: int
) -> float | None:
    gpus = kept.gpus + (held.gpus if held is not None else 0)
    if max_gpus is not None and gpus + count > max_gpus:
        return None
    if max_equivalents is None:
        return UNLIMITED
    left = max_equivalents - kept.gpu_equivalents - (held.gpu_equivalents if held is not None else 0.0)
    return left if left > TOLERANCE else None
