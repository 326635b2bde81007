"""Devices that several containers share: who is on them, and which suits a newcomer best."""

from collections.abc import Iterable, Mapping

from ds01.domain.allocation import Allocation
from ds01.domain.scheduling.board import Hold
from ds01.domain.scheduling.choice import Chosen, Score
from ds01.domain.scheduling.option import Option
from ds01.domain.scheduling.situation import Situation

PRIORITY_WEIGHT = 100
CONTAINER_WEIGHT = 10
PERCENT = 100


class SharedUse:
    """Priorities of the containers on every device, and the memory in use.

    The score is the predecessor's, lower is better: difference between the highest priority on the device and the
    newcomer's times 100, and its containers times 10, and the percent of its memory in use.
    """

    def __init__(self, situation: Situation, holds: Iterable[Hold], memory_used: Mapping[str, float]) -> None:
        """Look at who is on which device.

        Args:
            situation: People and their priorities.
            holds: Who holds what.
            memory_used: Device uuid to the ratio of its memory that is in use.
        """
        self._memory = memory_used
        self._priorities: dict[str, list[int]] = {}
        for hold in holds:
            if isinstance(hold.owner, Allocation) and hold.owner.shares > 1:
                person = situation.people.get(hold.owner.uid)
                for uuid in hold.owner.gpu_uuids:
                    priority = 0 if person is None else person.limits.values.priority
                    self._priorities.setdefault(uuid, []).append(priority)

    def add(self, chosen: Chosen, priority: int) -> None:
        """Count a grant."""
        for option in chosen:
            if option.position.shares > 1 and option.position.gpu_uuid is not None:
                self._priorities.setdefault(option.position.gpu_uuid, []).append(priority)

    def score_for(self, priority: int) -> Score:
        """Return the score of devices for a newcomer."""

        def score(option: Option) -> float:
            uuid = option.position.gpu_uuid or ""
            there = self._priorities.get(uuid, ())
            difference = abs(max(there) - priority) if there else 0
            used = self._memory.get(uuid, 0.0) * PERCENT
            return difference * PRIORITY_WEIGHT + len(there) * CONTAINER_WEIGHT + used

        return score
