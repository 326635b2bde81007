"""A container is made again from a newer image: same name, folders, options, limits and grant.

What was written in it outside of its mounted folders goes with the old one, so people are told before. It takes the
place of the old one as a move does (`service.succession`); one that runs is stopped for it only where that was asked
for, keeps its devices meanwhile, and runs again afterwards, whichever of the two stays.
"""

import secrets
from dataclasses import dataclass, replace

from ds01.domain import label
from ds01.domain.containers.account import InnerAccount, plan_account
from ds01.domain.containers.container import ContainerDetails, ContainerSpec, ContainerState
from ds01.domain.containers.tools import BASE_LABEL
from ds01.domain.devices.gpu import Inventory
from ds01.domain.images.image import renewed_tag
from ds01.domain.name import EngineName
from ds01.domain.rules.access import Caller
from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.user import User
from ds01.errors import ConflictError, InvalidRequestError, NotFoundError
from ds01.service.allocations import present_grant
from ds01.service.completion import complete
from ds01.service.granting import event_of
from ds01.service.images import ImageChoice, ImageOrder
from ds01.service.inner import Blueprint, build_spec, file_entries
from ds01.service.limits import LimitService
from ds01.service.mounts import DATA_TARGET, MODELS_TARGET, WORKSPACE_TARGET, OpenedMounts
from ds01.service.move_repair import Move, helper_name, note_move
from ds01.service.order import CreateOrder
from ds01.service.ports import ImageDetails, Notify, StoreTransaction, World
from ds01.service.stopping import Stopper
from ds01.service.succession import Predecessor, Succession
from ds01.service.tools import Equipped, ImageSupply
from ds01.service.undo import Undo


@dataclass(frozen=True, slots=True)
class Recreated:
    """Outcome of a re-creation, or of its dry run.

    Attributes:
        details: The container; as it was for a dry run, and where it was current.
        image: Reference of the image.
        is_current: It was made from this very image already, so nothing was done.
        was_running: It ran, and runs again.
        size_bytes: What it had written outside of its mounts, which is gone.
        warnings: What the user should know.
    """

    details: ContainerDetails
    image: str
    is_current: bool
    was_running: bool
    size_bytes: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecreationOrder:
    """What to make again.

    Attributes:
        image: Image as its owner types it; None: the own image that the container was made from.
        stops: One that runs is stopped and started again.
    """

    image: str | None = None
    stops: bool = False


@dataclass(frozen=True, slots=True)
class _Job:
    """A re-creation that is about to begin: for whom, what, from which image."""

    caller: Caller
    found: Predecessor
    order: CreateOrder
    owner: User
    limits: EffectiveLimits
    choice: ImageChoice
    image: ImageDetails
    is_current: bool
    size_bytes: int

    @property
    def name(self) -> EngineName:
        """The container's name."""
        return EngineName(self.found.row.name, self.found.row.uid)

    @property
    def was_running(self) -> bool:
        """It has processes."""
        return self.found.details.state.has_processes

    def outcome(self, details: ContainerDetails, warnings: tuple[str, ...] = ()) -> Recreated:
        """Return what is told."""
        return Recreated(details, self.choice.reference, self.is_current, self.was_running, self.size_bytes, warnings)


