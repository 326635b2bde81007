"""Which devices a container holds, however they were attached."""

import dataclasses

import pytest
from hypothesis import given, strategies as st

from ds01.domain.devices.attachment import (
    UNKNOWN_DEVICE,
    AttachmentFacts,
    DeviceRequest,
    attached_gpus,
    devices_in,
)
from ds01.domain.devices.gpu import Inventory, all_gpus
from tests.unit.domain.machines import a100, inventories, machine

# 0 whole, 1 with two instances, 2 whole
MACHINE = machine(a100(0), a100(1, "1g.5gb", "2g.10gb"), a100(2))
ADDRESSES = {gpu.address: gpu.uuid for gpu in all_gpus(MACHINE)}
CARD_1 = {"1", "1:0", "1:1"}
EVERY = set(ADDRESSES)
GPU = ("gpu",)


def held(facts: AttachmentFacts, inventory: Inventory = MACHINE) -> set[str]:
    """Return addresses; what is no device of the machine, by its UUID."""
    by_uuid = {gpu.uuid: gpu.address for gpu in all_gpus(inventory)}
    return {by_uuid.get(uuid, uuid) for uuid in attached_gpus(facts, inventory)}


def by_ids(*ids: str, driver: str = "", capabilities: tuple[str, ...] = GPU) -> AttachmentFacts:
    return AttachmentFacts((DeviceRequest(driver, 0, ids, capabilities),))


def by_count(count: int, driver: str = "", capabilities: tuple[str, ...] = GPU) -> AttachmentFacts:
    return AttachmentFacts((DeviceRequest(driver, count, (), capabilities),))


@pytest.mark.parametrize(
    ("ids", "wanted"),
    [
        (["0"], {"0"}),
        (["1"], CARD_1),
        (["1:0"], {"1:0"}),
        (["0", "1:1"], {"0", "1:1"}),
        ([ADDRESSES["0"]], {"0"}),
        ([ADDRESSES["0"].upper()], {"0"}),
        ([ADDRESSES["1:1"]], {"1:1"}),
        (["GPU-0aaa"], {"0"}),
        (["gpu-2AAA"], {"2"}),
        ([f"MIG-{ADDRESSES['1']}/8/0"], {"1:1"}),
        ([f"MIG-{ADDRESSES['1']}/99/0"], CARD_1),
        (["0000:02:00.0"], CARD_1),
        (["00000000:03:00.0"], {"2"}),
        (["all"], EVERY),
        (["ALL"], EVERY),
        (["none"], set()),
        (["void"], set()),
        ([""], set()),
        (["none", "0"], {"0"}),
        ([" 0 "], {"0"}),
    ],
)
def test_every_way_to_name_devices_is_understood(ids: list[str], wanted: set[str]) -> None:
    assert held(by_ids(*ids)) == wanted
    environment = AttachmentFacts(runtime="nvidia", visible_devices=",".join(ids))
    assert held(environment) == wanted


@pytest.mark.parametrize("name", ["3", "00", "1:9", "GPU-", "gpu", "0;1", "-1", "0-2", "rubbish", "a=b", "MIG-"])
def test_a_name_that_cannot_be_understood_holds_every_device(name: str) -> None:
    assert held(by_ids(name)) == EVERY


def test_a_device_that_is_gone_holds_only_its_own_name() -> None:
    assert held(by_ids("GPU-99999999-9999")) == {"GPU-99999999-9999"}
    assert held(by_ids("MIG-99999999-9999")) == {"MIG-99999999-9999"}


def test_a_beginning_that_several_cards_share_holds_all_of_them() -> None:
    twin = dataclasses.replace(a100(3), uuid="GPU-0aaa9999")
    assert held(by_ids("GPU-0aaa"), machine(a100(0), twin)) == {"0", "3"}


@pytest.mark.parametrize(
    ("count", "wanted"),
    [(-1, EVERY), (1, {"0"}), (2, {"0"} | CARD_1), (3, EVERY), (4, EVERY), (2**31 - 1, EVERY), (-(2**31), EVERY)],
)
def test_a_request_by_number_holds_the_first_devices(count: int, wanted: set[str]) -> None:
    assert held(by_count(count)) == wanted
    assert held(by_count(count, driver="nvidia", capabilities=())) == wanted


@pytest.mark.parametrize("capabilities", [("nvidia",), ("compute", "utility"), ("gpu", "graphics"), ()])
def test_every_capability_that_dockers_nvidia_driver_answers_to_is_a_request_for_gpus(
    capabilities: tuple[str, ...],
) -> None:
    assert held(by_ids("0", capabilities=capabilities)) == {"0"}


