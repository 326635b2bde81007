"""The machine: status, devices, limits, the API's own description, leaving."""

import os
from collections.abc import Callable

from ds01 import VERSION
from ds01.api import schema
from ds01.api.event_schema import EventsStatus
from ds01.api.openapi import build_openapi
from ds01.daemon import documents
from ds01.daemon.call import Call
from ds01.daemon.documents import SCHEMA
from ds01.daemon.export import EventExport
from ds01.daemon.identity import Identities
from ds01.daemon.policy_document import not_enforced
from ds01.daemon.server import Handler
from ds01.daemon.services import Services
from ds01.daemon.site_files import SiteFiles
from ds01.daemon.viewers import Viewers
from ds01.domain.devices.gpu import GpuState
from ds01.domain.rules.limit import docker_args
from ds01.domain.rules.policy import AGGREGATE_NAMES, QUOTA_NAMES, LimitLayer, aggregate_of, group_of
from ds01.domain.scheduling.queue import QueueState
from ds01.domain.scheduling.quota import count_containers, group_usage_of, usage_of
from ds01.domain.scheduling.reservation_life import policy_reservations
from ds01.errors import BackendError, ForbiddenError
from ds01.service.limits import cgroup_parent_of
from ds01.service.ports import World
from ds01.service.usage import Held

OUT_STATES = frozenset({GpuState.DRAINED, GpuState.UNHEALTHY, GpuState.BUSY_UNMANAGED, GpuState.PENDING})
"""In these a device gets no new grants, whoever asks."""
NOT_ENFORCED_PERSONAL = ["aggregate"]
"""What this mode cannot promise, whatever the policy says."""


