"""Creating a container, as one transaction over accounts, store and engine.

validate -> claim -> pull -> create -> put the user inside -> verify -> activate. A failure or an interruption at any
place takes back what was done; a crash is repaired by reconcile: the claim is durable before the engine is asked.
A request that waited has its claim already when its creation begins: it takes the same way from there.
"""

from dataclasses import dataclass, replace

from ds01.domain import label
from ds01.domain.allocation import Allocation
from ds01.domain.containers.account import InnerAccount, plan_account
from ds01.domain.containers.command import docker_create_command
from ds01.domain.containers.container import ContainerDetails, ContainerSpec, differences
from ds01.domain.containers.display import require_display_allowed
from ds01.domain.containers.seal import seal
from ds01.domain.devices.placement import Placement
from ds01.domain.images.image import digest_of, private_tag
from ds01.domain.name import EngineName, parse_container_name
from ds01.domain.request import format_request
from ds01.domain.rules.access import Caller
from ds01.domain.rules.limit import EffectiveLimits, lower_to_request
from ds01.errors import BackendError, ConflictError, QuotaExceededError
from ds01.service.allocations import AllocationService, Claim, ClaimOrder
from ds01.service.completion import complete
from ds01.service.decisions import name_taken
from ds01.service.granting import Granted
from ds01.service.images import USUAL_INSIDE, InnerFiles, drop_private_tag
from ds01.service.inner import Blueprint, build_spec, file_entries, warnings_of
from ds01.service.late_binding import Attachment
from ds01.service.limits import LimitService, cgroup_parent_of
from ds01.service.mounts import MountService, OpenedMounts
from ds01.service.observation import KnownRows, Observation, granted_rows
from ds01.service.order import CreateOrder, require_valid_order
from ds01.service.ports import ImageDetails, Notify, World
from ds01.service.preparation import Marks, Prepared
from ds01.service.presence import Presence
from ds01.service.provision import Provision
from ds01.service.reconcile import Reconciler
from ds01.service.scheduling import Scheduling
from ds01.service.terms import time_limit_of
from ds01.service.tools import ImageSupply
from ds01.service.undo import Undo


@dataclass(frozen=True, slots=True)
class Creation:
    """Outcome of a creation, or of its dry run.

    Attributes:
        details: The container as the engine has it; None for a dry run.
        allocation: Its grant; None for a dry run.
        docker_command: The docker command with the same effect.
        reasons: Why this image and these devices.
        warnings: What the user should know.
    """

    details: ContainerDetails | None
    allocation: Allocation | None
    docker_command: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Work:
    """A creation that is under way: for whom, what, and how it is taken back and told."""

    caller: Caller
    plan: Prepared
    mounts: OpenedMounts
    undo: Undo
    notify: Notify


