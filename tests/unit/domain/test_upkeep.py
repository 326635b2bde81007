"""What is kept in mind about devices: conditions, and what changed between two looks."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from ds01.domain.devices.gpu import GpuState, Inventory, PhysicalGpu
from ds01.domain.devices.gpu_event import XID_FAULTS, DeviceEvent, DeviceEventKind, fault_of
from ds01.domain.devices.upkeep import Drain, GpuFault, Upkeep, conditions_of, look, unusable_gpus
from tests.fake_devices import mig_gpu, whole_gpu

NOW = datetime(2026, 11, 21, tzinfo=UTC)
DRAIN = Drain("fan is loud", 0, NOW)
FAULT = GpuFault("it fell off the bus (Xid 79)", NOW, "boot-1")


def machine(*cards: PhysicalGpu) -> Inventory:
    return Inventory(cards, "560", (12, 6))


@pytest.mark.parametrize("code", sorted(XID_FAULTS))
def test_an_xid_that_needs_a_reset_is_a_fault(code: int) -> None:
    assert f"(Xid {code})" in (fault_of(DeviceEvent(DeviceEventKind.XID, "GPU-0", code)) or "")


@pytest.mark.parametrize("code", [13, 31, 43, 45, 63, 68, 69, 94, 109, None])
def test_what_a_program_did_or_the_driver_contained_is_no_fault(code: int | None) -> None:
    assert fault_of(DeviceEvent(DeviceEventKind.XID, "GPU-0", code)) is None


def test_only_an_xid_is_a_fault_by_itself() -> None:
    assert fault_of(DeviceEvent(DeviceEventKind.ECC, "GPU-0", 79)) is None


def test_a_drained_card_takes_its_instances_along_and_says_why() -> None:
    found = conditions_of(machine(whole_gpu(0), mig_gpu(1, 1, 1)), Upkeep(drains={"GPU-1": DRAIN}), {})
    assert set(found) == {"GPU-1", "MIG-1-0", "MIG-1-1"}
    assert {condition.state for condition in found.values()} == {GpuState.DRAINED}
    assert found["MIG-1-0"].reason == "it is drained: fan is loud"


def test_a_drained_instance_leaves_its_siblings() -> None:
    assert set(unusable_gpus(machine(mig_gpu(1, 1, 1)), Upkeep(drains={"MIG-1-1": DRAIN}), {})) == {"MIG-1-1"}


def test_a_fault_says_more_than_a_drain_and_a_drain_more_than_a_process() -> None:
    inventory, strangers = machine(whole_gpu(0)), {"GPU-0": (7, 8)}
    assert unusable_gpus(inventory, Upkeep(), strangers) == {"GPU-0": "processes 7, 8 of the host compute on it"}
    drained = Upkeep(drains={"GPU-0": Drain("", 0, NOW)})
    assert unusable_gpus(inventory, drained, strangers) == {"GPU-0": "it is drained"}
    broken = replace(drained, faults={"GPU-0": FAULT})
    assert unusable_gpus(inventory, broken, strangers) == {"GPU-0": f"it is unhealthy: {FAULT.text}"}


def test_what_the_card_says_itself_comes_before_what_was_reported() -> None:
    card = replace(whole_gpu(0), fault="GPU is lost")
    assert unusable_gpus(machine(card), Upkeep(faults={"GPU-0": FAULT}), {}) == {
        "GPU-0": "it is unhealthy: GPU is lost"
    }


def test_the_first_look_reports_only_what_is_broken() -> None:
    upkeep, changes = look(Upkeep(), machine(whole_gpu(0), replace(whole_gpu(1), fault="it is hot"), mig_gpu(2, 1)), "")
    assert [(change.event, change.gpu_uuid) for change in changes] == [("gpu.unhealthy", "GPU-1")]
    assert set(upkeep.seen) == {"GPU-0", "GPU-1", "GPU-2"}


def test_a_card_that_leaves_and_comes_back_is_said_twice_in_all() -> None:
    both, one = machine(whole_gpu(0), whole_gpu(1)), machine(whole_gpu(1))
    upkeep, _ = look(Upkeep(), both, "")
    upkeep, left = look(upkeep, one, "")
    upkeep, still = look(upkeep, one, "")
    upkeep, back = look(upkeep, both, "")
    assert [[change.event for change in changes] for changes in (left, still, back)] == [
        ["gpu.lost"],
        [],
        ["gpu.returned"],
    ]
    assert not upkeep.gone


def test_instances_that_changed_are_named() -> None:
    upkeep, _ = look(Upkeep(), machine(mig_gpu(1, 1, 1)), "")
    recut = replace(mig_gpu(1, 1), instances=(replace(mig_gpu(1, 1).instances[0], uuid="MIG-new"),))
    _, (change,) = look(upkeep, machine(recut), "")
    assert change.event == "gpu.repartitioned"
    assert change.details == {"index": 1, "added": ["MIG-new"], "removed": ["MIG-1-0", "MIG-1-1"]}


def test_a_reported_fault_is_over_with_the_next_boot_and_not_before() -> None:
    upkeep, _ = look(Upkeep(faults={"GPU-0": FAULT}), machine(whole_gpu(0)), "boot-1")
    assert upkeep.faults == {"GPU-0": FAULT}
    unknown, _ = look(upkeep, machine(whole_gpu(0)), "")
    assert unknown.faults == {"GPU-0": FAULT}
    healed, changes = look(upkeep, machine(whole_gpu(0)), "boot-2")
    assert healed.faults == {}
    assert [change.event for change in changes] == ["gpu.healthy"]


def test_a_card_without_a_name_is_no_card_that_came() -> None:
    upkeep, changes = look(Upkeep(), machine(replace(whole_gpu(0), uuid="GPU-unreadable-0", fault="GPU is lost")), "")
    assert (upkeep.seen, changes) == ({}, [])


CARDS = st.lists(
    st.builds(
        lambda index, sizes, fault: replace(mig_gpu(index, *([1] * sizes)), fault=fault),
        st.integers(0, 3),
        st.integers(0, 3),
        st.sampled_from([None, "it is hot"]),
    ),
    unique_by=lambda card: card.uuid,
)


@given(st.lists(CARDS, max_size=6))
def test_a_second_look_finds_nothing_and_every_lost_card_is_gone_until_it_returns(
    looks: list[list[PhysicalGpu]],
) -> None:
    upkeep = Upkeep()
    lost: set[str] = set()
    for cards in looks:
        inventory = machine(*cards)
        upkeep, changes = look(upkeep, inventory, "boot-1")
        lost |= {change.gpu_uuid for change in changes if change.event == "gpu.lost"}
        lost -= {change.gpu_uuid for change in changes if change.event == "gpu.returned"}
        assert set(upkeep.gone) == lost
        assert set(upkeep.seen) == {card.uuid for card in cards}
        again, nothing = look(upkeep, inventory, "boot-1")
        assert (again, nothing) == (upkeep, [])
