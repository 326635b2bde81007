"""Cutting cards anew as a file says: look, plan, refuse while somebody is in the way, apply, or go back.

Of each card either all of the new layout comes true or, after a failure, the one before is put back. The intent is
durable before the first step, and from then on nothing of the card is granted; after a crash `recover` puts the layout
before back. Nothing is ever stopped or killed for it.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from ds01.domain.allocation import Allocation
from ds01.domain.devices.gpu import PhysicalGpu, find_card
from ds01.domain.devices.mig import format_slice, parse_slice
from ds01.domain.devices.mig_layout import (
    DYNAMIC,
    CardPlan,
    MigStep,
    MigStepKind,
    User,
    WantedCard,
    describe,
    plan_layout,
    plan_return,
    state_of,
)
from ds01.domain.event import Event
from ds01.errors import ConflictError, Ds01Error, InvalidRequestError
from ds01.service.completion import complete
from ds01.service.dynamic_instances import DynamicInstances, Tables
from ds01.service.mig_change import read_changes, write_changes
from ds01.service.observation import Observation, Observer, granted_rows
from ds01.service.ports import Accounts, StoreTransaction, World

log = logging.getLogger(__name__)
MOST_NAMED = 8
PROBLEM_FACT = "mig-problem"


@dataclass(frozen=True, slots=True)
class _Look:
    """The machine, and everybody who uses a device of it."""

    observation: Observation
    users: tuple[User, ...]


class MigService:
    """Plans and applies layouts."""

    def __init__(self, world: World, *, observer: Observer, instances: DynamicInstances, tables: Tables) -> None:
        self._devices = world.devices
        self._store = world.store
        self._clock = world.clock
        self._accounts = world.accounts
        self._cgroups = world.cgroups
        self._observer = observer
        self._instances = instances
        self._tables = tables

    async def plan(self, wanted: Sequence[WantedCard]) -> tuple[CardPlan, ...]:
        """Return what `apply` would do. Changes nothing.

        Raises:
            NotFoundError: There is no such card.
            InvalidRequestError: A card cannot be cut so.
            BackendError: Engine or devices are unknown.
        """
        return self._plan(wanted, await self._look())

    async def apply(self, wanted: Sequence[WantedCard], *, actor_uid: int) -> tuple[CardPlan, ...]:
        """Make the cards as they are wanted, and return what was done. A cancellation waits for the end.

        Raises:
            ConflictError: Somebody is in the way; who is said, and nothing was changed.
            BackendError: A step failed; the card is as it was, those before it in the plan are as they are wanted.
        """
        return await complete(self._apply(wanted, actor_uid))

    async def _apply(self, wanted: Sequence[WantedCard], actor_uid: int) -> tuple[CardPlan, ...]:
        async with self._instances.turn:
            plans = self._plan(wanted, await self._look())
            _require_nobody_in_the_way(plans)
            for plan in plans:
                await self._apply_card(plan, wanted, actor_uid)
            return plans

    async def recover(self) -> list[str]:
        """Put back the layout of every card whose change a crash has cut short; return their UUIDs.

        Raises:
            BackendError: The devices do not answer: it is tried again later.
        """
        changes = await self._store.read(read_changes)
        if not changes:
            return []
        async with self._instances.turn:
            for card_uuid in changes:
                await self._go_back(card_uuid, "the daemon ended while it was being changed", actor_uid=None)
        return list(changes)

    def _plan(self, wanted: Sequence[WantedCard], look: _Look) -> tuple[CardPlan, ...]:
        inventory = look.observation.inventory
        tables = {card.uuid: self._tables(card) for card in inventory.devices}
        return plan_layout(wanted, inventory, tables, look.users)

    async def _look(self) -> _Look:
        granted, allocations = await self._store.read(
            lambda transaction: (granted_rows(transaction), transaction.list_allocations())
        )
        observation = await self._observer.observe(granted)
        users = [user for grant in allocations for user in self._users_of(grant)]
        users += [
            User(uuid, f"the container {container.name}, which DS01 did not make")
            for container in observation.foreign
            for uuid in sorted(container.gpu_uuids)
        ]
        for process in await self._devices.read_processes():
            container_id = self._cgroups.container_of(process.pid)
            inside = f" in the container {container_id[:12]}" if container_id else ""
            users.append(User(process.gpu_uuid, f"the process {process.pid}{inside}"))
        # who uses a card uses its instances too: nothing on it can be destroyed under them
        cards = {card.uuid: card for card in observation.inventory.devices}
        below = [
            User(instance.uuid, user.said)
            for user in users
            if user.gpu_uuid in cards and not user.is_made_for
            for instance in cards[user.gpu_uuid].instances
        ]
        return _Look(observation, (*users, *below))

    def _users_of(self, grant: Allocation) -> list[User]:
        said = f"{grant.container_name} of {_name_of(self._accounts, grant.uid)} ({grant.state})"
        places = {parse_slice(slice_)[0] for slice_ in grant.slices}
        is_made = bool(grant.slices)
        return [User(uuid, said, is_made_for=is_made) for uuid in (*grant.gpu_uuids, *sorted(places))]

    async def _apply_card(self, plan: CardPlan, wanted: Sequence[WantedCard], actor_uid: int) -> None:
        card = plan.card
        if not plan.steps:
            await self._finish(plan, actor_uid)
            return
        await self._begin(card)
        try:
            again = next(one for one in self._plan(wanted, await self._look()) if one.card.uuid == card.uuid)
            _require_nobody_in_the_way((again,))
            if again.steps != plan.steps:
                raise ConflictError(
                    f"GPU {card.index} changed while its layout was looked at.", hint="Look again: ds01 admin mig plan"
                )
        except Ds01Error:
            await self._store.write(lambda transaction: _forget(transaction, card.uuid))
            raise
        try:
            for step in plan.steps:
                await self._take(card.uuid, step)
        except Ds01Error as failure:
            await self._go_back(card.uuid, failure.message, actor_uid=actor_uid)
            raise _failed(card, failure) from failure
        await self._finish(plan, actor_uid)

    async def _begin(self, card: PhysicalGpu) -> None:
        """From here on nothing of the card is granted."""

        def decide(transaction: StoreTransaction) -> None:
            write_changes(transaction, {**read_changes(transaction), card.uuid: state_of(card)})

        await self._store.write(decide)

    async def _take(self, card_uuid: str, step: MigStep) -> None:
        if step.kind is MigStepKind.SET_MODE:
            await self._devices.set_mig_mode(card_uuid, enabled=step.is_enabled)
        elif step.kind is MigStepKind.DESTROY:
            await self._devices.destroy_instance(step.mig_uuid)
        else:
            await self._devices.create_instance(card_uuid, step.profile, step.start or 0)

    async def _finish(self, plan: CardPlan, actor_uid: int) -> None:
        """The card is as it is wanted: remember what its layout is, and forget the intent."""
        card, is_dynamic = plan.card, plan.wanted.is_mig and plan.wanted.layout == DYNAMIC
        table = self._tables(card) if is_dynamic else None
        places = {} if table is None else {format_slice(card.uuid, place): place.bits for place in table.places}
        details = {
            "gpu": card.uuid,
            "layout": _layout_text(plan),
            "steps": [describe(step) for step in plan.steps],
            "needs_reset": plan.needs_reset,
        }
        event = Event("mig.changed", self._clock.now(), actor_uid=actor_uid, details=details)

        def decide(transaction: StoreTransaction) -> None:
            was_dynamic = card.uuid in transaction.list_dynamic_cards()
            transaction.save_dynamic_card(card.uuid, places)
            _forget(transaction, card.uuid)
            if plan.steps or was_dynamic != is_dynamic:
                transaction.append_event(event)

        await self._store.write(decide)

    async def _go_back(self, card_uuid: str, reason: str, *, actor_uid: int | None) -> None:
        """Put the layout before back. What cannot be put back now stays an intent, and is tried again."""
        before = (await self._store.read(read_changes)).get(card_uuid)
        if before is None:
            return
        is_back, problem = False, ""
        lost: list[str] = []
        try:
            look = await self._look()
            card = find_card(look.observation.inventory, card_uuid)
            for step in plan_return(card, before, look.users) if card is not None else ():
                try:
                    await self._take(card_uuid, step)
                except InvalidRequestError as impossible:  # nobody can make it any more: the rest is put back
                    lost.append(impossible.message)
            if card is None:  # when it comes back, a plan shows what is missing: a reset takes all instances with it
                lost.append("The GPU is not there any more.")
            is_back, problem = True, " ".join(lost)
        except Ds01Error as failure:
            problem = failure.message
            log.warning("the layout of %s could not be put back: %s", card_uuid, failure)
        details = {"gpu": card_uuid, "reason": reason, "undone": is_back, "problem": problem}
        event = Event("mig.failed", self._clock.now(), actor_uid=actor_uid, details=details)

        def decide(transaction: StoreTransaction) -> None:
            told = f"{PROBLEM_FACT}:{card_uuid}"
            if is_back or transaction.get_fact(told) != problem:  # it is tried again and again: said once
                transaction.append_event(event)
            transaction.set_fact(told, problem)
            if is_back:
                _forget(transaction, card_uuid)

        await self._store.write(decide)


def _forget(transaction: StoreTransaction, card_uuid: str) -> None:
    changes = read_changes(transaction)
    if changes.pop(card_uuid, None) is not None:
        write_changes(transaction, changes)


def _require_nobody_in_the_way(plans: Sequence[CardPlan]) -> None:
    """Raise if anybody is; everybody is named at once, so that one look is enough.

    Raises:
        ConflictError: Somebody is.
    """
    blocked = [plan for plan in plans if plan.blockers]
    if not blocked:
        return
    said = []
    for plan in blocked:
        more = f" and {len(plan.blockers) - MOST_NAMED} more" if len(plan.blockers) > MOST_NAMED else ""
        said.append(f"GPU {plan.card.index}: {', '.join(plan.blockers[:MOST_NAMED])}{more}")
    index = blocked[0].card.index
    raise ConflictError(
        f"The layout cannot be changed while devices are in use: {'; '.join(said)}.",
        hint=f"Let nothing new start there (ds01 admin drain {index}), and apply it again when these have ended.",
        details={"blockers": {plan.card.uuid: list(plan.blockers) for plan in blocked}},
    )


def _failed(card: PhysicalGpu, failure: Ds01Error) -> Ds01Error:
    return type(failure)(
        f"GPU {card.index} was not changed: {failure.message}",
        hint=failure.hint or "What is there now: ds01 gpus; what was undone: ds01 events 'mig.*'",
    )


def _layout_text(plan: CardPlan) -> str:
    if not plan.wanted.is_mig:
        return "mig off"
    return DYNAMIC if plan.wanted.layout == DYNAMIC else ", ".join(plan.wanted.instances)


def _name_of(accounts: Accounts, uid: int) -> str:
    try:
        return accounts.get_user(uid).name
    except Ds01Error:
        return f"uid {uid}"
