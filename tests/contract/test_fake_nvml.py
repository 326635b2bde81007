"""The test double of NVML answers the vendor's Python binding as the real library is documented to."""

import time

import pytest

from tests.contract.nvml_double import CUT, MIG_1G, MIG_3G, OTHER_MIG_1G, WHOLE, FakeMachine
from tests.contract.nvml_session import NvmlCallError, Session, smi

NOT_SUPPORTED = 3
GPU_IS_LOST = 15
MIB = 1 << 20


def test_a_whole_card_is_described_as_the_file_says(session: Session) -> None:
    assert session.ask("nvmlDeviceGetCount()") == 2
    assert session.ask("nvmlDeviceGetUUID(gpu(0))") == WHOLE
    assert session.ask("nvmlDeviceGetName(gpu(0))") == "NVIDIA A100-PCIE-40GB"
    assert session.ask("nvmlDeviceGetMemoryInfo(gpu(0)).total") == 40960 * MIB
    assert session.ask("nvmlDeviceGetMemoryInfo(gpu(0), version=nvmlMemory_v2).used") == 620 * MIB
    assert session.ask("nvmlDeviceGetPciInfo(gpu(0)).busId") == "00000000:3B:00.0"
    assert session.ask("nvmlDeviceGetPciInfo(gpu(1)).bus") == 0xAF
    assert session.ask("nvmlDeviceGetCudaComputeCapability(gpu(0))") == [8, 0]
    assert session.ask("nvmlDeviceGetMigMode(gpu(0))") == [0, 0]
    assert session.ask("nvmlDeviceGetUtilizationRates(gpu(0)).gpu") == 0
    assert session.ask("nvmlDeviceGetNumaNodeId(gpu(1))") == 1
    assert session.ask("nvmlDeviceGetUUID(nvmlDeviceGetHandleByPciBusId('0000:af:00.0'))") == CUT


def test_the_system_answers_versions(session: Session) -> None:
    assert session.ask("nvmlSystemGetDriverVersion()") == "570.133.20"
    assert session.ask("nvmlSystemGetCudaDriverVersion_v2()") == 12080


def test_mig_devices_hang_below_their_card(session: Session) -> None:
    assert session.ask("nvmlDeviceGetMaxMigDeviceCount(gpu(1))") == 7
    assert [session.ask(f"nvmlDeviceGetUUID(mig(1, {slot}))") for slot in range(3)] == [MIG_3G, MIG_1G, OTHER_MIG_1G]
    assert session.code_of("mig(1, 3)") == 6
    assert session.ask("nvmlDeviceGetName(mig(1, 0))") == "NVIDIA A100-PCIE-40GB MIG 3g.20gb"
    assert session.ask("nvmlDeviceGetAttributes(mig(1, 0)).gpuInstanceSliceCount") == 3
    assert session.ask("nvmlDeviceGetAttributes(mig(1, 1)).memorySizeMB") == 5120
    assert session.ask("nvmlDeviceGetGpuInstanceId(mig(1, 2))") == 8
    assert session.ask("nvmlDeviceGetComputeInstanceId(mig(1, 2))") == 0
    assert session.ask("nvmlDeviceGetUUID(nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig(1, 1)))") == CUT
    assert session.ask(f"nvmlDeviceGetIndex(nvmlDeviceGetHandleByUUID('{OTHER_MIG_1G}'))") == 2


def test_a_gpu_instance_says_where_it_lies(session: Session) -> None:
    session.ask("keep('info', nvmlGpuInstanceGetInfo(nvmlDeviceGetGpuInstanceById(gpu(1), 2)))")
    assert session.ask("kept['info'].profileId") == 9
    assert session.ask("[kept['info'].placement.start, kept['info'].placement.size]") == [4, 4]


def test_two_compute_instances_may_share_a_gpu_instance(session: Session, machine: FakeMachine) -> None:
    machine.write(
        "gpu mig=1\n"
        "mig slot=0 gi=1 ci=0 uuid=MIG-a profile=1c.3g.20gb\n"
        "mig slot=1 gi=1 ci=1 uuid=MIG-b profile=2c.3g.20gb\n"
    )
    assert session.ask("nvmlDeviceGetAttributes(mig(0, 0)).computeInstanceSliceCount") == 1
    assert session.ask("nvmlDeviceGetAttributes(mig(0, 1)).computeInstanceSliceCount") == 2
    assert session.ask("nvmlDeviceGetAttributes(mig(0, 1)).gpuInstanceSliceCount") == 3


