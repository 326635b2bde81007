"""Takes a container that others made under management: row, grant of the devices it has, limits of its owner."""

import asyncio
import secrets
from dataclasses import dataclass, replace
from datetime import datetime

from ds01.domain import label
from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.containers.container import ContainerDetails, ResourceLimits
from ds01.domain.containers.origin import Origin, origin_of, private_image_of, shown_name
from ds01.domain.devices.attachment import may_reach_gpus, needed_gpus
from ds01.domain.devices.gpu import Gpu, all_gpus
from ds01.domain.event import Event
from ds01.domain.images.image import is_private_tag
from ds01.domain.name import EngineName
from ds01.domain.request import GpuRequest
from ds01.domain.rules.access import Caller, container_not_found
from ds01.errors import ConflictError, Ds01Error, ForbiddenError
from ds01.service.completion import complete
from ds01.service.decisions import name_taken, require_free
from ds01.service.foreign import Ownerships, find_by_bare_name
from ds01.service.helper_container import is_helper_name
from ds01.service.inner import resource_limits
from ds01.service.late_binding import LateBinding
from ds01.service.limits import LimitService
from ds01.service.observation import Observation, Observer, granted_rows
from ds01.service.ports import ContainerRow, StoreTransaction, World
from ds01.service.presence import Presence


