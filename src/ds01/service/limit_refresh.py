"""Gives containers that exist what a new policy changes and the engine can change live."""

import logging

from ds01.domain.containers.container import ResourceLimits
from ds01.domain.containers.limit_change import LimitChange, plan_limit_change
from ds01.domain.event import Event
from ds01.domain.rules.policy import Policy
from ds01.errors import BackendError, Ds01Error
from ds01.service.inner import resource_limits
from ds01.service.limits import LimitService, cgroup_parent_of
from ds01.service.ports import ContainerRow, EngineInfo, World
from ds01.service.presence import Presence
from ds01.units import format_cpus, format_size

log = logging.getLogger(__name__)


class LimitRefresh:
    """Follows the policy. Containers that DS01 does not manage are left alone."""

    def __init__(self, world: World, limits: LimitService, presence: Presence) -> None:
        self._engine = world.engine
        self._store = world.store
        self._clock = world.clock
        self._limits = limits
        self._presence = presence
        self._problem = ""

    async def apply(self, before: Policy) -> bool:
        """Bring every managed container to the policy in force; tell whether that is done.

        One container that the engine refuses to change does not keep the others from it. While the engine is silent or
        somebody works on a container it is not done, and asked for again: what was changed already stays as it is.

        Args:
            before: The policy that was in force until now.
        """
        try:
            info = await self._limits.engine_info(self._engine)
            rows = await self._store.read(lambda transaction: transaction.list_containers())
            done = [await self._refresh(row, before, info) for row in rows]
        except BackendError as failure:
            if str(failure) != self._problem:
                log.warning("limits: the new policy does not reach every container yet: %s", failure)
            self._problem = str(failure)
            return False
        self._problem = ""
        return all(done)

    async def _refresh(self, row: ContainerRow, before: Policy, info: EngineInfo) -> bool:
        owner = await self._limits.owner(row.uid)
        parent = cgroup_parent_of(owner, info)
        old = resource_limits(self._limits.effective(owner, info, policy=before), parent)
        new = resource_limits(self._limits.effective(owner, info), parent)
        if old == new:
            return True
        if row.engine_id is None or self._presence.is_busy(row.uid, row.name):
            return False
        async with self._presence.working_on(row.uid, row.name):
            details = await self._engine.find_container(row.engine_id)
            if details is not None:
                await self._change(row, plan_limit_change(details.limits, old, new))
        return True

    async def _change(self, row: ContainerRow, change: LimitChange) -> None:
        if not change.is_empty:
            try:
                await self._engine.update_container(row.engine_id or "", change.live)
            except Ds01Error as refusal:
                await self._engine.get_info()  # one that does not answer at all is another matter
                log.warning("limits: those of %s were not changed: %s", row.name, refusal)
                return
        if not change.is_empty or change.later:
            await self._record(row, change)

    async def _record(self, row: ContainerRow, change: LimitChange) -> None:
        details = {**_words(change.live), "later": list(change.later), "reason": "the policy changed"}
        event = Event("container.limited", self._clock.now(), uid=row.uid, container=row.name, details=details)
        await self._store.write(lambda transaction: transaction.append_event(event))


def _words(live: ResourceLimits) -> dict[str, str]:
    found = {
        "cpus": format_cpus(live.nano_cpus / 1_000_000_000) if live.nano_cpus else "",
        "memory": format_size(live.memory_bytes) if live.memory_bytes else "",
        "memory_swap": format_size(live.memory_swap_bytes) if live.memory_swap_bytes else "",
        "pids": str(live.pids_limit) if live.pids_limit else "",
    }
    return {name: text for name, text in found.items() if text}
