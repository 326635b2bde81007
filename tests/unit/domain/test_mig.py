"""What a card can be cut into, and where an instance is made."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from ds01.config.mig_tables import read_shipped_tables, table_of_card
from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.devices.gpu import GpuKind, MigProfile
from ds01.domain.devices.mig import (
    OWN_BITS,
    MigTable,
    Place,
    dynamic_positions,
    format_slice,
    gradient_value,
    make_table,
    parse_slice,
    state_key,
    state_value,
    states,
)
from ds01.domain.devices.mig_value import compute_values, geometry_of, with_values
from ds01.domain.request import GpuRequest
from ds01.domain.rules.limit import EffectiveLimits, Limits
from ds01.domain.scheduling.board import Board, Card
from ds01.domain.scheduling.schedule import plan_grant
from ds01.domain.scheduling.situation import Person, Situation
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import InvalidRequestError, NoCapacityError
from tests.fake_devices import A100_PROFILES, whole_gpu

FACTS = json.loads((Path(__file__).parents[3] / "src/ds01/data/mig_profiles.json").read_text(encoding="utf-8"))
A100 = read_shipped_tables()["A100-40GB"]
A30_PROFILES = (
    MigProfile("1g.6gb", 14, 1, 1, 6 * 2**30, (0, 1, 2, 3), 4),
    MigProfile("2g.12gb", 5, 2, 2, 12 * 2**30, (0, 2), 2),
    MigProfile("4g.24gb", 0, 4, 4, 24 * 2**30, (0,), 1),
)


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def granted_place(table: MigTable, held: Sequence[Place], profile: str, *, is_endless: bool = False) -> Place | None:
    """What the scheduler takes on one card whose instances are made on demand; None when there is no room."""
    card = Card("GPU-0", 0, "NVIDIA A100-PCIE-40GB", dynamic_positions(table, 40 * 2**30), table=table.key)
    length = None if is_endless else timedelta(hours=1)
    people = {1: Person(1, EffectiveLimits(Limits(), {}, "student"))}
    grants = tuple(
        Allocation(
            f"{number:016x}",
            1,
            f"c{number}",
            GpuRequest(1, place.profile.name),
            (),
            0.0,
            AllocationState.ACTIVE,
            NOW,
            NOW,
            time_limit=length,
            ends_at=None if length is None else NOW + length,
            slices=(format_slice("GPU-0", place),),
        )
        for number, place in enumerate(held)
    )
    world = Situation(NOW, Board((card,), {table.key: table}), allocations=grants, people=people)
    asked = Waiting("f" * 16, 1, "student", "next", GpuRequest(1, profile), 0, length, NOW)
    try:
        start = plan_grant(world, asked).positions[0].position.start
    except NoCapacityError:
        return None
    assert start is not None
    return table.find_place(profile, start)


def plain(table: MigTable, *, with_double_memory: bool) -> MigTable:
    """The table of the five profiles that every MIG device has, or of these and 1g with twice the memory."""
    left_out = {20} if with_double_memory else {15, 20}
    profiles = [one for one in table.profiles if one.id not in left_out]
    return make_table(table.key, profiles, compute_slices=table.compute_slices)


def counts(table: MigTable, state: int) -> tuple[int, ...]:
    """How many instances of each profile a state has (in a table without a second profile of one shape)."""
    here = [place.profile.name for place in table.places if place.mask & state == place.mask]
    return tuple(here.count(profile.name) for profile in table.profiles)


def figures(table: MigTable) -> dict[str, int]:
    every = states(table)
    sets = {counts(table, state) for state in every}
    grown = {tuple(n + (i == k) for i, n in enumerate(one)) for one in sets for k in range(len(one))}
    largest = [
        one for one in sets if not any(all(a <= b for a, b in zip(one, o, strict=True)) and one != o for o in sets)
    ]
    return {
        "placement_states": len(every),
        "maximal_placements": sum(all(state & place.mask for place in table.places) for state in every),
        "feasible_multisets": len(sets & (grown | {tuple([0] * len(table.profiles))})),
        "inclusion_maximal_multisets": len(largest),
    }


@pytest.mark.parametrize("model", FACTS["devices"])
def test_enumeration_finds_the_states_that_are_known_of_every_device(model: str) -> None:
    table = read_shipped_tables()[model]
    expected = FACTS["enumeration_check"]
    assert figures(plain(table, with_double_memory=False)) == expected["profiles 1g,2g,3g,4g,7g"]
    assert figures(plain(table, with_double_memory=True)) == expected["plus 1g double-memory (id 15)"]


def are_apart(one: Place, other: Place) -> bool:
    """The driver's rule for two instances."""
    ours = set(range(one.start, one.start + one.profile.memory_slices))
    theirs = set(range(other.start, other.start + other.profile.memory_slices))
    both_media = "+me" in one.profile.name and "+me" in other.profile.name
    return not ours & theirs and not both_media


