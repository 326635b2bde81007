"""How cards shall be cut, and the plan that makes them so. Pure: the same plan answers `plan` and `apply`.

A plan destroys before it creates, keeps instances that already lie where the new layout can have them (those in use
before all), and never touches what somebody holds: who is in the way is named. Its counterpart, `plan_return`, leads
from whatever a failure has left back to how the card was.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from ds01.domain.devices.gpu import Inventory, MigInstance, PhysicalGpu
from ds01.domain.devices.mig import MigTable, Place, state_value
from ds01.errors import InvalidRequestError, NotFoundError

STATIC, DYNAMIC = "static", "dynamic"
Tables = Mapping[str, MigTable | None]
"""Card UUID to its table; None: nobody can say how it is cut."""


@dataclass(frozen=True, slots=True)
class WantedCard:
    """What one entry of a layout file asks for.

    Attributes:
        gpu: The card as it was written: its index or its UUID.
        is_mig: MIG is on.
        layout: static: these instances; dynamic: none but those that grants make.
        instances: Profiles, each as often as it is wanted.
        where: `file:line` of the entry.
    """

    gpu: str
    is_mig: bool
    layout: str
    instances: tuple[str, ...]
    where: str


class MigStepKind(StrEnum):
    """What a step does."""

    DESTROY = "destroy"
    SET_MODE = "set_mode"
    CREATE = "create"


@dataclass(frozen=True, slots=True)
class MigStep:
    """One change of a card.

    Attributes:
        kind: What it does.
        reason: Why, in one phrase.
        profile: Profile of the instance; empty for a change of the mode.
        start: First memory slice; None where the driver does not say.
        mig_uuid: The instance that is destroyed.
        is_enabled: The mode that is set.
    """

    kind: MigStepKind
    reason: str
    profile: str = ""
    start: int | None = None
    mig_uuid: str = ""
    is_enabled: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who uses a device.

    Attributes:
        gpu_uuid: The card or the MIG instance.
        said: Who, in words: `job of alice (active)`, `the process 4711`.
        is_made_for: The instance was made for this grant; on the card itself: one is, or will be.
    """

    gpu_uuid: str
    said: str
    is_made_for: bool = False


@dataclass(frozen=True, slots=True)
class CardPlan:
    """What happens to one card.

    Attributes:
        card: The card as it is.
        wanted: What the file asks for.
        steps: In order; empty: it is so already, or nothing can be done now.
        blockers: Who is in the way, in words; while there are any, nothing is done.
        needs_reset: The change of the mode waits for a reset of the GPU, and instances are made after it.
        note: What else one should know; empty: nothing.
    """

    card: PhysicalGpu
    wanted: WantedCard
    steps: tuple[MigStep, ...] = ()
    blockers: tuple[str, ...] = ()
    needs_reset: bool = False
    note: str = ""


def plan_layout(
    wanted: Sequence[WantedCard], inventory: Inventory, tables: Tables, users: Sequence[User]
) -> tuple[CardPlan, ...]:
    """Return what makes the cards as they are wanted, in the driver's order. Cards that are not named stay as they are.

    Args:
        wanted: The entries of a file.
        inventory: The machine.
        tables: What its cards can be cut into.
        users: Everybody who uses a card or an instance.

    Raises:
        NotFoundError: There is no such card.
        InvalidRequestError: A card is named twice, knows no MIG, or cannot be cut so; the message says what it can.
    """
    plans: dict[str, CardPlan] = {}
    for entry in wanted:
        card = _card(inventory, entry)
        if card.uuid in plans:
            raise _refusal(entry, f"GPU {card.index} is named twice.", "Name each card once.")
        plans[card.uuid] = _plan_card(card, entry, tables.get(card.uuid), users)
    return tuple(plans[card.uuid] for card in inventory.devices if card.uuid in plans)


def _card(inventory: Inventory, entry: WantedCard) -> PhysicalGpu:
    for card in inventory.devices:
        if entry.gpu in {card.uuid, str(card.index)}:
            return card
    known = ", ".join(str(card.index) for card in inventory.devices) or "none"
    raise NotFoundError(
        f"{entry.where}: there is no GPU {entry.gpu!r} on this machine (there are: {known}).", hint="Run `ds01 gpus`."
    )


def _plan_card(card: PhysicalGpu, entry: WantedCard, table: MigTable | None, users: Sequence[User]) -> CardPlan:
    if entry.is_mig or card.slices_total == 0:
        _require_possible(card, entry, table)
    if card.fault is not None:
        return CardPlan(card, entry, blockers=(f"GPU {card.index} cannot be used: {card.fault}",))
    if card.mig_enabled != card.mig_pending:
        return _waiting_for_reset(card, entry)
    if not entry.is_mig:
        return _turned_off(card, entry, users)
    if not card.mig_enabled:
        return _turned_on(card, entry, table, users)
    return _cut_anew(card, entry, table, users)