@pytest.mark.parametrize(
    ("line", "largest"),
    [
        ("gpu mem=40960 mig=0", {"MIG 7g.40gb": 7, "MIG 1g.5gb": 1, "MIG 1g.10gb": 1, "MIG 1g.5gb+me": 1}),
        ('gpu name="NVIDIA A30" mem=24576 mig=0 slices=4', {"MIG 4g.24gb": 4, "MIG 2g.12gb": 2, "MIG 1g.6gb": 1}),
    ],
)
def test_profiles_follow_the_card(session: Session, machine: FakeMachine, line: str, largest: dict[str, int]) -> None:
    machine.write(line)
    profiles = {}
    for number in range(18):
        answer = session.answer(f"nvmlDeviceGetGpuInstanceProfileInfo(gpu(0), {number}).name")
        assert answer.get("code", NOT_SUPPORTED) == NOT_SUPPORTED
        if "value" in answer:
            old_layout = f"nvmlDeviceGetGpuInstanceProfileInfo(gpu(0), {number}, version=1)"
            profiles[answer["value"]] = session.ask(f"{old_layout}.sliceCount")
    assert largest.items() <= profiles.items()
    assert max(profiles.values()) == max(largest.values())


def test_utilisation_is_not_supported_while_mig_mode_is_on(session: Session) -> None:
    assert session.code_of("nvmlDeviceGetUtilizationRates(gpu(1))") == 3
    assert session.code_of("nvmlDeviceGetUtilizationRates(mig(1, 0))") == 3
    assert session.code_of("nvmlDeviceGetTemperature(mig(1, 0), 0)") == 3


def test_a_change_of_the_file_is_seen_by_a_running_program(session: Session, machine: FakeMachine) -> None:
    assert session.ask("nvmlDeviceGetUtilizationRates(gpu(0)).gpu") == 0
    machine.write(machine.read().replace("util=0", "util=87", 1))
    assert session.ask("nvmlDeviceGetUtilizationRates(gpu(0)).gpu") == 87


def test_a_handle_keeps_its_card_when_another_card_leaves(session: Session, machine: FakeMachine) -> None:
    session.ask("keep('cut', gpu(1))")
    session.ask("keep('whole', gpu(0))")
    machine.write(
        "".join(line for line in machine.read().splitlines(keepends=True) if WHOLE not in line).replace(
            "mig gpu=1", "mig gpu=0"
        )
    )
    assert session.ask("nvmlDeviceGetUUID(kept['cut'])") == CUT
    assert session.ask("nvmlDeviceGetIndex(kept['cut'])") == 0
    assert session.ask("nvmlDeviceGetUUID(mig(0, 2))") == OTHER_MIG_1G
    assert session.code_of("nvmlDeviceGetUUID(kept['whole'])") == GPU_IS_LOST


def test_a_lost_card_is_still_counted(session: Session, machine: FakeMachine) -> None:
    session.ask("keep('whole', gpu(0))")
    machine.write(machine.read().replace(f"gpu uuid={WHOLE}", f"gpu uuid={WHOLE} lost=1"))
    assert session.ask("nvmlDeviceGetCount()") == 2
    assert session.code_of("gpu(0)") == GPU_IS_LOST
    assert session.code_of("nvmlDeviceGetMemoryInfo(kept['whole'])") == GPU_IS_LOST
    assert session.ask("nvmlDeviceGetUUID(gpu(1))") == CUT


def test_a_destroyed_mig_device_leaves_a_dead_handle(session: Session, machine: FakeMachine) -> None:
    session.ask("keep('small', mig(1, 1))")
    machine.write("".join(line for line in machine.read().splitlines(keepends=True) if MIG_1G not in line))
    assert session.code_of("nvmlDeviceGetUUID(kept['small'])") == 2


def test_a_fail_line_reaches_one_card_only(session: Session, machine: FakeMachine) -> None:
    machine.append("fail func=nvmlDeviceGetMemoryInfo gpu=0 ret=999")
    assert session.code_of("nvmlDeviceGetMemoryInfo(gpu(0))") == 999
    assert session.ask("nvmlDeviceGetMemoryInfo(gpu(1)).total") == 40960 * MIB


