"""Why: the scheduler's world of this moment, explained. Reads; changes nothing.

Finding what would help asks the planner many times, so it is done in a thread: others are answered meanwhile.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ds01.domain.allocation import Allocation
from ds01.domain.reasons.blocker import device_names
from ds01.domain.reasons.explanation import Cause, Explanation, GpuExplanation
from ds01.domain.reasons.trial import Trial
from ds01.domain.reasons.why import explain, explain_gpu, list_causes
from ds01.domain.rules.access import Caller
from ds01.domain.scheduling.queue import QueueEntry
from ds01.domain.scheduling.reservation_choice import choose_reservation
from ds01.domain.scheduling.situation import Situation
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import Ds01Error, NotFoundError
from ds01.service.allocations import ClaimOrder
from ds01.service.limits import LimitService
from ds01.service.order import CreateOrder
from ds01.service.ports import Clock, ContainerRow
from ds01.service.regranting import newcomer_of
from ds01.service.scheduling import Scheduling, restart_of


@dataclass(frozen=True, slots=True)
class Explained:
    """An explanation, and the world that it is about.

    Attributes:
        explanation: The answer.
        situation: The scheduler's world.
        order: What is to be made, for a creation; None: a container that exists is to be started.
        is_queued: The request waits; else it was only asked what would come of it.
    """

    explanation: Explanation
    situation: Situation
    order: CreateOrder | None
    is_queued: bool


@dataclass(frozen=True, slots=True)
class ExplainedGpu:
    """An explanation of a device, and the world that it is about.

    Attributes:
        explanation: The answer.
        situation: The scheduler's world.
    """

    explanation: GpuExplanation
    situation: Situation


class ExplanationService:
    """Answers why."""

    def __init__(self, scheduling: Scheduling, limits: LimitService, clock: Clock) -> None:
        self._scheduling = scheduling
        self._limits = limits
        self._clock = clock

    async def of_request(self, request_id: str) -> Explained:
        """Return why a request waits.

        Raises:
            NotFoundError: It does not wait.
            BackendError: Engine or devices are unknown.
        """
        situation, entries = await self._scheduling.read_situation()
        entry = entries.get(request_id)
        if entry is None:
            raise NotFoundError(f"The request {request_id} does not wait.", hint="`ds01 queue` shows those that wait.")
        explanation = await asyncio.to_thread(explain, situation, request_id)
        return Explained(explanation, situation, order_of_entry(entry), is_queued=True)

    async def of_newcomer(self, caller: Caller, order: CreateOrder) -> Explained | None:
        """Return what would come of an order if it were placed now; None: that cannot be said.

        Raises:
            BackendError: Engine or devices are unknown.
        """
        limits = self._limits.policy_limits(caller.user)
        time_limit = order.time_limit if order.time_limit is not None else limits.values.time_limit
        claim = ClaimOrder(
            caller.uid,
            order.name,
            order.request,
            limits,
            image="",
            spec="",
            time_limit=time_limit,
            not_before=order.not_before,
            is_exclusive=order.is_exclusive,
        )
        return await self._of_asked(claim.waiting(self._clock.now()), order, order.reservation)

    async def of_start(self, row: ContainerRow, released: Allocation, *, is_late: bool) -> Explained | None:
        """Return what would come of starting a container again whose grant is released; None: that cannot be said.

        Args:
            row: The container.
            released: The grant that it had.
            is_late: Its GPUs are chosen at each start.

        Raises:
            BackendError: Engine or devices are unknown.
        """
        limits, now = await self._limits.owner_limits(row.uid), self._clock.now()
        waiting = newcomer_of(row, released, limits, now) if is_late else restart_of(released, limits, now)
        return await self._of_asked(waiting, None, None)

    async def _of_asked(self, waiting: Waiting, order: CreateOrder | None, reservation: str | None) -> Explained | None:
        situation, _ = await self._scheduling.read_situation([waiting.uid])
        try:
            waiting = _inside(situation, waiting, reservation)
            explanation = await asyncio.to_thread(explain, situation, waiting)
        except Ds01Error:
            return None
        return Explained(explanation, situation, order, is_queued=False)

    async def causes(self, situation: Situation, request_ids: Iterable[str]) -> Mapping[str, tuple[Cause, ...]]:
        """Return the causes of several requests by id; one that does not wait is left out."""
        wanted = set(request_ids)
        found = [waiting for waiting in situation.waiting if waiting.id in wanted]

        def look() -> dict[str, tuple[Cause, ...]]:
            return {waiting.id: list_causes(Trial(situation, waiting, is_queued=True)) for waiting in found}

        return await asyncio.to_thread(look)

    async def of_gpu(self, text: str) -> ExplainedGpu:
        """Return why a device cannot be granted.

        Args:
            text: Its address (`0`, `0:1`) or its UUID.

        Raises:
            NotFoundError: The machine has no such device.
            BackendError: Engine or devices are unknown.
        """
        situation, _ = await self._scheduling.read_situation()
        names = device_names(situation.board)
        by_address = {address: uuid for uuid, (address, _, _) in names.items()}
        uuid = text if text in names else by_address.get(text)
        if uuid is None:
            known = ", ".join(by_address) or "none"
            raise NotFoundError(f"There is no GPU {text[:60]!r} on this machine; there are: {known}.", hint="ds01 gpus")
        return ExplainedGpu(await asyncio.to_thread(explain_gpu, situation, uuid), situation)


def order_of_entry(entry: QueueEntry) -> CreateOrder | None:
    """Return the order of a request that waits; None: it is a start."""
    return CreateOrder.from_text(entry.order) if entry.order else None


def _inside(situation: Situation, waiting: Waiting, reservation: str | None) -> Waiting:
    return replace(waiting, reservation=choose_reservation(situation, waiting, reservation))
