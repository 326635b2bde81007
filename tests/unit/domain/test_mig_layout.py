"""Plans that make cards as a layout file wants them."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from ds01.config.mig_tables import table_of_card
from ds01.domain.devices.gpu import Inventory, MigInstance, PhysicalGpu
from ds01.domain.devices.mig import MigTable
from ds01.domain.devices.mig_layout import (
    DYNAMIC,
    STATIC,
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
from ds01.errors import InvalidRequestError, NotFoundError
from tests.fake_devices import mig_gpu, whole_gpu

H100 = replace(whole_gpu(0), compute_capability=(9, 0), model="NVIDIA H100 80GB HBM3", memory_bytes=80 * 2**30)
A100_TABLE = table_of_card(whole_gpu(0))
assert A100_TABLE is not None
TABLE: MigTable = A100_TABLE
NAMES = [profile.name for profile in TABLE.profiles]
profiles = st.lists(st.sampled_from(NAMES), max_size=8)


def wanted(*instances: str, gpu: str = "0", mig: bool = True, layout: str = STATIC) -> WantedCard:
    return WantedCard(gpu, mig, layout, instances, "layout.yaml:2")


def plan(card: PhysicalGpu, entry: WantedCard, *users: User) -> CardPlan:
    inventory = Inventory((card,), "560", (12, 6))
    (found,) = plan_layout((entry,), inventory, {card.uuid: table_of_card(card)}, users)
    return found


def apply(card: PhysicalGpu, steps: tuple[MigStep, ...]) -> PhysicalGpu:
    """What a driver does; it refuses what cannot be."""
    for number, step in enumerate(steps):
        if step.kind is MigStepKind.DESTROY:
            left = tuple(one for one in card.instances if one.uuid != step.mig_uuid)
            assert len(left) == len(card.instances) - 1
            card = replace(card, instances=left)
        elif step.kind is MigStepKind.SET_MODE:
            assert not card.instances
            at_once = card.compute_capability >= (9, 0)
            now = step.is_enabled if at_once else card.mig_enabled
            card = replace(card, mig_enabled=now, mig_pending=step.is_enabled)
        else:
            assert card.mig_enabled
            assert step.start is not None
            card = with_instance(card, step.profile, step.start, f"MIG-new-{number}")
    return card


def with_instance(card: PhysicalGpu, name: str, start: int, uuid: str) -> PhysicalGpu:
    place = TABLE.find_place(name, start)
    assert place is not None, (name, start)
    for other in card.instances:
        assert other.start is not None
        there = TABLE.find_place(other.profile, other.start)
        assert there is not None
        assert not there.mask & place.mask, (name, start, other)
    profile = place.profile
    made = MigInstance(uuid, name, 1, profile.compute_slices, 1, 0, 0, start, profile.memory_slices)
    return replace(card, instances=(*card.instances, made))


def cut(*places: tuple[str, int]) -> PhysicalGpu:
    """An A100 in MIG mode with instances at these places."""
    card = mig_gpu(0)
    for number, (name, start) in enumerate(places):
        card = with_instance(card, name, start, f"MIG-0-{number}")
    return card


def fits(names: list[str]) -> bool:
    """Whether some order of some starts takes them all, by trying."""

    def put(left: list[str], taken: int) -> bool:
        if not left:
            return True
        places = [place for place in TABLE.places if place.profile.name == left[0] and not place.mask & taken]
        return any(put(left[1:], taken | place.mask) for place in places)

    return put(sorted(names, key=lambda name: -TABLE.compute_slices if name[0] == "7" else -int(name[0])), 0)


def kinds(card: PhysicalGpu) -> Counter[str]:
    return Counter(instance.profile for instance in card.instances)


@st.composite
def cards(draw: st.DrawFn, card: PhysicalGpu) -> PhysicalGpu:
    """A card in MIG mode with instances at any places that are possible."""
    card = replace(card, mig_enabled=True, mig_pending=True)
    taken = 0
    for number, pick in enumerate(draw(st.lists(st.integers(0, 10**6), max_size=7))):
        free = [place for place in TABLE.places if not place.mask & taken]
        if free:
            place = free[pick % len(free)]
            taken |= place.mask
            card = with_instance(card, place.profile.name, place.start, f"MIG-{number}")
    return card


@given(cards(whole_gpu(0)), profiles, st.sets(st.integers(0, 7)))
def test_a_plan_makes_what_is_wanted_or_names_who_is_in_the_way(
    card: PhysicalGpu, names: list[str], used: set[int]
) -> None:
    users = [User(one.uuid, f"user of {one.uuid}") for number, one in enumerate(card.instances) if number in used]
    try:
        found = plan(card, wanted(*names), *users)
    except InvalidRequestError:
        assert not fits(names)
        return
    after = apply(card, found.steps)
    assert kinds(after) == Counter(names)
    destroyed = {step.mig_uuid for step in found.steps if step.kind is MigStepKind.DESTROY}
    assert set(found.blockers) == {user.said for user in users if user.gpu_uuid in destroyed}
    assert not plan(after, wanted(*names)).steps


@given(cards(whole_gpu(0)), profiles, st.integers(0, 20))
def test_from_any_place_half_way_the_way_back_leads_to_how_it_was(
    card: PhysicalGpu, names: list[str], done: int
) -> None:
    try:
        found = plan(card, wanted(*names))
    except InvalidRequestError:
        return
    half_way = apply(card, found.steps[:done])
    back = apply(half_way, plan_return(half_way, state_of(card), ()))
    assert {(one.profile, one.start) for one in back.instances} == {(one.profile, one.start) for one in card.instances}
    assert not plan_return(card, state_of(card), ())


@given(cards(H100), st.integers(0, 20))
def test_the_way_back_turns_mig_on_again(card: PhysicalGpu, done: int) -> None:
    found = plan(card, wanted(mig=False))
    half_way = apply(card, found.steps[:done])
    back = apply(half_way, plan_return(half_way, state_of(card), ()))
    assert back.mig_enabled
    assert kinds(back) == kinds(card)


def test_what_lies_in_the_way_of_the_new_layout_is_kept_where_it_can_be() -> None:
    found = plan(cut(("3g.20gb", 0), ("1g.5gb", 4), ("1g.5gb", 5)), wanted("3g.20gb", "1g.5gb", "1g.5gb", "1g.5gb"))
    assert [describe(step) for step in found.steps] == ["create 1g.5gb at 6"]


def test_an_instance_in_use_decides_where_the_others_go() -> None:
    card = cut(("3g.20gb", 0), ("3g.20gb", 4))
    for stays, goes in (("MIG-0-0", "MIG-0-1"), ("MIG-0-1", "MIG-0-0")):
        found = plan(card, wanted("3g.20gb", "2g.10gb", "1g.5gb"), User(stays, "alice"))
        assert [step.mig_uuid for step in found.steps if step.kind is MigStepKind.DESTROY] == [goes]
        assert not found.blockers


def test_mig_on_an_a100_waits_for_a_reset_and_its_instances_with_it() -> None:
    found = plan(whole_gpu(0), wanted("3g.20gb"))
    assert [describe(step) for step in found.steps] == ["turn MIG on"]
    assert found.needs_reset
    assert "apply this again" in found.note
    waiting = replace(whole_gpu(0), mig_pending=True)
    again = plan(waiting, wanted("3g.20gb"))
    assert (again.steps, again.needs_reset) == ((), True)
    assert [describe(step) for step in plan(waiting, wanted(mig=False)).steps] == ["turn MIG off"]


def test_mig_on_an_h100_is_on_at_once() -> None:
    found = plan(H100, wanted("3g.20gb", "1g.5gb"))
    assert not found.needs_reset
    assert kinds(apply(H100, found.steps)) == {"3g.20gb": 1, "1g.5gb": 1}


def test_a_card_without_instances_can_make_them_on_demand() -> None:
    used = User("MIG-0-0", "the container job of alice (active)")
    found = plan(cut(("3g.20gb", 0), ("1g.5gb", 4)), wanted(layout=DYNAMIC), used)
    assert [step.mig_uuid for step in found.steps] == ["MIG-0-0", "MIG-0-1"]
    assert found.blockers == (used.said,)
    assert not plan(mig_gpu(0), wanted(layout=DYNAMIC)).steps


def test_turning_mig_off_names_everybody_on_the_card() -> None:
    users = (User("MIG-0-1", "alice"), User("GPU-0", "the process 7"), User("GPU-1", "bob"))
    found = plan(cut(("3g.20gb", 0), ("1g.5gb", 4)), wanted(mig=False), *users)
    assert found.blockers == ("alice", "the process 7")
    assert [describe(step) for step in found.steps][-1] == "turn MIG off"
    assert found.needs_reset
    assert not plan(whole_gpu(0), wanted(mig=False), *users).steps


def test_a_card_that_cannot_be_used_is_left_alone() -> None:
    found = plan(replace(whole_gpu(0), fault="it fell off the bus"), wanted("1g.5gb"))
    assert found.steps == ()
    assert "fell off the bus" in found.blockers[0]


@pytest.mark.parametrize(
    ("card", "entry", "said", "hint"),
    [
        (whole_gpu(0), wanted("1g.6gb"), "no profile '1g.6gb'; it has 1g.5gb", "Did you mean '1g.5gb'?"),
        (whole_gpu(0), wanted("4g.20gb", "4g.20gb"), "do not fit together", "These do: 4g.20gb."),
        (whole_gpu(0), wanted("7g.40gb", "1g.5gb"), "do not fit together", "These do: 7g.40gb."),
        (whole_gpu(0), wanted("1g.5gb+me", "1g.5gb+me"), "do not fit together", "These do: 1g.5gb+me."),
        (replace(whole_gpu(0), slices_total=0), wanted("1g.5gb"), "knows no MIG", "mig: false"),
        (replace(whole_gpu(0), mig_profiles=(), model="X"), wanted("1g.5gb"), "nobody can say", "driver"),
    ],
)
def test_what_cannot_exist_is_refused_with_what_can(card: PhysicalGpu, entry: WantedCard, said: str, hint: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        plan(card, entry)
    assert said in refused.value.message
    assert refused.value.message.startswith("layout.yaml:2: ")
    assert hint in (refused.value.hint or "")


def test_a_card_that_is_not_there_or_named_twice_is_refused() -> None:
    inventory = Inventory((whole_gpu(0), whole_gpu(1)), "560", (12, 6))
    tables = {card.uuid: TABLE for card in inventory.devices}
    with pytest.raises(NotFoundError, match="no GPU '7'"):
        plan_layout((wanted(mig=False, gpu="7"),), inventory, tables, ())
    with pytest.raises(InvalidRequestError, match="named twice"):
        plan_layout((wanted(mig=False, gpu="1"), wanted(mig=False, gpu="GPU-1")), inventory, tables, ())


def test_plans_come_in_the_order_of_the_driver() -> None:
    inventory = Inventory((whole_gpu(0), whole_gpu(1)), "560", (12, 6))
    entries = (wanted("1g.5gb", gpu="1"), wanted("1g.5gb", gpu="0"))
    found = plan_layout(entries, inventory, dict.fromkeys(("GPU-0", "GPU-1"), TABLE), ())
    assert [one.card.index for one in found] == [0, 1]