class RecreationService:
    """Makes containers again from newer images."""

    def __init__(
        self,
        world: World,
        *,
        succession: Succession,
        supply: ImageSupply,
        limits: LimitService,
        timezone: str,
    ) -> None:
        self._engine = world.engine
        self._store = world.store
        self._clock = world.clock
        self._succession = succession
        self._images, self._tools = supply.images, supply.tools
        self._limits = limits
        self._stopper = Stopper(world.engine, world.clock)
        self._timezone = timezone

    async def plan(self, caller: Caller, uid: int, name: str, order: RecreationOrder) -> Recreated:
        """Say what `recreate` would do, also for one that would have to be stopped.

        Raises:
            Ds01Error: As `recreate`.
        """
        job = await self._look(caller, await self._succession.find(uid, name), order)
        return job.outcome(job.found.details)

    async def recreate(self, caller: Caller, uid: int, name: str, order: RecreationOrder, notify: Notify) -> Recreated:
        """Make a container again from an image that the engine has.

        Raises:
            NotFoundError: The user has no such container, or no such image.
            ConflictError: It runs and is not to be stopped, or DS01 does not know well enough what it was made with.
            BackendError: It could not be made; the old container is as it was.
        """
        async with self._succession.of(uid, name) as found:
            if not (order.stops and found.details.state is ContainerState.RUNNING):
                found.require_stopped()
            job = await self._look(caller, found, order)
            if job.is_current:
                return job.outcome(found.details)
            return await self._carry_out(job, notify)

    async def _look(self, caller: Caller, found: Predecessor, order: RecreationOrder) -> _Job:
        name = found.row.name
        wanted = order.image or found.details.labels.get(label.CUSTOM_IMAGE, "")
        if not wanted:
            raise InvalidRequestError(
                f"{name} was not made from an image of your own.",
                hint="Say from which one it shall be made: --image IMAGE; `ds01 image list` shows yours.",
            )
        owner = await self._limits.existing(found.row.uid)
        choice = await self._images.choose(ImageOrder(image=wanted), Inventory(), user=owner)
        image = await self._engine.find_image(choice.reference)
        if image is None:
            raise NotFoundError(f"There is no image {wanted[:80]!r} here.", hint=f"Build it: ds01 image build {wanted}")
        return _Job(
            caller,
            found,
            _order_of(found, choice),
            owner,
            await self._limits.owner_limits(owner.uid),
            choice,
            image,
            await self._base_of(found.details) == image.id,
            await self._engine.measure_container(found.details.id),
        )

    async def _base_of(self, details: ContainerDetails) -> str:
        """Return the id of the image that a container was made from, without the sudo and git that we added."""
        own = await self._engine.find_image(details.image_id)
        return own.labels.get(BASE_LABEL, own.id) if own is not None else details.image_id

    async def _carry_out(self, job: _Job, notify: Notify) -> Recreated:
        row, old = job.found.row, job.found.details
        tag = renewed_tag(job.choice.reference, job.name, secrets.token_hex(4))
        move = Move(row.nonce, old.id, row.image, row.allocation_id, str(helper_name(row.uid)), tag)
        equipped = await self._tools.equip(job.image, await self._images.look_inside(job.image), notify)
        warnings = [equipped.warning] if equipped.warning else []
        async with Undo() as undo:
            if job.was_running:  # the oldest step: it is done when nothing is left of the new one
                undo.add("start it again", lambda: self._engine.start_container(old.id))
            undo.add("take it back", lambda: self._succession.repair.settle(row.nonce, undo.reason))
            await complete(self._store.write(lambda transaction: note_move(transaction, move)))
            await complete(self._engine.tag_image(equipped.image.id, tag))
            await notify({"kind": "step", "message": f"Making {row.name} again from {job.choice.reference}"})
            made, more = await self._make(job, move, equipped, notify)
            await complete(self._take_over(job, move, made))
        after, later = await complete(self._succession.tidy(row.nonce, made))
        return job.outcome(after, (*warnings, *more, *later))

    async def _make(
        self, job: _Job, move: Move, equipped: Equipped, notify: Notify
    ) -> tuple[ContainerDetails, list[str]]:
        """Make the new container, and start it if the old one ran; until then the old one is not touched."""
        old, name = job.found.details, job.found.row.name
        account = plan_account(job.owner, equipped.inner.accounts, sudo=job.limits.values.sudo, container_name=name)
        spec = _spec_of(job, move, self._blueprint(job, move, equipped, account))
        container = await self._succession.make(spec, name)
        await self._engine.put_files(container, file_entries(account))
        if not job.was_running:
            await self._succession.require_untouched(old, name)
            return await self._engine.get_container(container), []
        await notify({"kind": "step", "message": f"Stopping {name}"})
        await complete(self._stopper.stop(old, self._limits.stop_grace_of(old.labels, old.name)))
        await self._succession.require_untouched(old, name)
        await notify({"kind": "step", "message": f"Starting {name} again"})
        return await self._succession.start(container, name, job.found.allocation, spec.cdi_device)

    def _blueprint(self, job: _Job, move: Move, equipped: Equipped, account: InnerAccount) -> Blueprint:
        row, old = job.found.row, job.found.details
        sources = {mount.target: mount.source for mount in old.mounts}
        return Blueprint(
            order=job.order,
            user=job.owner,
            engine_name=job.name,
            choice=job.choice,
            image=equipped.image,
            tag=move.new_image,
            account=account,
            has_shell=equipped.inner.has_shell,
            limits=job.limits,
            cgroup_parent=old.limits.cgroup_parent,
            mounts=OpenedMounts(
                old.mounts, sources.get(WORKSPACE_TARGET, ""), sources.get(DATA_TARGET), sources.get(MODELS_TARGET)
            ),
            gpu_uuids=_devices_of(old),
            cdi_device=old.attachment.managed_device or "",  # it stands for the same grant
            # the seal is over the grant of its creation, which a later start may have exchanged for another
            allocation_id=old.labels.get(label.ALLOCATION, row.allocation_id),
            nonce=row.nonce,
            seal=old.labels.get(label.SEAL, ""),
            created_at=self._clock.now(),
            timezone=self._timezone,
        )

    async def _take_over(self, job: _Job, move: Move, made: ContainerDetails) -> None:
        """The moment of the re-creation: from here on the new container is the user's."""
        now, row = self._clock.now(), job.found.row

        def decide(transaction: StoreTransaction) -> None:
            present, current = present_grant(transaction, row)
            if present is None or current is None or present.engine_id != move.old_id:
                raise ConflictError(f"{row.name} was changed while it was made again.", hint="`ds01 list`")
            transaction.save_container(
                replace(present, engine_id=made.id, image=move.new_image, spec=job.order.to_text())
            )
            transaction.append_event(event_of("container.recreated", current, now, _facts(job), job.caller.uid))

        await self._store.write(decide)


def _facts(job: _Job) -> dict[str, object]:
    return {"image": job.choice.reference, "size_bytes": job.size_bytes}


def _order_of(found: Predecessor, choice: ImageChoice) -> CreateOrder:
    """Return the order of the container as it was given, with the image that it is made from now."""
    try:
        order = CreateOrder.from_text(found.row.spec)
    except InvalidRequestError as lost:
        raise ConflictError(
            f"What {found.row.name} was ordered with is not known any more.",
            hint="Create a new container with the same workspace: `ds01 create`.",
        ) from lost
    return replace(order, name=found.row.name, image=ImageOrder(image=choice.reference))


def _devices_of(old: ContainerDetails) -> tuple[str, ...]:
    if old.attachment.managed_device is not None:
        return tuple(sorted(old.attachment.bound or ()))
    return tuple(uuid for request in old.attachment.requests for uuid in request.device_ids)


def _spec_of(job: _Job, move: Move, blueprint: Blueprint) -> ContainerSpec:
    """What the image decides comes from the new one; everything else is what the engine has of the old container."""
    old = job.found.details
    name, _, uid = move.new_name.rpartition("._.")
    return replace(
        build_spec(blueprint),
        engine_name=EngineName(name, int(uid)),
        hostname=old.fixed.hostname,
        supplementary_gids=old.fixed.supplementary_gids,
        limits=old.limits,
        network=old.fixed.network,
        ports=old.fixed.ports,
    )