def _require_possible(card: PhysicalGpu, entry: WantedCard, table: MigTable | None) -> None:
    if not entry.is_mig:
        return
    if card.slices_total == 0:
        raise _refusal(entry, f"GPU {card.index} ({card.model}) knows no MIG.", "Write mig: false, or leave it out.")
    if table is None:
        raise _refusal(entry, f"nobody can say how GPU {card.index} ({card.model}) is cut.", "Update its driver.")
    known = [profile.name for profile in table.profiles]
    for name in entry.instances:
        if table.find_profile(name) is None:
            near = get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else "See `nvidia-smi mig -lgip`."
            raise _refusal(entry, f"GPU {card.index} has no profile {name!r}; it has {', '.join(known)}.", hint)
    if not _ways(table, entry.instances):
        raise _refusal(
            entry,
            f"{', '.join(entry.instances)} do not fit together on GPU {card.index}.",
            f"These do: {', '.join(most_that_fit(table, entry.instances))}.",
        )


def _ways(table: MigTable, names: Iterable[str]) -> list[tuple[Place, ...]]:
    """Return every way to lay out instances of these profiles: each a set of places."""
    wanted = Counter(profile.name for name in names if (profile := table.find_profile(name)) is not None)
    ways: list[tuple[Place, ...]] = [()]
    for name in sorted(wanted, key=lambda name: -_size(table, name)):
        places = [place for place in table.places if place.profile.name == name]
        for _ in range(wanted[name]):
            ways = [
                (*way, place)
                for way in ways
                for place in places
                if not any(place.mask & other.mask for other in way)
                and not any(other.profile is place.profile and other.start > place.start for other in way)
            ]
    return ways


def _size(table: MigTable, name: str) -> int:
    profile = table.find_profile(name)
    return profile.memory_slices if profile is not None else 0


def most_that_fit(table: MigTable, names: Sequence[str]) -> list[str]:
    """Return the longest beginning of a list of profiles that fits together."""
    for length in range(len(names), 0, -1):
        if _ways(table, names[:length]):
            return list(names[:length])
    return []


def _waiting_for_reset(card: PhysicalGpu, entry: WantedCard) -> CardPlan:
    said = "on" if card.mig_pending else "off"
    if card.mig_pending == entry.is_mig:
        return CardPlan(card, entry, needs_reset=True, note=f"MIG will be {said} after a reset; then apply this again")
    step = MigStep(MigStepKind.SET_MODE, f"MIG would be {said} after a reset", is_enabled=entry.is_mig)
    return CardPlan(card, entry, (step,))


def _turned_off(card: PhysicalGpu, entry: WantedCard, users: Sequence[User]) -> CardPlan:
    if not card.mig_enabled:
        return CardPlan(card, entry)
    steps = [_destroyed(instance, "MIG is turned off") for instance in card.instances]
    steps.append(MigStep(MigStepKind.SET_MODE, "the file says mig: false", is_enabled=False))
    uuids = {card.uuid, *(instance.uuid for instance in card.instances)}
    return CardPlan(card, entry, tuple(steps), _in_the_way(uuids, users), needs_reset=resets(card, None))


def _turned_on(card: PhysicalGpu, entry: WantedCard, table: MigTable | None, users: Sequence[User]) -> CardPlan:
    steps = [MigStep(MigStepKind.SET_MODE, "the file says mig: true", is_enabled=True)]
    needs_reset = resets(card, table)
    note = ""
    if needs_reset and entry.instances:
        note = "instances are made after the reset: then apply this again"
    elif table is not None:
        steps += [_created(place) for place in _best_way(table, entry.instances, (), ())]
    return CardPlan(card, entry, tuple(steps), _in_the_way({card.uuid}, users), needs_reset=needs_reset, note=note)


def resets(card: PhysicalGpu, table: MigTable | None) -> bool:
    """Tell whether a change of the MIG mode waits for a reset: cards before Hopper.

    Source: NVIDIA, Multi-Instance GPU User Guide, "Enable MIG Mode": from Hopper on no reset is needed.
    """
    if table is not None and table.needs_reset is not None:
        return table.needs_reset
    return card.compute_capability < (9, 0)