def test_a_handle_lookup_can_fail_for_one_card(session: Session, machine: FakeMachine) -> None:
    machine.append("fail func=nvmlDeviceGetHandleByIndex_v2 gpu=1 ret=15")
    assert session.code_of("gpu(1)") == GPU_IS_LOST
    assert session.ask("nvmlDeviceGetUUID(gpu(0))") == WHOLE


def test_a_delay_line_makes_a_call_hang_for_its_time(session: Session, machine: FakeMachine) -> None:
    machine.append("delay func=nvmlDeviceGetCount_v2 ms=300")
    before = time.monotonic()
    assert session.ask("nvmlDeviceGetCount()") == 2
    assert time.monotonic() - before >= 0.3


def test_without_a_file_the_driver_is_not_loaded(silent: Session, machine: FakeMachine) -> None:
    machine.configuration.unlink()
    with pytest.raises(NvmlCallError, match="Driver Not Loaded") as failure:
        silent.ask("nvmlInit()")
    assert failure.value.code == 9


def test_a_driver_of_another_version_refuses_the_library(silent: Session, machine: FakeMachine) -> None:
    machine.write("system init=18")
    with pytest.raises(NvmlCallError, match="version mismatch"):
        silent.ask("nvmlInit()")


def test_calls_before_init_and_without_a_handle_are_refused(silent: Session) -> None:
    assert silent.code_of("nvmlDeviceGetCount()") == 1
    silent.ask("nvmlInit()")
    assert silent.code_of("nvmlDeviceGetName(None)") == 2
    silent.ask("nvmlShutdown()")
    assert silent.code_of("nvmlDeviceGetCount()") == 1


def test_energy_grows_with_power_and_never_falls(session: Session, machine: FakeMachine) -> None:
    machine.write("gpu uuid=GPU-a power=400 energy=1000000")
    before = time.monotonic()
    first = session.ask("nvmlDeviceGetTotalEnergyConsumption(gpu(0))")
    time.sleep(0.1)
    second = session.ask("nvmlDeviceGetTotalEnergyConsumption(gpu(0))")
    passed_s = time.monotonic() - before
    assert first >= 1_000_000
    assert 0.1 * 400_000 * 0.9 <= second - first <= (passed_s + 0.1) * 400_000
    machine.write("gpu uuid=GPU-a power=10 energy=1000000")
    assert session.ask("nvmlDeviceGetTotalEnergyConsumption(gpu(0))") >= second
    machine.write("gpu uuid=GPU-a power=10 energy=5000000")
    assert 5_000_000 <= session.ask("nvmlDeviceGetTotalEnergyConsumption(gpu(0))") < 5_100_000


def test_health_figures_are_answered(session: Session, machine: FakeMachine) -> None:
    machine.write("gpu throttle=0x40 ecc_corrected=3 ecc_uncorrected=1 width=8 gen=3\ngpu ecc=-1")
    assert session.ask("nvmlDeviceGetCurrentClocksEventReasons(gpu(0))") == 0x40
    assert session.ask("nvmlDeviceGetCurrentClocksThrottleReasons(gpu(0))") == 0x40
    assert session.ask("nvmlDeviceGetEccMode(gpu(0))") == [1, 1]
    assert session.ask("nvmlDeviceGetTotalEccErrors(gpu(0), 0, 0)") == 3
    assert session.ask("nvmlDeviceGetTotalEccErrors(gpu(0), 1, 0)") == 1
    assert session.ask("nvmlDeviceGetDetailedEccErrors(gpu(0), 0, 0).deviceMemory") == 3
    assert session.code_of("nvmlDeviceGetEccMode(gpu(1))") == 3
    assert session.ask("[nvmlDeviceGetCurrPcieLinkWidth(gpu(0)), nvmlDeviceGetMaxPcieLinkWidth(gpu(0))]") == [8, 16]
    assert session.ask("nvmlDeviceGetCurrPcieLinkGeneration(gpu(0))") == 3
    assert session.ask("nvmlDeviceGetMaxPcieLinkGeneration(gpu(0))") == 4
    assert session.ask("nvmlDeviceGetFieldValues(gpu(0), [83])[0].nvmlReturn") == 3