class MachineHandlers:
    """Answers for the machine."""

    def __init__(
        self,
        world: World,
        services: Services,
        *,
        identities: Identities,
        viewers: Viewers,
        files: SiteFiles,
        export: EventExport,
        is_personal: bool,
        leave: Callable[[str], None],
    ) -> None:
        self._engine = world.engine
        self._store = world.store
        self._limits = services.limits
        self._containers = services.containers
        self._usage = services.usage
        self._queue = services.queue
        self._room = services.disk_room
        self._identities = identities
        self._viewers = viewers
        self._policy = files.policy
        self._files = files
        self._export = export
        self._started_at = world.clock.now()
        self._is_personal = is_personal
        self._leave = leave

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {
            "get_status": self.get_status,
            "list_gpus": self.list_gpus,
            "get_limits": self.get_limits,
            "get_openapi": self.get_openapi,
            "shut_down": self.shut_down,
        }

    async def get_status(self, call: Call) -> schema.StatusDocument:
        """The machine at a glance; parts that fail say so instead of hiding."""
        engine, total, running = await self._engine_status(call.caller.uid)
        return schema.StatusDocument(
            schema_version=SCHEMA,
            version=VERSION,
            mode="personal" if self._is_personal else "server",
            pid=os.getpid(),
            started_at=self._started_at.isoformat(timespec="seconds"),
            engine=engine,
            devices=await self._devices_status(engine["ok"]),
            policy=schema.PolicyStatus(
                ok=self._policy.problem is None, source=self._policy.current.source, message=self._policy.problem or ""
            ),
            catalogue=schema.CatalogueStatus(
                ok=self._files.image_problem() is None,
                rows=len(self._files.catalogue.current),
                message=self._files.image_problem() or "",
            ),
            events=EventsStatus(
                ok=self._export.problem is None, path=str(self._export.path), message=self._export.problem or ""
            ),
            queue=await self._queue_status(call.caller.uid),
            containers=total,
            containers_running=running,
            usage=_usage_document(call.caller.uid, await self._usage.held()),
        )

    async def _queue_status(self, uid: int) -> schema.QueueStatus:
        waiting, reservations = await self._store.read(
            lambda transaction: (transaction.list_waiting(), transaction.list_reservations())
        )
        waiting = [entry for entry in waiting if entry.state is QueueState.WAITING]
        of_policy = policy_reservations(self._policy.current)
        return schema.QueueStatus(
            waiting=len(waiting),
            yours=sum(1 for entry in waiting if entry.uid == uid),
            reservations=len({item.id for item in [*reservations, *of_policy]}),
        )

    async def _engine_status(self, uid: int) -> tuple[schema.EngineStatus, int | None, int | None]:
        """Also the number of the user's containers, and of those that run; None: unknown."""
        try:
            info = await self._engine.get_info()
            views = [view for view in await self._containers.list_views() if view.uid == uid]
        except BackendError as failure:
            silent = schema.EngineStatus(
                ok=False, message=failure.message, version="", api_version="", storage_driver="", cgroup_driver=""
            )
            return silent, None, None
        status = schema.EngineStatus(
            ok=True,
            message="",
            version=info.version,
            api_version=".".join(map(str, info.api_version)),
            storage_driver=info.storage_driver,
            cgroup_driver=info.cgroup_driver,
            free_bytes=self._room.free_in(info),
        )
        return status, len(views), sum(1 for view in views if view.summary.state.has_processes)

    async def _devices_status(self, engine_answers: bool) -> schema.DevicesStatus:  # noqa: FBT001 - one private caller
        if not engine_answers:
            return schema.DevicesStatus(
                ok=False, message="The engine does not answer, so who holds what is unknown.", gpus=0, free=0
            )
        try:
            _, views = await self._usage.devices()
        except BackendError as failure:
            return schema.DevicesStatus(ok=False, message=failure.message, gpus=0, free=0)
        return schema.DevicesStatus(
            ok=True,
            message="",
            gpus=len(views),
            free=sum(1 for view in views if view.is_free),
            out=[f"GPU {view.gpu.address}: {view.reason}" for view in views if view.state in OUT_STATES],
        )

    async def _group_usage(self, group: str, held: Held) -> schema.GroupUsageDocument:
        owners = {container.uid for container in held.foreign if container.uid is not None}
        owners |= {allocation.uid for allocation in held.allocations if not allocation.group}
        groups = {uid: (await self._limits.owner_limits(uid)).group for uid in owners}
        usage = group_usage_of(group, held.allocations, held.foreign, groups)
        return schema.GroupUsageDocument(gpus=usage.gpus, gpu_equivalents=round(usage.gpu_equivalents, 6))

    async def list_gpus(self, call: Call) -> schema.GpuList:
        """Devices and who holds them."""
        inventory, views = await self._usage.devices()
        viewer = await self._viewers.of(call.caller, (holder.uid for view in views for holder in view.holders))
        return documents.gpu_list(inventory, views, viewer)

    async def get_limits(self, call: Call) -> schema.LimitsDocument:
        """What a user may hold and use."""
        user = await self._identities.user(call.uid)
        info = await self._engine.get_info()
        limits, held = self._limits.effective(user, info), await self._usage.held()
        parent = cgroup_parent_of(user, info)
        policy = self._policy.current
        group = group_of(policy, user)
        aggregate, quota = aggregate_of(policy, user), group.quota if group else LimitLayer()
        document = schema.LimitsDocument(
            schema_version=SCHEMA,
            uid=user.uid,
            user=user.name,
            group=limits.group,
            mode="personal" if self._is_personal else "server",
            limits=documents.limit_values(limits),
            usage=_usage_document(user.uid, held),
            cgroup_parent=parent,
            docker_args=docker_args(limits.values, parent),
            not_enforced=not_enforced(
                policy, limits, aggregate, always=NOT_ENFORCED_PERSONAL if self._is_personal else []
            ),
            aggregate=documents.layer_values(aggregate, AGGREGATE_NAMES),
            group_quota=documents.layer_values(quota, QUOTA_NAMES),
            group_usage=await self._group_usage(limits.group, held),
        )
        outlook = await self._queue.outlook()
        person = outlook.situation.people.get(user.uid) if outlook is not None else None
        if person is not None:
            document["recent_use_s"] = round(person.recent_use_s, 3)
            document["fair_share_half_life_s"] = policy.site.scheduling.fair_share_half_life.total_seconds()
        return document

    async def get_openapi(self, call: Call) -> object:
        """The OpenAPI document."""
        return build_openapi(VERSION)

    async def shut_down(self, call: Call) -> schema.ShutdownDocument:
        """A personal daemon leaves when its user asks."""
        if not self._is_personal and not call.caller.user.is_root:
            raise ForbiddenError("Only root may end this daemon.", hint="Ask your administrator.")
        self._leave("a client asked")
        return schema.ShutdownDocument(schema_version=SCHEMA, message="The daemon leaves; containers go on.")


def _usage_document(uid: int, held: Held) -> schema.UsageDocument:
    usage = usage_of(uid, held.allocations, count_containers(uid, held.owners, held.waiting), held.foreign)
    return schema.UsageDocument(
        gpus=usage.gpus, gpu_equivalents=round(usage.gpu_equivalents, 6), containers=usage.containers
    )