def _cut_anew(card: PhysicalGpu, entry: WantedCard, table: MigTable | None, users: Sequence[User]) -> CardPlan:
    used = {user.gpu_uuid for user in users}
    by_grants = {user.gpu_uuid for user in users if user.is_made_for}
    if entry.layout == DYNAMIC:
        doomed: Sequence[MigInstance] = [one for one in card.instances if one.uuid not in by_grants]
        made: Sequence[Place] = ()
    elif table is None or _has_already(card, entry, table):
        doomed, made = (), ()
    else:
        made, doomed = _difference(card, _best_way(table, entry.instances, card.instances, used))
    steps = [_destroyed(instance, _why_doomed(entry)) for instance in doomed]
    steps += [_created(place) for place in made]
    concerned = {instance.uuid for instance in doomed} | ({card.uuid} if steps else set())
    if entry.layout == DYNAMIC:
        others = [user for user in users if user.gpu_uuid != card.uuid or not user.is_made_for]
        return CardPlan(card, entry, tuple(steps), _in_the_way(concerned, others))
    # an instance that was made for a grant goes with it: it cannot become a part of a layout that stays
    return CardPlan(card, entry, tuple(steps), _in_the_way(concerned | (by_grants & {card.uuid}), users))


def _has_already(card: PhysicalGpu, entry: WantedCard, table: MigTable) -> bool:
    """The same profiles, wherever they lie: nothing is gained by moving them."""
    wanted = Counter(profile.name for name in entry.instances if (profile := table.find_profile(name)) is not None)
    return wanted == Counter(instance.profile for instance in card.instances)


def _best_way(
    table: MigTable, names: Iterable[str], present: Sequence[MigInstance], used: Iterable[str]
) -> tuple[Place, ...]:
    """Return the way that keeps the most, instances in use before all; of equal ones the most valuable one."""
    in_use = {(one.profile, one.start) for one in present if one.uuid in set(used)}
    there = {(one.profile, one.start) for one in present}

    def rank(way: tuple[Place, ...]) -> tuple[object, ...]:
        places = {(place.profile.name, place.start) for place in way}
        mask = sum(place.mask for place in way)
        return len(places & in_use), len(places & there), state_value(table, mask), tuple(-place.start for place in way)

    return max(_ways(table, names), key=rank, default=())


def _difference(card: PhysicalGpu, way: Iterable[Place]) -> tuple[list[Place], list[MigInstance]]:
    there = {(one.profile, one.start) for one in card.instances}
    wanted = {(place.profile.name, place.start) for place in way}
    made = [place for place in way if (place.profile.name, place.start) not in there]
    return made, [one for one in card.instances if (one.profile, one.start) not in wanted]


def _why_doomed(entry: WantedCard) -> str:
    return "instances are made by grants here" if entry.layout == DYNAMIC else "it is not in the new layout"


def _destroyed(instance: MigInstance, reason: str) -> MigStep:
    return MigStep(MigStepKind.DESTROY, reason, instance.profile, instance.start, instance.uuid)


def _created(place: Place, reason: str = "it is in the new layout") -> MigStep:
    return MigStep(MigStepKind.CREATE, reason, place.profile.name, place.start)


def _in_the_way(uuids: set[str], users: Sequence[User]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(user.said for user in users if user.gpu_uuid in uuids))


@dataclass(frozen=True, slots=True)
class CardState:
    """How a card was cut before a change: enough to go back.

    Attributes:
        is_mig: MIG was on.
        instances: Profile and start of each instance.
    """

    is_mig: bool
    instances: tuple[tuple[str, int | None], ...]


def state_of(card: PhysicalGpu) -> CardState:
    """Return how a card is cut now."""
    return CardState(card.mig_enabled, tuple((one.profile, one.start) for one in card.instances))


def plan_return(card: PhysicalGpu, before: CardState, users: Sequence[User]) -> tuple[MigStep, ...]:
    """Return what leads from whatever a failure has left back to how the card was. Used instances stay.

    An instance whose start the driver did not say is made again at no place: it is left out, and the next `plan` shows
    that it is missing.
    """
    used = {user.gpu_uuid for user in users}
    left = Counter(before.instances)
    steps: list[MigStep] = []
    for instance in card.instances:
        place = (instance.profile, instance.start)
        if left[place] > 0:
            left[place] -= 1
        elif instance.uuid not in used:
            steps.append(_destroyed(instance, "the change failed"))
    if card.mig_pending != before.is_mig:
        steps.append(MigStep(MigStepKind.SET_MODE, "the change failed", is_enabled=before.is_mig))
    for profile, start in left.elements():
        if start is not None:
            steps.append(MigStep(MigStepKind.CREATE, "the change failed", profile, start))
    return tuple(steps)


def _refusal(entry: WantedCard, what: str, hint: str) -> InvalidRequestError:
    return InvalidRequestError(f"{entry.where}: {what}", hint=hint)


def describe(step: MigStep) -> str:
    """Return a step in words, for people."""
    if step.kind is MigStepKind.SET_MODE:
        return f"turn MIG {'on' if step.is_enabled else 'off'}"
    at = f" at {step.start}" if step.start is not None else ""
    return f"{step.kind} {step.profile}{at}"