def test_a_request_that_nobody_understands_holds_every_device() -> None:
    assert held(by_ids("0", driver="somebody")) == EVERY
    assert held(by_ids("0", capabilities=("tpu",))) == EVERY
    assert held(by_ids("0", driver="amd")) == set()


def test_an_empty_request_lets_the_images_variable_decide() -> None:
    empty = DeviceRequest("", 0, (), GPU)
    assert held(AttachmentFacts((empty,))) == EVERY
    assert held(AttachmentFacts((empty,), visible_devices="1:0")) == {"1:0"}
    assert held(AttachmentFacts((empty,), visible_devices="void")) == set()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("nvidia.com/gpu=0", {"0"}),
        ("nvidia.com/gpu=1:0", {"1:0"}),
        ("nvidia.com/gpu=all", EVERY),
        ("nvidia.com/gpu=gpu2", {"2"}),
        ("nvidia.com/gpu=mig1:1", {"1:1"}),
        ("management.nvidia.com/gpu=all", EVERY),
        (f"nvidia.com/gpu={ADDRESSES['1:1']}", {"1:1"}),
        ("site.example/gpu=fast", EVERY),
        ("nvidia.com/pgpu=0", EVERY),
        ("site.example/net=0", EVERY),
        ("rubbish", EVERY),
        ("nvidia.com/imex-channel=0", set()),
        ("nvidia.com/gds=all", set()),
        ("amd.com/gpu=0", set()),
        ("ds01.io/allocation=0011223344556677", EVERY),
    ],
)
def test_cdi_names_are_understood(name: str, wanted: set[str]) -> None:
    assert held(by_ids(name, driver="cdi", capabilities=())) == wanted
    if "=" in name:
        assert held(AttachmentFacts(runtime="nvidia", visible_devices=name)) == wanted


def test_a_name_of_ours_holds_what_the_store_says_and_everything_where_it_says_nothing() -> None:
    facts = by_ids("ds01.io/allocation=0011223344556677", driver="cdi", capabilities=())
    assert facts.managed_device == "ds01.io/allocation=0011223344556677"
    bound = dataclasses.replace(facts, bound=frozenset({ADDRESSES["1:0"]}))
    assert held(bound) == {"1:0"}
    assert held(dataclasses.replace(facts, bound=frozenset())) == set()
    assert held(facts) == EVERY


@pytest.mark.parametrize(
    "request_", [DeviceRequest("cdi", 0, ("nvidia.com/gpu=0",)), DeviceRequest("", 0, ("0",), GPU)]
)
def test_what_others_name_is_not_changed_by_what_the_store_says(request_: DeviceRequest) -> None:
    facts = AttachmentFacts((request_,), bound=frozenset({ADDRESSES["2"]}))
    assert facts.managed_device is None
    assert held(facts) == {"0"}


@pytest.mark.parametrize("runtime", ["", "runc", "io.containerd.runc.v2", "crun"])
def test_nobody_reads_the_variable_under_a_plain_runtime(runtime: str) -> None:
    assert held(AttachmentFacts(runtime=runtime, visible_devices="all")) == set()


@pytest.mark.parametrize("runtime", ["nvidia", "nvidia-legacy", "nvidia-cdi", "runsc", "site-gpu"])
def test_any_other_runtime_may_read_the_variable(runtime: str) -> None:
    assert held(AttachmentFacts(runtime=runtime, visible_devices="1:0,2")) == {"1:0", "2"}
    assert held(AttachmentFacts(runtime=runtime)) == set()


def test_a_request_wins_over_the_images_variable() -> None:
    request = DeviceRequest("", 0, ("0",), GPU)
    assert held(AttachmentFacts((request,), runtime="nvidia", visible_devices="all")) == {"0"}
    cdi = DeviceRequest("cdi", 0, ("nvidia.com/gpu=2",))
    assert held(AttachmentFacts((cdi,), runtime="nvidia", visible_devices="0")) == {"0", "2"}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/dev/nvidia0", {"0"}),
        ("/dev/nvidia1", CARD_1),
        ("/dev/./nvidia2", {"2"}),
        ("//dev/nvidia2", {"2"}),
        ("/dev/char/195:2", {"2"}),
        ("/dev/nvidia9", EVERY),
        ("/dev", EVERY),
        ("/dev/", EVERY),
        ("/dev/nvidiactl", set()),
        ("/dev/char/195:255", set()),
        ("/dev/nvidia-uvm", set()),
        ("/dev/nvidia-caps/nvidia-cap21", set()),
        ("/dev/dri/renderD128", set()),
        ("/dev/snd", set()),
        ("/dev/nvidia0x", set()),
    ],
)
def test_raw_device_nodes_count(path: str, wanted: set[str]) -> None:
    assert held(AttachmentFacts(device_paths=(path,))) == wanted


