"""Who holds which device."""

import dataclasses

from hypothesis import given, strategies as st

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.devices.gpu import Inventory, all_gpus
from ds01.domain.request import GpuRequest
from ds01.domain.scheduling.occupancy import FOREIGN_STATE, ForeignContainer, occupy
from tests.unit.domain.machines import ALICE, BOB, a100, at, inventories, machine

MACHINE = machine(a100(0), a100(1, "1g.5gb", "2g.10gb"))
UUIDS = {gpu.address: gpu.uuid for gpu in all_gpus(MACHINE)}


def grant(
    *uuids: str, state: AllocationState = AllocationState.ACTIVE, minute: int = 0, name: str = "pt"
) -> Allocation:
    return Allocation(
        f"{minute:016x}",
        ALICE,
        name,
        GpuRequest(count=len(uuids)),
        uuids,
        float(len(uuids)),
        state,
        at(minute),
        at(minute),
    )


def test_every_state_but_released_holds() -> None:
    for state in AllocationState:
        occupancy = occupy(MACHINE, [grant(UUIDS["0"], state=state)])
        assert occupancy.is_free(UUIDS["0"]) == (state is AllocationState.RELEASED)


def test_a_whole_gpu_and_its_instances_exclude_each_other() -> None:
    by_instance = occupy(MACHINE, [grant(UUIDS["1:0"])])
    assert not by_instance.is_free(UUIDS["1"])
    assert "1:0" in by_instance.blocked[UUIDS["1"]]
    assert by_instance.is_free(UUIDS["1:1"])
    by_whole = occupy(MACHINE, [grant(UUIDS["1"])])
    assert not by_whole.is_free(UUIDS["1:0"])
    assert not by_whole.is_free(UUIDS["1:1"])
    assert by_whole.is_free(UUIDS["0"])


def test_containers_of_others_hold_and_are_named() -> None:
    foreign = ForeignContainer("theirs._.1002", BOB, frozenset({UUIDS["0"]}), at(3))
    occupancy = occupy(MACHINE, [grant(UUIDS["0"], minute=5)], [foreign])
    assert [(holder.container_name, holder.state) for holder in occupancy.holders[UUIDS["0"]]] == [
        ("theirs._.1002", FOREIGN_STATE),
        ("pt", "active"),
    ]


def test_a_device_that_is_gone_blocks_nothing_else() -> None:
    occupancy = occupy(MACHINE, [grant("GPU-gone")])
    assert not occupancy.is_free("GPU-gone")
    assert all(occupancy.is_free(uuid) for uuid in UUIDS.values())


def test_holders_are_told_with_the_end_of_their_hold() -> None:
    held = dataclasses.replace(grant(UUIDS["0"], state=AllocationState.HELD), deadline_at=at(15))
    (holder,) = occupy(MACHINE, [held]).holders[UUIDS["0"]]
    assert (holder.uid, holder.until, holder.allocation_id) == (ALICE, at(15), held.id)


@given(inventories(), st.data())
def test_a_device_is_free_exactly_if_nobody_holds_it_its_card_or_one_of_its_instances(
    inventory: Inventory, data: st.DataObject
) -> None:
    every = all_gpus(inventory)
    taken = data.draw(st.lists(st.sampled_from(every), unique=True, max_size=4))
    occupancy = occupy(inventory, [grant(gpu.uuid, minute=number) for number, gpu in enumerate(taken)])
    held = {gpu.uuid for gpu in taken}
    for gpu in every:
        whole_is_held = gpu.parent_uuid in held
        instance_is_held = any(
            other.uuid in held for other in every if other.parent_uuid == gpu.uuid and other.uuid != gpu.uuid
        )
        assert occupancy.is_free(gpu.uuid) == (gpu.uuid not in held and not whole_is_held and not instance_is_held)
