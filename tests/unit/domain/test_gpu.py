"""Devices and what of them can be granted."""

import dataclasses

import pytest
from hypothesis import given

from ds01.domain.devices.gpu import (
    GpuKind,
    GpuState,
    Inventory,
    all_gpus,
    find_card,
    get_gpu,
    instance_equivalents,
    schedulable_gpus,
)
from ds01.errors import InvalidRequestError, NotFoundError
from tests.unit.domain.machines import a30, a100, inventories, machine


def test_the_state_of_a_card_follows_from_the_driver() -> None:
    assert a100(0).state is GpuState.WHOLE
    assert a100(0, "1g.5gb").state is GpuState.MIG
    assert a100(0, mig=True).state is GpuState.MIG_EMPTY
    assert a100(0, "1g.5gb", fault="Xid 79").state is GpuState.UNHEALTHY
    assert dataclasses.replace(a100(0), mig_pending=True).state is GpuState.PENDING
    assert dataclasses.replace(a100(0, "1g.5gb"), mig_pending=False).state is GpuState.PENDING


def test_only_whole_cards_and_existing_instances_can_be_granted() -> None:
    pending = dataclasses.replace(a100(4), mig_pending=True)
    inventory = machine(
        a100(0), a100(1, "1g.5gb", "2g.10gb"), a100(2, mig=True), a100(3, fault="it fell off the bus"), pending
    )
    assert [gpu.address for gpu in schedulable_gpus(inventory)] == ["0", "1:0", "1:1"]


def test_what_can_be_attached_includes_what_cannot_be_granted() -> None:
    inventory = machine(a100(0, "1g.5gb"), a100(1, mig=True))
    assert [gpu.address for gpu in all_gpus(inventory)] == ["0", "0:0", "1"]


def test_shares_are_read_from_the_card_and_never_assumed() -> None:
    shares = {
        gpu.profile: gpu.equivalents
        for gpu in schedulable_gpus(machine(a100(0, "1g.5gb", "3g.20gb"), a30(1, "1g.6gb")))
    }
    assert shares == {"1g.5gb": 1 / 7, "3g.20gb": 3 / 7, "1g.6gb": 1 / 4}
    assert schedulable_gpus(machine(a100(0)))[0].equivalents == 1.0


def test_an_instance_counts_as_a_whole_card_where_the_driver_does_not_say_the_slices() -> None:
    card = dataclasses.replace(a100(0, "1g.5gb"), slices_total=0)
    assert instance_equivalents(card, card.instances[0]) == 1.0


@given(inventories())
def test_devices_have_one_name_each_and_belong_to_their_card(inventory: Inventory) -> None:
    every = all_gpus(inventory)
    assert len({gpu.uuid for gpu in every}) == len({gpu.address for gpu in every}) == len(every)
    assert {gpu.uuid for gpu in schedulable_gpus(inventory)} <= {gpu.uuid for gpu in every}
    for gpu in every:
        card = find_card(inventory, gpu.uuid)
        assert card is not None
        assert card.uuid == gpu.parent_uuid
        assert (gpu.kind is GpuKind.FULL) == (gpu.uuid == gpu.parent_uuid)
        assert 0 < gpu.equivalents <= 1
        assert get_gpu(inventory, gpu.uuid) == get_gpu(inventory, f" {gpu.address} ") == gpu


def test_a_device_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(NotFoundError, match="0, 0:0"):
        get_gpu(machine(a100(0, "1g.5gb")), "0:1")
    with pytest.raises(NotFoundError, match="none"):
        get_gpu(Inventory(), "0")
    with pytest.raises(InvalidRequestError):
        get_gpu(Inventory(), " ")
    assert find_card(Inventory(), "GPU-1") is None