def test_two_places_share_a_bit_exactly_when_the_driver_refuses_both_together() -> None:
    for one in A100.places:
        for other in A100.places:
            assert (not one.mask & other.mask) == are_apart(one, other), (one, other)


def test_every_state_keeps_the_compute_slices_and_the_number_of_instances_of_the_device() -> None:
    table = plain(A100, with_double_memory=True)
    for state in states(table):
        found = counts(table, state)
        compute = sum(n * one.compute_slices for n, one in zip(found, table.profiles, strict=True))
        assert compute <= table.compute_slices
        assert all(n <= one.max_instances for n, one in zip(found, table.profiles, strict=True))


def test_profiles_whose_memory_slices_do_not_bound_the_compute_slices_are_refused() -> None:
    greedy = [replace(one, compute_slices=4) if one.id == 9 else one for one in A100_PROFILES]
    with pytest.raises(InvalidRequestError, match="do not imply free compute slices"):
        make_table("odd", greedy, compute_slices=7)


def test_profiles_that_may_exist_less_often_than_their_slices_allow_are_refused() -> None:
    scarce = [replace(one, max_instances=3) if one.id == 19 else one for one in A100_PROFILES[:5]]
    with pytest.raises(InvalidRequestError, match="do not imply that an instance may be made"):
        make_table("odd", scarce, compute_slices=7)


def test_a_profile_that_may_exist_once_excludes_itself_at_every_start() -> None:
    once = [replace(one, max_instances=1) if one.id == 14 else one for one in A100_PROFILES[:5]]
    table = make_table("odd", once, compute_slices=7)
    pairs = [place for place in table.places if place.profile.id == 14]
    assert all(one.mask & other.mask for one in pairs for other in pairs)


@pytest.mark.parametrize(
    "broken",
    [
        [],
        [replace(A100_PROFILES[0], placements=())],
        [replace(A100_PROFILES[0], placements=(-1, 0))],
        [replace(A100_PROFILES[0], memory_slices=0)],
        [replace(A100_PROFILES[0], placements=(40,))],
        [replace(A100_PROFILES[0], compute_slices=0)],
    ],
)
def test_impossible_profiles_are_refused(broken: list[MigProfile]) -> None:
    with pytest.raises(InvalidRequestError):
        make_table("odd", broken, compute_slices=7)


def test_what_one_says_of_a_place_is_read_back() -> None:
    for place in A100.places:
        assert parse_slice(format_slice("GPU-1a", place)) == ("GPU-1a", place.profile.name, place.start)
        assert A100.find_place(place.profile.name, place.start) is place


