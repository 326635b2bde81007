"""What a container's own CDI spec holds: all that its devices need, nothing of others, and never of a stale spec."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from ds01.domain.devices.cdi import Binding, CdiSpec, device_name, merge_edits, read_binding, spec_document
from ds01.domain.devices.gpu import Inventory, schedulable_gpus
from ds01.errors import BackendError
from tests.fake_cdi import nvidia_spec
from tests.unit.domain.machines import a100, inventories, machine

# 0 whole, 1 with two instances, 2 whole; the driver counts nodes from 0 as the index
MACHINE = machine(*(replace(card, minor=card.index) for card in (a100(0), a100(1, "1g.5gb", "2g.10gb"), a100(2))))
ZERO, ONE, TWO = MACHINE.devices
PART, OTHER_PART = (instance.uuid for instance in ONE.instances)
ID = "0011223344556677"


def binding(*uuids: str) -> Binding:
    return Binding(ID, "8899aabbccddeeff", uuids)


def edits_of(document: dict[str, Any]) -> dict[str, Any]:
    (device,) = document["devices"]
    assert device["name"] == ID
    edits: dict[str, Any] = device["containerEdits"]
    return edits


def paths(document: dict[str, Any]) -> list[str]:
    return [node["path"] for node in edits_of(document)["deviceNodes"]]


def spec(devices: dict[str, list[str]], **changes: Any) -> CdiSpec:
    """Return a spec of devices by name, each with these nodes."""
    nodes = {name: {"deviceNodes": [{"path": path} for path in found]} for name, found in devices.items()}
    return replace(CdiSpec("/etc/cdi/nvidia.yaml", "0.5.0", "nvidia.com/gpu", nodes, {}), **changes)


def test_the_common_part_and_the_devices_own_are_copied_whole() -> None:
    common = {
        "env": ["NVIDIA_VISIBLE_DEVICES=void"],
        "mounts": [{"hostPath": "/lib/libcuda.so.1", "containerPath": "/lib/libcuda.so.1", "options": ["ro"]}],
        "hooks": [{"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": ["update-ldcache"]}],
        "additionalGids": [44],
    }
    site = replace(nvidia_spec(MACHINE), edits=common, version="0.7.0")
    document = spec_document(binding(ZERO.uuid), [site], MACHINE)
    edits = edits_of(document)
    assert (document["cdiVersion"], document["kind"]) == ("0.7.0", "ds01.io/allocation")
    assert {key: edits[key] for key in ("mounts", "hooks", "additionalGids")} == {
        key: common[key] for key in ("mounts", "hooks", "additionalGids")
    }
    assert paths(document) == ["/dev/nvidia0"]
    assert edits["env"] == [
        "NVIDIA_VISIBLE_DEVICES=void",
        "DS01_BOUND_GRANT=8899aabbccddeeff",
        f"DS01_BOUND_GPUS={ZERO.uuid}",
    ]


def test_several_devices_are_given_together_with_each_shared_part_once() -> None:
    document = spec_document(binding(ZERO.uuid, TWO.uuid), [nvidia_spec(MACHINE)], MACHINE)
    assert paths(document) == ["/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia2"]


@given(inventories(), st.data())
def test_a_container_has_the_nodes_of_its_devices_and_of_no_other(machine_: Inventory, data: st.DataObject) -> None:
    cards = tuple(replace(card, minor=card.index) for card in machine_.devices)
    inventory = replace(machine_, devices=cards)
    gpus = [gpu.uuid for gpu in schedulable_gpus(inventory)]
    wanted = data.draw(st.lists(st.sampled_from(gpus), unique=True, max_size=3)) if gpus else []
    site = nvidia_spec(inventory)
    document = spec_document(binding(*wanted), [site], inventory)
    expected = [node["path"] for uuid in wanted for node in site.devices[uuid]["deviceNodes"]]  # type: ignore[attr-defined]  # JSON
    have = edits_of(document).get("deviceNodes", [])
    assert sorted(node["path"] for node in have) == sorted({*expected, *(["/dev/nvidiactl"] if wanted else [])})
    assert read_binding(document, ID) == binding(*wanted)


@pytest.mark.parametrize("name", ["0", "gpu0"])
def test_a_whole_card_may_be_named_by_its_index_where_its_node_proves_it(name: str) -> None:
    assert paths(spec_document(binding(ZERO.uuid), [spec({name: ["/dev/nvidia0"]})], MACHINE)) == ["/dev/nvidia0"]
    for nodes in (["/dev/nvidia1"], [], ["/dev/nvidia0", "/dev/nvidia1"]):
        with pytest.raises(BackendError, match="out of date"):
            spec_document(binding(ZERO.uuid), [spec({name: nodes})], MACHINE)


def test_a_uuid_goes_before_an_index() -> None:
    site = spec({"0": ["/dev/nvidia7"], ZERO.uuid: ["/dev/nvidia0"]})
    assert paths(spec_document(binding(ZERO.uuid), [site], MACHINE)) == ["/dev/nvidia0"]


def test_a_spec_of_before_the_driver_counted_anew_is_refused_also_by_uuid() -> None:
    with pytest.raises(BackendError, match=r"its GPU-.* is /dev/nvidia2, and the driver says /dev/nvidia0") as refused:
        spec_document(binding(ZERO.uuid), [spec({ZERO.uuid: ["/dev/nvidia2"]})], MACHINE)
    assert "nvidia-ctk cdi generate" in (refused.value.hint or "")


def test_an_instance_is_taken_by_its_uuid_only() -> None:
    by_index = spec({"1:0": ["/dev/nvidia1"], "mig1:0": ["/dev/nvidia1"], "1": ["/dev/nvidia1"]})
    with pytest.raises(BackendError, match=PART) as refused:
        spec_document(binding(PART), [by_index], MACHINE)
    assert "--device-name-strategy=uuid" in (refused.value.hint or "")
    with pytest.raises(BackendError, match="out of date"):
        spec_document(binding(PART), [spec({PART: ["/dev/nvidia2"]})], MACHINE)


def test_specs_of_others_are_not_looked_at() -> None:
    for kind in ("site.example/gpu", "nvidia.com/mofed", "ds01.io/allocation"):
        with pytest.raises(BackendError, match="No CDI spec"):
            spec_document(binding(ZERO.uuid), [replace(nvidia_spec(MACHINE), kind=kind)], MACHINE)


def test_the_later_folder_wins_and_within_one_folder_nobody_guesses() -> None:
    low, high = spec({ZERO.uuid: ["/dev/nvidia2"]}), spec({ZERO.uuid: ["/dev/nvidia0"]}, rank=1, source="/run/b.yaml")
    for specs in ([low, high], [high, low]):
        assert paths(spec_document(binding(ZERO.uuid), specs, MACHINE)) == ["/dev/nvidia0"]
    with pytest.raises(BackendError, match=r"Both /run/b.yaml and /run/c.yaml"):
        spec_document(binding(ZERO.uuid), [high, replace(high, source="/run/c.yaml")], MACHINE)


def test_a_device_that_is_gone_is_said() -> None:
    with pytest.raises(BackendError, match="not there any more"):
        spec_document(binding("GPU-gone"), [nvidia_spec(MACHINE)], MACHINE)


def test_an_old_version_is_raised_to_what_our_name_needs_and_rubbish_is_refused() -> None:
    old = replace(nvidia_spec(MACHINE), version="0.3.0")
    assert spec_document(binding(ZERO.uuid), [old], MACHINE)["cdiVersion"] == "0.5.0"
    with pytest.raises(BackendError, match="'latest', which is none"):
        spec_document(binding(ZERO.uuid), [replace(nvidia_spec(MACHINE), version="latest")], MACHINE)


def test_edits_that_exclude_each_other_are_refused() -> None:
    assert merge_edits([{"intelRdt": {"closID": "a"}}, {"intelRdt": {"closID": "a"}}]) == {"intelRdt": {"closID": "a"}}
    with pytest.raises(BackendError, match="intelRdt"):
        merge_edits([{"intelRdt": {"closID": "a"}}, {"intelRdt": {"closID": "b"}}])


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"kind": "ds01.io/allocation"},
        {"kind": "ds01.io/allocation", "devices": "x"},
        {"kind": "ds01.io/allocation", "devices": [{"name": ID}]},
        {"kind": "ds01.io/allocation", "devices": [{"name": ID, "containerEdits": {"env": [1]}}]},
        {"kind": "ds01.io/allocation", "devices": [{"name": "other", "containerEdits": {"env": []}}]},
        {"kind": "nvidia.com/gpu", "devices": [{"name": ID, "containerEdits": {"env": ["DS01_BOUND_GRANT=a"]}}]},
    ],
)
def test_what_is_no_spec_of_ours_binds_nothing(document: dict[str, object]) -> None:
    assert read_binding(document, ID) is None


def test_the_name_is_what_others_recognise() -> None:
    assert device_name(ID) == f"ds01.io/allocation={ID}"