def test_a_pending_mig_mode_differs_from_the_current_one(session: Session, machine: FakeMachine) -> None:
    machine.write("gpu mig=0 pending=1")
    assert session.ask("nvmlDeviceGetMigMode(gpu(0))") == [0, 1]


def test_processes_are_found_on_card_and_instance(session: Session, machine: FakeMachine) -> None:
    machine.append("proc gpu=0 pid=11 mem=500 sm=80")
    machine.append("proc gpu=0 pid=13 mem=5 type=G")
    machine.append("proc gpu=1 pid=12 mem=300 gi=7 ci=0")
    listing = "[(p.pid, p.usedGpuMemory, p.gpuInstanceId) for p in nvmlDeviceGet%sRunningProcesses(%s)]"
    assert session.ask(listing % ("Compute", "gpu(0)")) == [[11, 500 * MIB, 0xFFFFFFFF]]
    assert session.ask(listing % ("Graphics", "gpu(0)")) == [[13, 5 * MIB, 0xFFFFFFFF]]
    assert session.ask(listing % ("Compute", "gpu(1)")) == [[12, 300 * MIB, 7]]
    assert session.ask(listing % ("Compute", "mig(1, 1)")) == [[12, 300 * MIB, 7]]
    assert session.ask(listing % ("Compute", "mig(1, 0)")) == []
    utilization = "[(s.pid, s.smUtil) for s in nvmlDeviceGetProcessUtilization(%s, 0)]"
    assert session.ask(utilization % "gpu(0)") == [[11, 80], [13, 0]]
    assert session.code_of(utilization % "gpu(1)") == 3


def test_a_typing_mistake_in_the_file_is_reported(machine: FakeMachine) -> None:
    machine.append("gpu utli=5\ncard uuid=x\ngpu mem=lots")
    complaints = smi(machine, "-L").stderr
    assert "unknown key 'utli'" in complaints
    assert "unknown word 'card'" in complaints
    assert "mem=lots is not a number" in complaints


def test_nvidia_smi_lists_cards_and_mig_devices(machine: FakeMachine) -> None:
    assert smi(machine, "-L").stdout.splitlines() == [
        f"GPU 0: NVIDIA A100-PCIE-40GB (UUID: {WHOLE})",
        f"GPU 1: NVIDIA A100-PCIE-40GB (UUID: {CUT})",
        f"  MIG 3g.20gb     Device  0: (UUID: {MIG_3G})",
        f"  MIG 1g.5gb      Device  1: (UUID: {MIG_1G})",
        f"  MIG 1g.5gb      Device  2: (UUID: {OTHER_MIG_1G})",
    ]


def test_nvidia_smi_answers_queries_for_scripts(machine: FakeMachine) -> None:
    machine.append("proc gpu=0 pid=1 mem=20000")
    assert smi(machine, "--query-gpu=index,memory.used,utilization.gpu,mig.mode.current", "--format=csv").stdout == (
        "index, memory.used [MiB], utilization.gpu [%], mig.mode.current\n"
        "0, 620 MiB, 0 %, Disabled\n"
        "1, 45 MiB, [N/A], Enabled\n"
    )
    assert smi(machine, "--query-compute-apps=pid,used_memory,gpu_uuid", "--format=csv,noheader,nounits").stdout == (
        f"1, 20000, {WHOLE}\n"
    )
    assert smi(machine, "-i", CUT, "--query-gpu=index", "--format=csv,noheader").stdout == "1\n"
    assert smi(machine, "--query-gpu=colour", "--format=csv").returncode == 2


def test_nvidia_smi_draws_a_straight_table(machine: FakeMachine) -> None:
    machine.append("proc gpu=1 gi=2 ci=0 pid=1 mem=18000")
    lines = smi(machine).stdout.splitlines()
    assert {len(line) for line in lines} == {80}
    assert "3g.20gb" in "".join(lines)
    assert "18000MiB" in "".join(lines)


def test_nvidia_smi_fails_without_a_driver(machine: FakeMachine) -> None:
    machine.configuration.unlink()
    answer = smi(machine)
    assert answer.returncode == 9
    assert "couldn't communicate with the NVIDIA driver" in answer.stdout
