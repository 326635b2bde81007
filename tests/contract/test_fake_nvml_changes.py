"""What the test double of NVML changes, reports and tells of links and health, seen through the vendor's binding."""

from collections.abc import Iterator

import pytest

from tests.contract.nvml_double import CUT, MIG_1G, MIG_3G, WHOLE, FakeMachine
from tests.contract.nvml_session import Session, smi

SUCCESS = 0
INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
NO_PERMISSION = 4
TIMEOUT = 10
GPU_IS_LOST = 15
RESET_REQUIRED = 16
IN_USE = 19
INSUFFICIENT_RESOURCES = 23
XID = 8
MIG_CHANGED = 0x100
ONE_G, TWO_G, THREE_G, FOUR_G, SEVEN_G, MEDIA = 19, 14, 9, 5, 0, 20

A100 = "gpu mig=1 mem=40960"


@pytest.fixture
def other(machine: FakeMachine) -> Iterator[Session]:
    """Another process on the same machine."""
    session = Session(machine)
    session.ask("nvmlInit()")
    yield session
    session.close()


def test_an_a100_waits_for_a_reset_to_change_its_mode(session: Session, other: Session, machine: FakeMachine) -> None:
    assert session.ask("nvmlDeviceSetMigMode(gpu(0), 1)") == RESET_REQUIRED
    assert other.ask("nvmlDeviceGetMigMode(gpu(0))") == [0, 1]
    assert smi(machine, "--gpu-reset", "-i", "0").returncode == 0
    assert session.ask("nvmlDeviceGetMigMode(gpu(0))") == [1, 1]
    assert session.ask("nvmlDeviceSetMigMode(gpu(0), 0)") == RESET_REQUIRED
    assert session.ask("nvmlDeviceSetMigMode(gpu(0), 1)") == SUCCESS
    assert session.ask("nvmlDeviceGetMigMode(gpu(0))") == [1, 1]


def test_an_h100_changes_its_mode_at_once(session: Session, other: Session, machine: FakeMachine) -> None:
    machine.write("gpu mig=0 cc=9.0  # an H100")
    assert session.ask("nvmlDeviceSetMigMode(gpu(0), 1)") == SUCCESS
    assert other.ask("nvmlDeviceGetMigMode(gpu(0))") == [1, 1]
    assert "# an H100" in machine.read()


def test_a_card_in_use_keeps_its_mode_and_cannot_be_reset(session: Session, machine: FakeMachine) -> None:
    machine.write("gpu mig=0 cc=9.0\nproc gpu=0 pid=4001")
    assert session.ask("nvmlDeviceSetMigMode(gpu(0), 1)") == IN_USE
    assert session.ask("nvmlDeviceGetMigMode(gpu(0))") == [0, 1]
    assert smi(machine, "--gpu-reset").returncode == IN_USE


def test_a_card_with_instances_keeps_its_mode(session: Session) -> None:
    assert session.ask("nvmlDeviceSetMigMode(gpu(1), 0)") == IN_USE
    assert session.ask("nvmlDeviceGetMigMode(gpu(1))") == [1, 0]


def test_a_card_without_mig_has_no_mode_to_set(session: Session, machine: FakeMachine) -> None:
    machine.write("gpu")
    assert session.code_of("nvmlDeviceSetMigMode(gpu(0), 1)") == NOT_SUPPORTED


def test_nvidia_smi_sets_the_mode(session: Session, machine: FakeMachine) -> None:
    machine.write("gpu mig=0 cc=9.0\ngpu mig=0 cc=9.0")
    assert smi(machine, "-mig", "1", "-i", "1").returncode == 0
    assert [session.ask(f"nvmlDeviceGetMigMode(gpu({index}))") for index in (0, 1)] == [[0, 0], [1, 1]]