class CreationService:
    """Creates containers."""

    def __init__(
        self,
        world: World,
        *,
        limits: LimitService,
        allocations: AllocationService,
        scheduling: Scheduling,
        supply: ImageSupply,
        presence: Presence,
        reconciler: Reconciler,
        provision: Provision,
        marks: Marks,
    ) -> None:
        self._engine = world.engine
        self._store = world.store
        self._clock = world.clock
        self._observer = scheduling.observer
        self._limits = limits
        self._allocations = allocations
        self._scheduling = scheduling
        self._images, self._tools = supply.images, supply.tools
        self._mounts = MountService(world.directories)
        self._presence = presence
        self._reconciler = reconciler
        self._instances = provision.instances
        self._late = provision.late_binding
        self._marks = marks

    async def create(self, caller: Caller, order: CreateOrder, notify: Notify) -> Creation:
        """Create a container and return it verified.

        Raises:
            Ds01Error: As the kinds say; everything that was done is undone.
        """
        name = parse_container_name(order.name)
        async with self._presence.working_on(caller.uid, name):
            await self._reconciler.clear_dead_creation(caller.uid, name)
            plan = await self._plan(caller, order)
            return await self._carry_out(caller, plan, notify)

    async def prepare(self, caller: Caller, order: CreateOrder) -> Prepared:
        """Look at an order that is about to wait: what is wrong with it is said now, not when it is granted.

        Raises:
            Ds01Error: As `create`, but for what only waiting can tell.
        """
        await self._reconciler.clear_dead_creation(caller.uid, parse_container_name(order.name))
        plan = await self._plan(caller, order)
        await self._mounts.look(plan.mounts_for(caller.user))
        return plan

    async def require_grantable(self, caller: Caller, plan: Prepared) -> None:
        """Refuse an order whose GPUs are not free now, for somebody who has much to do before it is claimed.

        It reserves nothing: they can be taken meanwhile.

        Raises:
            Ds01Error: As the claim of a creation.
        """
        await self._scheduling.preview(self.claim_order(caller, plan), plan.observation)

    async def create_granted(self, caller: Caller, granted: Granted, notify: Notify) -> Creation:
        """Create the container of a request that got its GPUs. The caller has its nonce in flight.

        A failure or an interruption takes back the grant, and the request: it waits again, or has failed.

        Raises:
            Ds01Error: As the kinds say; everything that was done is undone.
        """
        order, row = CreateOrder.from_text(granted.entry.order), granted.row
        async with self._presence.working_on(row.uid, row.name), Undo() as undo:
            undo.add("release the claim", lambda: self._allocations.give_up(granted, undo.failure), only_if_clean=True)
            plan = await self._plan(caller, order, is_claimed=True)
            if plan.tag != row.image:
                row = await complete(self._allocations.set_image(row, plan.tag))
            mounts = await self._mounts.open(plan.mounts_for(caller.user), undo)
            claim = Claim(granted.allocation, Placement((), granted.reason), row, granted.entry.id)
            return await self._build(_Work(caller, plan, mounts, undo, notify), claim)

    async def dry_run(self, caller: Caller, order: CreateOrder) -> Creation:
        """Say what `create` would do. Changes nothing: no directory, no container to look into the image with."""
        plan = await self._plan(caller, order)
        placement = await self._scheduling.preview(self.claim_order(caller, plan), plan.observation)
        image = await self._engine.find_image(plan.choice.reference)
        inner = (await self._images.find_inside(image) if image is not None else None) or USUAL_INSIDE
        account = self._account(caller, plan, inner)
        mounts = await self._mounts.look(plan.mounts_for(caller.user))
        spec = self._spec(
            caller,
            plan,
            image=image,
            inner=inner,
            account=account,
            mounts=mounts,
            gpu_uuids=tuple(gpu.uuid for gpu in placement.gpus),
        )
        plain = replace(spec, labels={key: value for key, value in spec.labels.items() if value})
        warnings = [f"The image {plan.choice.reference} is not here yet and would be pulled."] if image is None else []
        if len(placement.gpus) < order.request.count:
            warnings.append("Its MIG instance would be made with the grant, so the command does not name it.")
        return Creation(
            None,
            None,
            docker_create_command(plain),
            (plan.choice.reason, placement.reason),
            (*warnings, *mounts.warnings),
        )

    async def _plan(self, caller: Caller, order: CreateOrder, *, is_claimed: bool = False) -> Prepared:
        name = EngineName(parse_container_name(order.name), caller.uid)
        require_valid_order(order)
        info = await self._limits.engine_info(self._engine)
        limits = lower_to_request(self._limits.effective(caller.user, info), order.wishes)
        if order.shares_display:
            require_display_allowed(limits)
        parent = cgroup_parent_of(caller.user, info)
        if order.cgroup_parent is not None and order.cgroup_parent != parent:
            raise QuotaExceededError(
                f"The cgroup parent {order.cgroup_parent!r} is not yours; it is {parent!r}.",
                hint="Leave --cgroup-parent out.",
            )
        rows, granted = await self._store.read(
            lambda transaction: (transaction.list_containers(), granted_rows(transaction))
        )
        if not is_claimed and any(row.uid == caller.uid and row.name == name.name for row in rows):
            raise name_taken(name.name)
        observation, are_devices_known = await self._observe(order, granted)
        if any(container.name == str(name) for container in observation.containers):
            raise name_taken(name.name)
        choice = await self._images.choose(order.image, observation.inventory, user=caller.user)
        if not are_devices_known and not choice.is_custom:
            choice = replace(choice, reason="the GPUs are unknown and none is asked for, so any CUDA image")
        return Prepared(
            order=order,
            name=name,
            info=info,
            limits=limits,
            observation=observation,
            choice=choice,
            tag=private_tag(choice.reference, name),
            cgroup_parent=parent,
            time_limit=time_limit_of(order, limits),
        )

    async def _observe(self, order: CreateOrder, granted: KnownRows) -> tuple[Observation, bool]:
        """Devices that cannot be read block grants; who asks for none needs none. Also tells whether they are known."""
        try:
            return await self._observer.observe(granted), True
        except BackendError:
            if order.request.count:
                raise
            return await self._observer.observe_containers(), False

    def claim_order(self, caller: Caller, plan: Prepared) -> ClaimOrder:
        """Return what is to be granted for an order that was looked at."""
        return ClaimOrder(
            uid=caller.uid,
            name=plan.name.name,
            request=plan.order.request,
            limits=plan.limits,
            image=plan.tag,
            spec=plan.order.to_text(),
            time_limit=plan.time_limit,
            not_before=plan.order.not_before,
            reservation=plan.order.reservation,
            is_exclusive=plan.order.is_exclusive,
        )

    async def _carry_out(self, caller: Caller, plan: Prepared, notify: Notify) -> Creation:
        order = self.claim_order(caller, plan)
        with self._presence.in_flight(order.nonce):
            async with Undo() as undo:
                mounts = await self._mounts.open(plan.mounts_for(caller.user), undo)
                undo.add("release the claim", lambda: self._allocations.abandon(order, undo.reason), only_if_clean=True)
                claim = await complete(self._scheduling.claim(order, plan.observation))
                return await self._build(_Work(caller, plan, mounts, undo, notify), claim)

    async def _build(self, work: _Work, claim: Claim) -> Creation:
        """Make the container of a claim. Devices that have to be made for the grant are made first of all."""
        caller, plan, mounts = work.caller, work.plan, work.mounts
        claim = await self._with_instances(claim, work.undo)
        image = await self._images.provide(plan.choice, work.notify)
        digest = digest_of(image, plan.choice.reference)
        await work.notify({"kind": "step", "message": f"Creating {plan.name.name} from {plan.choice.reference}"})
        equipped = await self._tools.equip(image, await self._images.look_inside(image), work.notify)
        image, inner = equipped.image, equipped.inner
        account = self._account(caller, plan, inner)
        attachment = await self._attach(claim, work.undo)
        spec = self._spec(
            caller,
            replace(plan, limits=await self._with_ulimits(caller, plan, image, inner)),
            image=image,
            inner=inner,
            account=account,
            mounts=mounts,
            gpu_uuids=claim.allocation.gpu_uuids,
            claim=claim,
            cdi_device=attachment.cdi_device,
        )
        container = await self._create_on_engine(image.id, spec, work.undo)
        await self._engine.put_files(container, file_entries(account))
        details = await self._verify(container, spec)
        allocation = await complete(
            self._allocations.activate(
                claim, container, image=plan.choice.reference, digest=digest, actor_uid=caller.uid
            )
        )
        reasons = (plan.choice.reason, claim.placement.reason)
        warnings = (*warnings_of(equipped, account, mounts), *filter(None, [attachment.warning]))
        return Creation(details, allocation, docker_create_command(spec), reasons, warnings)

    async def _with_instances(self, claim: Claim, undo: Undo) -> Claim:
        """Make the MIG instances of a grant that names places on a card; other grants have their devices."""
        if not claim.allocation.slices:
            return claim
        undo.add("destroy its MIG instances", lambda: self._instances.unmake(claim.allocation))
        return replace(claim, allocation=await complete(self._instances.make(claim.allocation)))

    async def _attach(self, claim: Claim, undo: Undo) -> Attachment:
        """Where GPUs are bound late it is tried now: whoever creates a container hears of it if it cannot be done."""
        attachment = await self._late.choose(claim.allocation)
        name = attachment.cdi_device
        if name:
            undo.add("remove its CDI spec", lambda: self._late.unbind(name))
            await complete(self._late.bind(name, claim.allocation))
        return attachment

    async def _with_ulimits(
        self, caller: Caller, plan: Prepared, image: ImageDetails, inner: InnerFiles
    ) -> EffectiveLimits:
        if inner.has_shell:
            await self._limits.learn_ulimits(image.id, dict(plan.limits.values.ulimits))
        return lower_to_request(self._limits.effective(caller.user, plan.info), plan.order.wishes)

    def _account(self, caller: Caller, plan: Prepared, inner: InnerFiles) -> InnerAccount:
        return plan_account(caller.user, inner.accounts, sudo=plan.limits.values.sudo, container_name=plan.name.name)

    def _spec(
        self,
        caller: Caller,
        plan: Prepared,
        *,
        image: ImageDetails | None,
        inner: InnerFiles,
        account: InnerAccount,
        mounts: OpenedMounts,
        gpu_uuids: tuple[str, ...],
        claim: Claim | None = None,
        cdi_device: str = "",
    ) -> ContainerSpec:
        request = format_request(plan.order.request)
        allocation_id = claim.allocation.id if claim else ""
        return build_spec(
            Blueprint(
                order=plan.order,
                user=caller.user,
                engine_name=plan.name,
                choice=plan.choice,
                image=image,
                tag=plan.tag,
                account=account,
                has_shell=inner.has_shell,
                limits=plan.limits,
                cgroup_parent=plan.cgroup_parent,
                mounts=mounts,
                gpu_uuids=gpu_uuids,
                allocation_id=allocation_id,
                nonce=claim.row.nonce if claim else "",
                seal=seal(self._marks.seal_key, caller.uid, allocation_id, request) if claim else "",
                created_at=self._clock.now(),
                timezone=self._marks.timezone,
                cdi_device=cdi_device,
            )
        )

    async def _create_on_engine(self, image_id: str, spec: ContainerSpec, undo: Undo) -> str:
        undo.add("remove the private tag", lambda: drop_private_tag(self._engine, spec.image))
        await self._engine.tag_image(image_id, spec.image)
        # the engine may have made it although its answer never came: it is taken back by name, if the nonce is ours
        undo.add("remove the container", lambda: self._remove_ours(spec))
        try:
            # broken off in the middle, the engine would make it after the undoing had looked for it
            return await complete(self._engine.create_container(spec))
        except ConflictError as taken:
            raise name_taken(spec.engine_name.name) from taken

    async def _remove_ours(self, spec: ContainerSpec) -> None:
        found = await self._engine.find_container(str(spec.engine_name))
        if found is not None and found.labels.get(label.NONCE) == spec.labels[label.NONCE]:
            await self._engine.remove_container(found.id, force=True)

    async def _verify(self, container: str, spec: ContainerSpec) -> ContainerDetails:
        details = await self._engine.get_container(container)
        found = differences(spec, details)
        if found:
            raise BackendError(
                f"The engine did not make {spec.engine_name.name} as asked: {'; '.join(found)}.",
                hint="Tell your administrator: the engine cannot enforce a limit of the policy.",
                details={"differences": found},
            )
        return details