@dataclass(frozen=True, slots=True)
class Takeover:
    """Outcome of an adoption, or with a dry run what it would be.

    Attributes:
        details: The container as it is now.
        name: Name by which its owner finds it.
        origin: What made it.
        devices: Devices it has; by UUID alone those that the machine does not have.
        limits: Limits that were set; 0: left as they were.
        was_managed: It was under management before.
        warnings: What adoption cannot change about it.
    """

    details: ContainerDetails
    name: str
    origin: Origin
    devices: tuple[Gpu | str, ...]
    limits: ResourceLimits
    was_managed: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be written."""

    details: ContainerDetails
    owner: EngineName
    observation: Observation
    uuids: tuple[str, ...]
    limits: ResourceLimits


class TakeoverService:
    """Adopts."""

    def __init__(
        self,
        world: World,
        *,
        observer: Observer,
        limits: LimitService,
        presence: Presence,
        late_binding: LateBinding,
        only_uid: int | None,
    ) -> None:
        self._engine = world.engine
        self._store = world.store
        self._clock = world.clock
        self._accounts = world.accounts
        self._ownerships = Ownerships(world.accounts)
        self._observer = observer
        self._limits = limits
        self._presence = presence
        self._late = late_binding
        self._only_uid = only_uid

    async def adopt(self, caller: Caller, uid: int, name: str, *, dry_run: bool) -> Takeover:
        """Adopt a container for a user. Its clocks start now.

        Args:
            caller: Its owner, or an administrator.
            uid: Who shall own it.
            name: Its name, without the uid.
            dry_run: Only look.

        Raises:
            NotFoundError: The user has no such container, or there is no such user.
            ForbiddenError: Whose it is contradicts itself, or its labels claim that DS01 made it.
            NoCapacityError: Somebody else holds a device that it has.
            ConflictError: It is another user's, the name is taken, or the engine cannot set the limits.
        """
        async with self._presence.working_on(uid, name):
            details = await self._late.resolve(await self._find(caller, uid, name))
            plan = await self._plan(details, uid)
            plan = replace(plan, observation=replace(plan.observation, reader=self._limits.reader(caller)))
            row = await self._store.read(lambda transaction: _row_of(transaction, details))
            if row is not None and row.uid != uid:
                raise ConflictError(f"{name} is managed already, as a container of uid {row.uid}.")
            is_ours = label.is_ours(details.labels)
            if is_ours:
                plan = _without_limits(plan)
            if dry_run:
                if row is None:
                    await self._store.read(lambda transaction: _grant(transaction, plan, self._clock.now()))
                return _takeover(plan, details, was_managed=row is not None)
            after = await complete(self._write(caller, plan, row))
            return _takeover(plan, after, was_managed=row is not None)

    async def _find(self, caller: Caller, uid: int, name: str) -> ContainerDetails:
        engine_name = str(EngineName(name, uid))
        details = await self._engine.find_container(engine_name)
        if details is None or details.name != engine_name:
            details = await find_by_bare_name(self._engine, name)
        if details is None or is_helper_name(details.name):
            raise container_not_found(name)
        row = await self._store.read(lambda transaction: _row_of(transaction, details))
        if row is None:
            await self._require_right(caller, uid, details)
        elif row.uid != uid and not caller.is_admin:
            raise container_not_found(name)
        return details

    async def _require_right(self, caller: Caller, uid: int, details: ContainerDetails) -> None:
        name = shown_name(details.name)
        owner = await self._ownerships.of(details.name, details.labels)
        if owner.uid is not None and owner.uid != uid:
            if not caller.is_admin:
                raise container_not_found(name)
            raise ConflictError(
                f"{name} is a container of uid {owner.uid}.",
                hint=f"Adopt it for them: `ds01 admin adopt {name} --user {owner.uid}`.",
            )
        if caller.is_admin:
            return
        if owner.doubt:
            raise ForbiddenError(
                f"It is not clear whose {name} is: {owner.doubt}.",
                hint=f"Ask an administrator: `ds01 admin adopt {name} --user {caller.user.name}`.",
            )
        if owner.uid is None and uid != self._only_uid:
            raise container_not_found(name)
        if self._only_uid is None and label.is_ours(details.labels):
            raise ForbiddenError(
                f"{name} claims that DS01 made it, and DS01 does not know it.",
                hint="Ask an administrator to look at it.",
            )

    async def _plan(self, details: ContainerDetails, uid: int) -> _Plan:
        granted = await self._store.read(granted_rows)
        observation = Observation()
        if may_reach_gpus(details.attachment):
            observation = (await self._observer.observe(granted)).for_start_of(details.id)
        user = await asyncio.to_thread(self._accounts.get_user, uid)
        wanted = resource_limits(self._limits.effective(user, await self._engine.get_info()), "")
        uuids = tuple(sorted(needed_gpus(details.attachment, observation.inventory)))
        owner = EngineName(shown_name(details.name), uid)
        return _Plan(details, owner, observation, uuids, limits_to_set(details.limits, wanted))

    async def _write(self, caller: Caller, plan: _Plan, row: ContainerRow | None) -> ContainerDetails:
        """Grant first, limits second: whatever dies in between, adopting it again sets them."""
        now = self._clock.now()
        if row is None:
            origin = origin_of(plan.details.labels, plan.details.name)
            event = Event(
                "container.adopted",
                now,
                uid=plan.owner.uid,
                actor_uid=caller.uid,
                container=plan.owner.name,
                details={"origin": origin.value},
            )

            def decide(transaction: StoreTransaction) -> None:
                allocation = _grant(transaction, plan, now)
                transaction.save_allocation(allocation)
                transaction.insert_container(_row(plan, allocation, now))
                transaction.append_event(event)

            await self._store.write(decide)
        if plan.limits != ResourceLimits():
            await self._set_limits(plan)
        return await self._engine.get_container(plan.details.id)

    async def _set_limits(self, plan: _Plan) -> None:
        try:
            await self._engine.update_container(plan.details.id, plan.limits)
        except Ds01Error as refusal:
            name = plan.owner.name
            raise ConflictError(
                f"{name} is adopted, but its limits could not be set: {refusal.message}",
                hint=f"Stop it and set them: `ds01 stop {name}` and `ds01 container adopt {name}` again.",
            ) from refusal


def limits_to_set(have: ResourceLimits, allowed: ResourceLimits) -> ResourceLimits:
    """Return the limits that adoption sets: the policy's, unless the container has lower ones. 0: leave it.

    Args:
        have: Limits of the container; 0 is unlimited.
        allowed: Limits of its owner; 0 is unlimited.
    """
    memory, swap = _lower(have.memory_bytes, allowed.memory_bytes), allowed.memory_swap_bytes
    if not memory and swap and (not have.memory_swap_bytes or have.memory_swap_bytes > swap):
        memory = have.memory_bytes  # the engine takes swap only together with memory
    if swap and have.memory_swap_bytes:
        swap = min(swap, have.memory_swap_bytes)
    return ResourceLimits(
        nano_cpus=_lower(have.nano_cpus, allowed.nano_cpus),
        memory_bytes=memory,
        memory_swap_bytes=max(swap, memory) if memory and swap else 0,
        pids_limit=_lower(have.pids_limit, allowed.pids_limit),
    )


def _lower(have: int, allowed: int) -> int:
    return allowed if allowed and (not have or have > allowed) else 0


def _without_limits(plan: _Plan) -> _Plan:
    return _Plan(plan.details, plan.owner, plan.observation, plan.uuids, ResourceLimits())


def _row_of(transaction: StoreTransaction, details: ContainerDetails) -> ContainerRow | None:
    return next((row for row in transaction.list_containers() if row.engine_id == details.id), None)


def _grant(transaction: StoreTransaction, plan: _Plan, now: datetime) -> Allocation:
    """The grant of a container that runs; of one that does not it is released: it is granted anew at its start."""
    owner, runs = plan.owner, plan.details.state.has_processes
    if transaction.find_container(owner.uid, owner.name) is not None:
        raise name_taken(owner.name)
    if runs:
        require_free(owner.name, plan.uuids, transaction.list_allocations(), plan.observation)
    weights = {gpu.uuid: gpu.equivalents for gpu in all_gpus(plan.observation.inventory)}
    return Allocation(
        id=secrets.token_hex(8),
        uid=owner.uid,
        container_name=owner.name,
        request=GpuRequest(count=len(plan.uuids)),
        gpu_uuids=plan.uuids,
        gpu_equivalents=sum(weights.get(uuid, 1.0) for uuid in plan.uuids),
        state=AllocationState.ACTIVE if runs else AllocationState.RELEASED,
        claimed_at=now,
        changed_at=now,
    )


def _row(plan: _Plan, allocation: Allocation, now: datetime) -> ContainerRow:
    details = plan.details
    private = private_image_of(details.name, details.image, details.labels)
    # only a private tag may stand here: it goes with the row
    image = private if private is not None and is_private_tag(private) else details.image_id
    nonce = details.labels.get(label.NONCE) or secrets.token_hex(16)
    return ContainerRow(plan.owner.uid, plan.owner.name, nonce, details.id, allocation.id, image, now)


def _takeover(plan: _Plan, details: ContainerDetails, *, was_managed: bool) -> Takeover:
    known = tuple(gpu for gpu in all_gpus(plan.observation.inventory) if gpu.uuid in plan.uuids)
    missing = sorted(set(plan.uuids) - {gpu.uuid for gpu in known})
    return Takeover(
        details=details,
        name=plan.owner.name,
        origin=origin_of(details.labels, details.name),
        devices=(*known, *missing),
        limits=plan.limits,
        was_managed=was_managed,
        warnings=tuple(_warnings(details)),
    )


def _warnings(details: ContainerDetails) -> list[str]:
    """What only a new container can change."""
    found: list[str] = []
    if details.attachment.is_privileged:
        found.append(
            "It is privileged: it can reach every device of the machine, whatever it was granted. A new container of "
            "`ds01 create` with the same workspace reaches its own only."
        )
    if not details.limits.cgroup_parent:
        found.append("Its shared memory, network and cgroup stay as they were made.")
    return found