def test_an_instance_appears_for_every_process_and_goes_again(
    session: Session, other: Session, machine: FakeMachine
) -> None:
    before = machine.read()
    assert session.ask(f"make(1, {TWO_G}, 2)") == [1, 2, 2]
    assert other.code_of("mig(1, 3)") == 6  # a GPU instance alone is no device
    session.ask("keep('compute', nvmlGpuInstanceCreateComputeInstance(kept['instance'], 1))")
    assert other.ask("nvmlDeviceGetName(mig(1, 3))") == "NVIDIA A100-PCIE-40GB MIG 2g.10gb"
    assert other.ask("nvmlDeviceGetGpuInstanceId(mig(1, 3))") == 1
    assert other.ask("nvmlDeviceGetUUID(mig(1, 0))") == MIG_3G
    assert session.code_of("nvmlGpuInstanceDestroy(kept['instance'])") == IN_USE
    session.ask("nvmlComputeInstanceDestroy(kept['compute'])")
    session.ask("nvmlGpuInstanceDestroy(kept['instance'])")
    assert session.code_of("nvmlGpuInstanceGetInfo(kept['instance'])") == INVALID_ARGUMENT
    assert other.code_of("mig(1, 3)") == 6
    reports = [line for line in machine.read().splitlines() if line.startswith("event")]
    assert len(reports) == 1
    assert machine.read().replace(reports[0], "").rstrip() == before.rstrip()


def test_what_is_made_at_the_same_place_again_has_another_name(session: Session) -> None:
    names = []
    for _ in range(2):
        session.ask(f"make(1, {ONE_G}, 2)")
        session.ask("keep('compute', nvmlGpuInstanceCreateComputeInstance(kept['instance'], 0))")
        names.append(session.ask("nvmlDeviceGetUUID(mig(1, 3))"))
        session.ask("nvmlComputeInstanceDestroy(kept['compute'])")
        session.ask("nvmlGpuInstanceDestroy(kept['instance'])")
    assert len(set(names)) == 2
    assert all(name.startswith("MIG-") and len(name) == 40 for name in names)


def test_the_instance_of_a_file_can_be_destroyed_and_the_others_stay_where_they_are(
    session: Session, machine: FakeMachine
) -> None:
    machine.write(
        f"{A100}\nmig slot=0 gi=1 profile=2g.10gb\nmig slot=1 gi=2 profile=1g.5gb\nmig slot=2 gi=3 profile=1g.5gb"
    )
    session.ask("keep('first', nvmlDeviceGetGpuInstanceById(gpu(0), 1))")
    session.ask("nvmlComputeInstanceDestroy(nvmlGpuInstanceGetComputeInstanceById(kept['first'], 0))")
    session.ask("nvmlGpuInstanceDestroy(kept['first'])")
    starts = [
        session.ask(f"nvmlGpuInstanceGetInfo(nvmlDeviceGetGpuInstanceById(gpu(0), {gi})).placement.start")
        for gi in (2, 3)
    ]
    assert starts == [2, 3]
    assert session.ask(f"make(0, {TWO_G})") == [1, 0, 2]


def test_places_and_what_is_left_follow_the_card(session: Session, machine: FakeMachine) -> None:
    machine.write(A100)
    assert session.ask(f"places(0, {ONE_G})") == [0, 1, 2, 3, 4, 5, 6]
    assert session.ask(f"places(0, {TWO_G})") == [0, 2, 4]
    assert session.ask(f"places(0, {THREE_G})") == [0, 4]
    assert session.ask(f"places(0, {FOUR_G})") == [0]
    assert session.ask(f"places(0, {SEVEN_G})") == [0]
    assert session.ask("places(0, 15)") == [0, 2, 4, 6]
    assert session.code_of("places(0, 77)") == INVALID_ARGUMENT
    session.ask(f"make(0, {THREE_G}, 4)")
    left = "nvmlDeviceGetGpuInstanceRemainingCapacity"
    assert session.ask(f"{left}(gpu(0), {ONE_G})") == 4
    assert session.ask(f"{left}(gpu(0), {TWO_G})") == 2
    assert session.ask(f"{left}(gpu(0), {FOUR_G})") == 1
    assert session.ask(f"{left}(gpu(0), {SEVEN_G})") == 0
    assert session.ask(f"places(0, {THREE_G})") == [0, 4]
    machine.write("gpu mig=1 mem=24576 slices=4")
    assert session.ask("places(0, 5)") == [0, 2]


def test_a_place_is_given_once_and_only_where_one_can_begin(session: Session, machine: FakeMachine) -> None:
    machine.write(A100)
    session.ask(f"make(0, {TWO_G}, 2)")
    assert session.code_of(f"make(0, {ONE_G}, 3)") == INSUFFICIENT_RESOURCES
    assert session.code_of(f"make(0, {TWO_G}, 1)") == INVALID_ARGUMENT
    assert session.code_of("make(0, 77)") == INVALID_ARGUMENT
    assert session.ask(f"make(0, {MEDIA}, 6)")[1] == 6
    assert session.code_of(f"make(0, {MEDIA}, 5)") == INSUFFICIENT_RESOURCES
    machine.write("gpu mig=0")
    assert session.code_of(f"make(0, {ONE_G}, 0)") == NOT_SUPPORTED