@pytest.mark.parametrize("text", ["", "GPU-1", "GPU-1/1g.5gb", "GPU-1/1g.5gb@", "GPU-1/@0", "/1g.5gb@0", "GPU-1/1g@-1"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_slice(text)


def test_positions_weigh_the_compute_slices_of_their_instance() -> None:
    found = {(one.profile, one.start): one for one in dynamic_positions(A100, 40 * 2**30)}
    assert found["3g.20gb", 4].equivalents == pytest.approx(3 / 7)
    assert found["7g.40gb", 0].equivalents == 1.0
    assert found["3g.20gb", 4].kind is GpuKind.MIG
    assert found["3g.20gb", 4].gpu_uuid is None
    assert found["3g.20gb", 4].memory_bytes == 20096 * 2**20
    assert len(found) == sum(len(one.placements) for one in A100.profiles)


def test_memory_that_the_table_does_not_say_follows_from_the_card() -> None:
    table = read_shipped_tables()["H200-141GB"]
    found = {one.profile: one.memory_bytes for one in dynamic_positions(table, 160)}
    assert found == {
        "1g.18gb": 20,
        "1g.18gb+me": 20,
        "1g.35gb": 40,
        "2g.35gb": 40,
        "3g.71gb": 80,
        "4g.71gb": 80,
        "7g.141gb": 160,
    }


@given(st.lists(st.integers(0, 1000), max_size=8), st.booleans())
@settings(deadline=None, max_examples=60)
def test_an_instance_is_placed_whenever_one_fits_and_where_the_most_is_kept(picks: list[int], is_endless: bool) -> None:
    held: list[Place] = []
    for pick in picks:
        profile = A100.profiles[pick % len(A100.profiles)]
        taken = sum(place.mask for place in held)
        free = [one for one in A100.places if one.profile is profile and not one.mask & taken]
        chosen = granted_place(A100, held, profile.name, is_endless=is_endless)
        assert (chosen is None) == (not free)
        if chosen is not None:
            worth = [state_value(A100, taken | one.mask, is_filling=is_endless) for one in free]
            assert state_value(A100, taken | chosen.mask, is_filling=is_endless) == max(worth)
            held.append(chosen)


def test_the_first_2g_lies_at_the_side_when_nothing_ends_and_in_the_middle_when_grants_come_and_go() -> None:
    endless, limited = (granted_place(A100, (), "2g.10gb", is_endless=said) for said in (True, False))
    assert endless is not None
    assert limited is not None
    assert (endless.start, limited.start) == (0, 4)


def test_slices_that_something_unknown_has_taken_are_weighed_by_the_gradient() -> None:
    unknown = 0b1  # a memory slice without the bit of an instance
    assert state_value(A100, unknown) == gradient_value(A100, unknown)
    assert 0 < gradient_value(A100, unknown) < gradient_value(A100, 0) == 1


def test_an_instance_with_the_media_engine_is_worth_what_one_without_is() -> None:
    media, usual = A100.find_place("1g.5gb+me", 3), A100.find_place("1g.5gb", 3)
    assert media is not None
    assert usual is not None
    assert media.mask != usual.mask
    assert state_value(A100, media.mask) == state_value(A100, usual.mask)
    assert state_key(media.mask) in A100.reachable


def test_values_of_a_full_card_and_of_an_empty_one_are_the_ends_of_the_scale() -> None:
    values = compute_values(plain(A100, with_double_memory=False))
    empty, full = min(values.steady), max(values.steady, key=int.bit_count)
    assert values.steady[empty] == 0
    assert min(values.steady.values()) < -0.5
    assert values.filling[empty] == pytest.approx(0.85)
    assert values.filling[full] == 1
    assert max(values.filling.values()) == 1
    assert min(values.filling.values()) >= 0


def test_a_small_device_is_valued_when_it_is_met_and_a_large_unknown_one_is_not() -> None:
    a30 = with_values(make_table("A30", A30_PROFILES, compute_slices=4), {})
    assert a30.values is not None
    assert len(a30.reachable) == 26
    wide = make_table(
        "wide", [replace(A100_PROFILES[0], placements=tuple(range(12)), max_instances=12)], compute_slices=12
    )
    assert with_values(wide, {}).values is None
    chosen = granted_place(wide, (), "1g.5gb")
    assert chosen is not None


def test_the_table_of_a_card_is_what_its_driver_reports() -> None:
    table = table_of_card(whole_gpu(0))
    assert table is not None
    assert [one.name for one in table.profiles] == [one.name for one in A100.profiles]
    assert geometry_of(table) == geometry_of(A100)
    assert table.values is not None
    assert table.needs_reset is True
    assert table.find_profile("1G.5GB") is not None


def test_a_card_whose_driver_reports_no_profiles_has_the_table_of_its_model() -> None:
    silent = replace(whole_gpu(0), mig_profiles=())
    assert table_of_card(silent) is A100
    assert (
        table_of_card(replace(silent, model="NVIDIA H100 80GB HBM3", memory_bytes=80 * 2**30))
        is read_shipped_tables()["H100-80GB"]
    )
    assert table_of_card(replace(silent, model="NVIDIA H100 NVL", memory_bytes=94 * 2**30)) is None
    assert table_of_card(replace(silent, slices_total=0)) is None


def test_profiles_beside_the_plain_ones_that_cannot_be_kept_apart_are_left_out() -> None:
    odd = MigProfile("3g.20gb+gfx", 99, 4, 4, 0, (0, 4), 2)
    table = table_of_card(replace(whole_gpu(0), mig_profiles=(*A100_PROFILES, odd)))
    assert table is not None
    assert "3g.20gb+gfx" not in {one.name for one in table.profiles}
    assert "3g.20gb" in {one.name for one in table.profiles}


def test_own_bits_exclude_nothing_but_their_place() -> None:
    own = [place.mask >> OWN_BITS for place in A100.places if "+me" not in place.profile.name]
    assert len(set(own)) == len(own)
    assert all(bit.bit_count() == 1 for bit in own)
