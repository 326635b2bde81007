"""Containers: list, create, inspect, start, stop, remove, release."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from aiohttp import web

from ds01.api import schema
from ds01.daemon import documents
from ds01.daemon.call import Call
from ds01.daemon.documents import SCHEMA
from ds01.daemon.handlers.queue import Waiters
from ds01.daemon.handlers.waiting import WaitingHandlers, placed, wait_of, with_terms, would_wait
from ds01.daemon.identity import Identities
from ds01.daemon.server import Handler
from ds01.daemon.stream_answer import LINES
from ds01.domain.allocation import Allocation
from ds01.domain.containers.container import ContainerDetails, PublishedPort
from ds01.domain.devices.gpu import Gpu, all_gpus
from ds01.domain.request import GpuRequest
from ds01.errors import BackendError, ConflictError, InvalidRequestError, NoCapacityError, QuotaExceededError
from ds01.service.containers import ContainerService, ContainerView
from ds01.service.creation import Creation, CreationService
from ds01.service.images import ImageOrder
from ds01.service.order import CreateOrder
from ds01.service.ports import Devices, Notify
from ds01.service.power import PowerService
from ds01.service.removal import RemovalService


class ContainerHandlers:
    """Answers for containers."""

    def __init__(
        self,
        containers: ContainerService,
        creation: CreationService,
        power: PowerService,
        removal: RemovalService,
        devices: Devices,
        identities: Identities,
        *,
        waiting: WaitingHandlers,
        waiters: Waiters,
        is_personal: bool,
    ) -> None:
        self._containers = containers
        self._creation = creation
        self._power = power
        self._removal = removal
        self._devices = devices
        self._identities = identities
        self._waiting = waiting
        self._waiters = waiters
        self._is_personal = is_personal

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {
            "list_containers": self.list_containers,
            "create_container": self.create_container,
            "get_container": self.get_container,
            "start_container": self.start_container,
            "restart_container": self.restart_container,
            "stop_container": self.stop_container,
            "remove_container": self.remove_container,
            "release_gpus": self.release_gpus,
        }

    async def list_containers(self, call: Call) -> schema.ContainerList:
        """Mine; with `all` everything that the caller may see."""
        uid = call.uid
        views = await self._containers.list_views()
        if not (call.flag("all") and (self._is_personal or call.caller.is_admin)):
            views = [view for view in views if view.uid == uid]
        attached = await self._containers.devices_without_grant(views)
        gpus = await self._gpus_by_uuid(views, attached)
        names = documents.Names(await self._identities.names(view.uid for view in views))
        found = [
            documents.container_document(view, attached.get(view.summary.id, ()), gpus or {}, names) for view in views
        ]
        for document in found:
            gone = [gpu["uuid"] for gpu in document["gpus"] if gpu["kind"] == "unknown"] if gpus is not None else []
            if gone and document["allocation_state"] not in {None, "released"}:
                document["gpu_doubt"] = f"{', '.join(gone)} is not on the machine any more"
        answer = schema.ContainerList(schema_version=SCHEMA, containers=found)
        waiting, _ = await self._waiters.list_(call, uid)
        if waiting:
            answer["waiting"] = waiting
        return answer

    async def _gpus_by_uuid(
        self, views: list[ContainerView], attached: Mapping[str, tuple[str, ...]]
    ) -> Mapping[str, Gpu] | None:
        """The devices; None: unknown. A list of containers is worth having without their names."""
        if not attached and not any(view.allocation and view.allocation.gpu_uuids for view in views):
            return {}
        try:
            return {gpu.uuid: gpu for gpu in all_gpus(await self._devices.read_inventory())}
        except BackendError:
            return None

    async def create_container(self, call: Call) -> schema.CreatedContainer | web.StreamResponse:
        """Create; with `Accept: application/x-ndjson` as a stream of progress."""
        body = call.document(schema.CreateContainerBody)
        order, wait = with_terms(order_of(body), body), wait_of(body)
        is_streaming = LINES in call.request.headers.get("Accept", "")
        if body.get("dry_run", False):
            return await self._plan(call, order, may_wait=body.get("wait", False))
        if body.get("wait", False):
            return await self._create_waiting(call, order, wait, is_streaming=is_streaming)
        if is_streaming:
            return await self._create_streaming(call, order)
        return await self.created_with_devices(call, await self._create(call, order, _ignore))

    async def _plan(self, call: Call, order: CreateOrder, *, may_wait: bool) -> schema.CreatedContainer:
        try:
            return self._created(call, await self._creation.dry_run(call.caller, order), ())
        except NoCapacityError as refusal:
            await self._waiting.explain_refusal(call, order, refusal)
            if not may_wait:
                raise
            return would_wait(refusal)

    async def _create_waiting(
        self, call: Call, order: CreateOrder, wait: timedelta | None, *, is_streaming: bool
    ) -> schema.CreatedContainer | web.StreamResponse:
        entry = await self._waiting.place(call, order, wait)
        if not is_streaming:
            return placed(await self._waiting.request(call, entry))

        async def finish(creation: Creation | None) -> Mapping[str, object]:
            if creation is None:  # it was made before this daemon was started
                details = await self._containers.get_details(call.caller.uid, order.name)
                creation = Creation(details, await self._allocation_of(details), "", (), ())
            return {"kind": "result", "result": await self.created_with_devices(call, creation)}

        return await self._waiting.watch(call, entry, finish)

    async def _allocation_of(self, details: ContainerDetails) -> Allocation | None:
        return (await self._containers.find_grant(details))[1]

    async def _create(self, call: Call, order: CreateOrder, notify: Notify) -> Creation:
        """Create without waiting; a refusal that waiting would end says what would come of it."""
        try:
            return await self._creation.create(call.caller, order, notify)
        except NoCapacityError as refusal:
            await self._waiting.explain_refusal(call, order, refusal)
            raise

    async def _create_streaming(self, call: Call, order: CreateOrder) -> web.StreamResponse:
        stream = await call.begin_stream(LINES)
        creation = await self._create(call, order, stream.send)
        await stream.send({"kind": "result", "result": await self.created_with_devices(call, creation)})
        return await stream.end()

    async def created_with_devices(self, call: Call, creation: Creation) -> schema.CreatedContainer:
        """Return the document of what was created."""
        devices = await self._containers.devices_of(creation.details) if creation.details else ()
        return self._created(call, creation, devices)

    def _created(self, call: Call, creation: Creation, devices: tuple[Gpu | str, ...]) -> schema.CreatedContainer:
        document = schema.CreatedContainer(
            schema_version=SCHEMA,
            dry_run=creation.details is None,
            docker_command=creation.docker_command,
            reasons=list(creation.reasons),
            warnings=list(creation.warnings),
        )
        if creation.details is not None:
            user = call.caller.user
            document["container"] = documents.details_document(
                creation.details,
                uid=user.uid,
                owner=user.name,
                allocation=creation.allocation,
                is_managed=True,
                devices=devices,
            )
        return document

    async def get_container(self, call: Call) -> schema.ContainerDetailsDocument:
        """One container."""
        details = await self._containers.get_details(call.uid, call.name)
        document = await self._details(call, details)
        if call.flag("inspect"):
            document["inspect"] = dict(details.raw)
        doubt = "" if document["managed"] else await self._containers.find_doubt(details)
        if doubt:
            document["owner_doubt"] = doubt
        return document

    async def _details(self, call: Call, details: ContainerDetails) -> schema.ContainerDetailsDocument:
        row, allocation = await self._containers.find_grant(details)
        return documents.details_document(
            details,
            uid=call.uid,
            owner=await self._identities.name(call.uid),
            allocation=allocation,
            is_managed=row is not None,
            devices=await self._containers.devices_of(details),
        )

    async def start_container(self, call: Call) -> schema.StartedContainer | web.StreamResponse:
        """Start; one that may wait for its GPUs keeps a place in the queue."""
        body = call.document(schema.StartContainerBody)
        wait, is_streaming = wait_of(body), LINES in call.request.headers.get("Accept", "")
        if body.get("dry_run", False):
            return await self._plan_start(call)
        entry = None
        try:
            started = await self._power.start(call.caller, call.uid, call.name)
        except (NoCapacityError, QuotaExceededError):
            if not body.get("wait", False):
                raise
            entry = await self._waiting.place_start(call, wait)
        if entry is None:
            document = self._started(await self._details(call, started.details), started.warnings)
            document["was_running"] = started.was_running
        elif is_streaming:
            return await self._waiting.watch(call, entry, lambda _: self._start_message(call))
        else:
            document = self._started(
                await self._details(call, await self._containers.get_details(call.uid, call.name)), ()
            )
            document["request"] = await self._waiting.request(call, entry)
        return await self._start_stream(call, document) if is_streaming else document

    def _started(self, details: schema.ContainerDetailsDocument, warnings: Sequence[str]) -> schema.StartedContainer:
        return schema.StartedContainer(
            schema_version=SCHEMA, container=details, was_running=False, warnings=list(warnings)
        )

    async def _start_message(self, call: Call) -> Mapping[str, object]:
        details = await self._containers.get_details(call.uid, call.name)
        return {"kind": "result", "started": self._started(await self._details(call, details), ())}

    async def _start_stream(self, call: Call, document: schema.StartedContainer) -> web.StreamResponse:
        stream = await call.begin_stream(LINES)
        await stream.send({"kind": "result", "started": document})
        return await stream.end()

    async def _plan_start(self, call: Call) -> schema.StartedContainer:
        planned = await self._power.plan_start(call.caller, call.uid, call.name)
        document = self._started(await self._details(call, planned.details), ())
        document["was_running"] = planned.was_running
        document["dry_run"] = True
        document["docker_command"] = f"docker start {planned.details.name}"
        return document

    async def restart_container(self, call: Call) -> schema.RestartedContainer:
        """Stop and start, or say how."""
        body = call.document(schema.StopContainerBody)
        grace = grace_of(body)
        is_dry = body.get("dry_run", False)
        if is_dry:
            restarted = await self._power.plan_start(call.caller, call.uid, call.name, is_restart=True)
        else:
            restarted = await self._power.restart(call.caller, call.uid, call.name, grace)
        words = f" --time {grace.total_seconds():.0f}" if grace is not None else ""
        return schema.RestartedContainer(
            schema_version=SCHEMA,
            container=await self._details(call, restarted.details),
            was_running=restarted.was_running,
            dry_run=is_dry,
            docker_command=f"docker restart{words} {restarted.details.name}",
            warnings=list(restarted.warnings),
        )

    async def stop_container(self, call: Call) -> schema.StoppedContainer:
        """Stop, or say how."""
        body = call.document(schema.StopContainerBody)
        grace = grace_of(body)
        if body.get("dry_run", False):
            details = await self._containers.get_details(call.uid, call.name)
            was_running = details.state.has_processes
        else:
            stopped = await self._power.stop(call.caller, call.uid, call.name, grace)
            details, was_running = stopped.details, stopped.was_running
        words = f" --time {grace.total_seconds():.0f}" if grace is not None else ""
        return schema.StoppedContainer(
            schema_version=SCHEMA,
            container=await self._details(call, details),
            was_running=was_running,
            dry_run=body.get("dry_run", False),
            docker_command=f"docker stop{words} {details.name}",
        )

    async def remove_container(self, call: Call) -> schema.RemovedContainer:
        """Remove, or say how."""
        force = call.flag("force")
        released: tuple[str, ...] = ()
        if call.flag("dry_run"):
            details = await self._containers.get_details(call.uid, call.name)
            if details.state.has_processes and not force:
                raise ConflictError(f"{call.name} is {details.state}.", hint="Stop it first, or use --force.")
            _, allocation = await self._containers.find_grant(details)
            released = allocation.gpu_uuids if allocation and allocation.is_holding else ()
        else:
            removed = await self._removal.remove(call.caller, call.uid, call.name, force=force)
            details, released = removed.details, removed.released
        workspace = next((mount.source for mount in details.mounts if mount.target == "/workspace"), None)
        return schema.RemovedContainer(
            schema_version=SCHEMA,
            name=call.name,
            workspace=workspace,
            gpus_released=list(released),
            dry_run=call.flag("dry_run"),
            docker_command=f"docker rm{' --force' if force else ''} --volumes {details.name}",
        )

    async def release_gpus(self, call: Call) -> schema.ReleasedGpus:
        """Give back the GPUs of a stopped container."""
        released = await self._removal.release(call.caller, call.uid, call.name)
        return schema.ReleasedGpus(schema_version=SCHEMA, name=call.name, gpus_released=list(released))


async def _ignore(_message: Mapping[str, object]) -> None:
    """Nobody asked for progress."""


def grace_of(body: schema.StopContainerBody) -> timedelta | None:
    """Return how long programs may take to end; None: what the policy says.

    Raises:
        InvalidRequestError: Longer than an hour, or less than nothing.
    """
    grace_s = body.get("grace_s")
    if grace_s is not None and not 0 <= grace_s <= 3600:
        raise InvalidRequestError("The grace is 0 seconds to 1 hour.", hint="Use --time 30s.")
    return None if grace_s is None else timedelta(seconds=grace_s)


def order_of(body: schema.CreateContainerBody) -> CreateOrder:
    """Return the order that a document says."""
    gpu = body.get("gpu", {})
    return CreateOrder(
        name=body["name"],
        image=ImageOrder(body.get("framework"), body.get("version"), body.get("image"), body.get("architecture")),
        request=GpuRequest(gpu.get("count", 1), gpu.get("kind", "any").strip().lower(), gpu.get("memory_bytes")),
        workspace=body.get("workspace"),
        data=body.get("data"),
        models=body.get("models"),
        wishes={
            "max_cpus": body.get("cpus"),
            "memory": body.get("memory_bytes"),
            "memory_swap": body.get("memory_swap_bytes"),
            "shm_size": body.get("shm_size_bytes"),
            "pids_limit": body.get("pids_limit"),
        },
        cgroup_parent=body.get("cgroup_parent"),
        environment=body.get("environment", {}),
        ports=tuple(
            PublishedPort(port["container_port"], port.get("host_port", 0), port.get("protocol", "tcp"))
            for port in body.get("ports", [])
        ),
        interface=body.get("interface", "api"),
        shares_display=body.get("x11", False),
    )