def test_two_processes_never_get_one_place(session: Session, other: Session, machine: FakeMachine) -> None:
    machine.write(A100)
    answers = [(session, other)[turn % 2].answer(f"make(0, {ONE_G})") for turn in range(10)]
    assert [answer.get("code") for answer in answers] == [None] * 7 + [INSUFFICIENT_RESOURCES] * 3
    lines = [line for line in machine.read().splitlines() if line.startswith("gi ")]
    assert len({line.split("start=")[1] for line in lines}) == 7


def test_parts_of_a_gpu_instance_can_be_made(session: Session, machine: FakeMachine) -> None:
    machine.write(A100)
    session.ask(f"make(0, {THREE_G})")
    info = "nvmlGpuInstanceGetComputeInstanceProfileInfo(kept['instance'], {}, 0).{}"
    assert session.ask(info.format(1, "sliceCount")) == 2
    assert session.ask(info.format(2, "instanceCount")) == 1
    assert session.code_of(info.format(4, "id")) == NOT_SUPPORTED
    session.ask("keep('compute', nvmlGpuInstanceCreateComputeInstance(kept['instance'], 1))")
    assert session.ask("nvmlDeviceGetName(mig(0, 0))").endswith("MIG 2c.3g.20gb")
    assert session.code_of("nvmlGpuInstanceCreateComputeInstance(kept['instance'], 1)") == INSUFFICIENT_RESOURCES
    assert session.ask("nvmlComputeInstanceGetInfo(kept['compute']).profileId") == 1


def test_an_instance_in_use_stays(session: Session, machine: FakeMachine) -> None:
    machine.append("proc gpu=1 gi=7 ci=0 pid=4001")
    session.ask("keep('instance', nvmlDeviceGetGpuInstanceById(gpu(1), 7))")
    session.ask("keep('compute', nvmlGpuInstanceGetComputeInstanceById(kept['instance'], 0))")
    assert session.code_of("nvmlComputeInstanceDestroy(kept['compute'])") == IN_USE
    assert session.ask("nvmlDeviceGetUUID(mig(1, 1))") == MIG_1G


def test_changes_can_be_forbidden(session: Session, machine: FakeMachine) -> None:
    for name in ("nvmlDeviceSetMigMode", "nvmlDeviceCreateGpuInstance"):
        machine.append(f"fail func={name} ret={NO_PERMISSION}")
    assert session.code_of("nvmlDeviceSetMigMode(gpu(0), 1)") == NO_PERMISSION
    assert session.code_of(f"make(1, {ONE_G})") == NO_PERMISSION


def listen(session: Session, types: int = XID | MIG_CHANGED) -> None:
    session.ask("keep('set', nvmlEventSetCreate())")
    for index in (0, 1):
        session.ask(f"nvmlDeviceRegisterEvents(gpu({index}), {types}, kept['set'])")


def test_an_added_line_is_reported_once_to_every_listener(
    session: Session, other: Session, machine: FakeMachine
) -> None:
    machine.append("event gpu=0 type=xid data=13")
    listen(session)
    listen(other)
    assert session.code_of("event(0)") == TIMEOUT
    machine.append("event gpu=1 type=xid data=79")
    for one in (session, other):
        assert one.ask("event(2000)") == [1, XID, 79]
        assert one.code_of("event(20)") == TIMEOUT


def test_only_what_was_asked_for_is_reported(session: Session, machine: FakeMachine) -> None:
    listen(session, XID)
    machine.append("event gpu=0 type=ecc")
    machine.append("event gpu=0 type=xid data=48")
    assert session.ask("event(2000)") == [0, XID, 48]


def test_a_change_of_mig_by_another_process_is_reported(session: Session, other: Session) -> None:
    listen(session)
    other.ask(f"make(1, {ONE_G}, 2)")
    assert session.ask("event(2000)") == [1, MIG_CHANGED, 0]


def test_a_type_that_the_card_does_not_know_is_not_registered(session: Session, machine: FakeMachine) -> None:
    machine.write("gpu events=8")
    session.ask("keep('set', nvmlEventSetCreate())")
    assert session.ask("nvmlDeviceGetSupportedEventTypes(gpu(0))") == XID
    assert session.code_of(f"nvmlDeviceRegisterEvents(gpu(0), {XID | MIG_CHANGED}, kept['set'])") == NOT_SUPPORTED