def test_a_node_holds_every_device_where_the_driver_does_not_say_the_minors() -> None:
    nameless = machine(dataclasses.replace(a100(0), minor=None), a100(1))
    assert held(AttachmentFacts(device_paths=("/dev/nvidia0",)), nameless) == {"0", "1"}


def test_privilege_alone_holds_nothing() -> None:
    assert held(AttachmentFacts(is_privileged=True)) == set()
    assert held(AttachmentFacts(is_privileged=True, device_paths=("/dev/nvidia0",))) == {"0"}


def test_a_machine_without_devices_has_nothing_to_hold() -> None:
    assert held(by_count(-1), Inventory()) == set()


NAMES = st.sampled_from(["0", "1", "1:0", "all", "none", "GPU-0aaa0000-bbbb", "nvidia.com/gpu=0"]) | st.text(
    max_size=12
)
REQUESTS = st.builds(
    DeviceRequest,
    st.sampled_from(["", "nvidia", "cdi", "amd", "x"]),
    st.integers(-2, 5),
    st.lists(NAMES, max_size=3).map(tuple),
    st.lists(st.sampled_from(["gpu", "compute", "tpu"]), max_size=2).map(tuple),
)


@given(inventories(), st.lists(REQUESTS, max_size=3), st.none() | st.text(max_size=20), st.lists(NAMES, max_size=2))
def test_more_attachments_never_hold_less(
    inventory: Inventory, requests: list[DeviceRequest], visible: str | None, paths: list[str]
) -> None:
    nodes = tuple(f"/dev/nvidia{path}" for path in paths)
    facts = AttachmentFacts(tuple(requests), "nvidia", visible, nodes)
    together = attached_gpus(facts, inventory)
    for request in requests:
        assert attached_gpus(AttachmentFacts((request,), visible_devices=visible), inventory) <= together
    for node in nodes:
        assert attached_gpus(AttachmentFacts(device_paths=(node,)), inventory) <= together


@given(inventories(), st.sampled_from(["cdi", "", "nvidia"]), st.text(min_size=1, max_size=12))
def test_a_named_attachment_is_never_taken_for_nothing_unless_it_says_nothing(
    inventory: Inventory, driver: str, name: str
) -> None:
    facts = by_ids(name, driver=driver)
    if name.strip().lower() not in {"", "none", "void"}:
        assert attached_gpus(facts, inventory)


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        (by_count(-1), {UNKNOWN_DEVICE}),
        (by_count(2), {UNKNOWN_DEVICE}),
        (by_ids("all"), {UNKNOWN_DEVICE}),
        (by_ids("0", "1:1"), {UNKNOWN_DEVICE}),
        (by_ids(ADDRESSES["0"], "2"), {ADDRESSES["0"], UNKNOWN_DEVICE}),
        (by_ids(ADDRESSES["1:1"]), {ADDRESSES["1:1"]}),
        (by_ids("nvidia.com/gpu=all", driver="cdi"), {UNKNOWN_DEVICE}),
        (by_ids("nvidia.com/gds=all", driver="cdi"), set()),
        (by_ids("ds01.io/allocation=a", driver="cdi"), {UNKNOWN_DEVICE}),
        (AttachmentFacts(runtime="nvidia", visible_devices="all"), {UNKNOWN_DEVICE}),
        (AttachmentFacts(runtime="nvidia", visible_devices="void"), set()),
        (AttachmentFacts(runtime="runc", visible_devices="all"), set()),
        (AttachmentFacts(device_paths=("/dev/nvidia0",)), {UNKNOWN_DEVICE}),
        (AttachmentFacts(device_paths=("/dev/nvidiactl",)), set()),
        (AttachmentFacts(), set()),
    ],
)
def test_what_only_an_unknown_machine_could_say_is_an_unknown_device_and_not_none(
    facts: AttachmentFacts, wanted: set[str]
) -> None:
    assert set(devices_in(facts, None)) == wanted


def test_a_name_of_ours_has_what_the_store_says_while_the_machine_is_unknown() -> None:
    named = by_ids("ds01.io/allocation=a", driver="cdi")
    bound = dataclasses.replace(named, bound=frozenset({"GPU-2", "GPU-1"}))
    assert devices_in(bound, None) == ("GPU-1", "GPU-2")
    assert devices_in(dataclasses.replace(named, bound=frozenset()), None) == ()


@given(inventories(), st.lists(REQUESTS, max_size=3), st.none() | NAMES)
def test_a_container_with_devices_never_looks_as_if_it_had_none_because_the_machine_is_unknown(
    inventory: Inventory, requests: list[DeviceRequest], visible: str | None
) -> None:
    facts = AttachmentFacts(tuple(requests), "nvidia", visible)
    if devices_in(facts, inventory):
        assert devices_in(facts, None)