def test_a_listener_hears_of_a_lost_card_after_what_came_before(session: Session, machine: FakeMachine) -> None:
    listen(session)
    lost = machine.read().replace(f"gpu uuid={WHOLE}", f"gpu lost=1 uuid={WHOLE}")
    machine.write(f"{lost}\nevent gpu=1 type=xid data=31")
    assert session.ask("event(2000)") == [1, XID, 31]
    assert session.code_of("event(2000)") == GPU_IS_LOST


def test_links_are_those_of_the_file(session: Session, machine: FakeMachine) -> None:
    machine.write(
        "gpu numa=0 mig=0\ngpu numa=0 mig=0\ngpu numa=1 mig=0\nlink gpu=0 peer=1 pcie=pix\nlink gpu=1 peer=2 nvlink=4"
    )
    level = "nvmlDeviceGetTopologyCommonAncestor(gpu({}), gpu({}))"
    assert session.ask(level.format(0, 1)) == 10
    assert session.ask(level.format(1, 0)) == 10
    assert session.ask(level.format(0, 2)) == 50
    assert session.ask("[nvmlDeviceGetIndex(one) for one in nvmlDeviceGetTopologyNearestGpus(gpu(0), 10)]") == [1]
    status = "nvmlDeviceGetP2PStatus(gpu({}), gpu({}), NVML_P2P_CAPS_INDEX_NVLINK)"
    assert session.ask(status.format(2, 1)) == 0
    assert session.ask(status.format(0, 1)) != 0
    assert [session.ask(f"nvmlDeviceGetNvLinkState(gpu(1), {link})") for link in (0, 3, 4)] == [1, 1, 0]
    assert session.ask("nvmlDeviceGetNvLinkRemotePciInfo(gpu(1), 0).busId") == "00000000:03:00.0"
    assert session.code_of("nvmlDeviceGetNvLinkState(gpu(0), 0)") == NOT_SUPPORTED
    machine.write(machine.read().replace("gpu numa=1 mig=0", "gpu numa=1 mig=1"))
    assert session.ask(status.format(1, 2)) != 0


def test_broken_memory_is_told_as_each_generation_does(session: Session, machine: FakeMachine) -> None:
    machine.write(
        "gpu cc=8.0 remap_uncorrected=2 remap_pending=1 ecc_uncorrected=1 ecc_uncorrected_ever=5\n"
        "gpu cc=7.0 retired=3 retired_pending=1"
    )
    assert session.ask("nvmlDeviceGetRemappedRows(gpu(0))") == [0, 2, 1, 0]
    assert session.code_of("nvmlDeviceGetRetiredPagesPendingStatus(gpu(0))") == NOT_SUPPORTED
    assert session.code_of("nvmlDeviceGetRemappedRows(gpu(1))") == NOT_SUPPORTED
    assert session.ask("nvmlDeviceGetRetiredPagesPendingStatus(gpu(1))") == 1
    assert len(session.ask("nvmlDeviceGetRetiredPages(gpu(1), 1)")) == 3
    assert [session.ask(f"nvmlDeviceGetTotalEccErrors(gpu(0), 1, {counter})") for counter in (0, 1)] == [1, 5]


def test_remapped_rows_are_hidden_while_instances_exist(session: Session) -> None:
    assert session.code_of("nvmlDeviceGetRemappedRows(gpu(1))") == NOT_SUPPORTED


def test_the_driver_says_what_is_to_be_done_if_it_knows_the_field(session: Session, machine: FakeMachine) -> None:
    machine.write("gpu recovery=1\ngpu")
    assert session.ask("action(0)") == [SUCCESS, 1]
    assert session.ask("action(1)")[0] == NOT_SUPPORTED


def test_mistakes_in_the_new_lines_are_reported(machine: FakeMachine) -> None:
    machine.write("gpu mig=1\nlink gpu=0 peer=3\nlink gpu=0 peer=0 pcie=warp\nevent type=dream\ngi profile=9g.9gb")
    said = smi(machine, "-L").stderr
    for part in ("peer=3 has no gpu line", "pcie=warp", "type=dream", "no profile 9g.9gb"):
        assert part in said


def test_another_card_is_not_touched(session: Session) -> None:
    session.ask("nvmlDeviceSetMigMode(gpu(0), 1)")
    assert session.ask("nvmlDeviceGetUUID(gpu(1))") == CUT
    assert session.ask("nvmlDeviceGetMigMode(gpu(1))") == [1, 1]
