"""Late binding: a container that is started again gets whichever GPU is free, and is the same container."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.domain import label
from ds01.domain.containers.container import ContainerState
from ds01.domain.devices.attachment import DeviceRequest
from ds01.domain.reasons.explanation import FixedCause
from ds01.errors import BackendError, ConflictError, NoCapacityError
from ds01.service.late_binding import ATTEMPTS
from tests.fake_cdi import nvidia_spec
from tests.fake_devices import whole_gpu
from tests.unit.service.late_stage import NO_HOLD, LateStage, two_cards
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, Stage, order


@pytest.fixture
def stage() -> LateStage:
    """Two whole cards; what is stopped holds nothing."""
    return two_cards(LateStage(NO_HOLD))


async def test_a_container_is_made_with_a_name_that_stands_for_its_grant(stage: LateStage) -> None:
    container = await stage.create()
    details = stage.details(container)
    device = stage.device_of(container)
    assert device == details.labels[label.ALLOCATION]
    assert details.attachment.requests == (DeviceRequest("cdi", 0, (f"ds01.io/allocation={device}",)),)
    assert details.environment["NVIDIA_VISIBLE_DEVICES"] == "void", "no other way brings GPUs in"
    assert details.labels[label.GPU_UUIDS] == "", "labels hold what never changes"
    assert stage.files.gpus_of(device) == ["GPU-0"]
    assert stage.files.modes[device] == 0o644
    await stage.start()
    assert stage.inside(container) == ["GPU-0"]


async def test_started_again_it_gets_another_gpu_without_being_made_again(stage: LateStage) -> None:
    container = await stage.create()
    await stage.start()
    await stage.stop()
    other = await stage.create("other", caller=BOB_CALLER)
    await stage.start("other", caller=BOB_CALLER)
    assert stage.inside(other) == ["GPU-0"], "the one that alice gave back"
    await stage.start()
    assert stage.inside(container) == ["GPU-1"]
    assert await stage.held() == {"GPU-0": "other", "GPU-1": "demo"}
    assert set(stage.engine.containers) == {container, other}
    await stage.require_files_as_granted()


async def test_within_its_hold_it_has_the_same_gpu(stage: LateStage) -> None:
    stage.policy = replace(stage.policy, base=replace(NO_HOLD, gpu_hold_after_stop=timedelta(hours=1)))
    container = await stage.create()
    await stage.start()
    await stage.stop()
    await stage.reconcile()
    await stage.require_files_as_granted()
    await stage.create("other", caller=BOB_CALLER)
    await stage.start()
    assert stage.inside(container) == ["GPU-0"]


async def test_what_is_released_goes_from_the_folder_and_a_plain_start_is_refused(stage: LateStage) -> None:
    container = await stage.create()
    await stage.start()
    await stage.stop()
    await stage.reconcile()
    assert stage.files.own == {}
    with pytest.raises(BackendError, match="unresolvable"):
        await stage.engine.start_container(container)


async def test_a_removed_container_leaves_no_file(stage: LateStage) -> None:
    await stage.create()
    await stage.start()
    await stage.remove(force=True)
    await stage.reconcile()
    assert stage.files.own == {}


async def test_nothing_free_is_said_and_changes_nothing(stage: LateStage) -> None:
    container = await stage.create()
    await stage.start()
    await stage.stop()
    await stage.create("first", caller=BOB_CALLER)
    await stage.create("second", caller=BOB_CALLER)
    with pytest.raises(NoCapacityError) as refused:
        await stage.start()
    assert refused.value.details["any_gpu"], "moving it would not help, and is not proposed"
    assert stage.details(container).state is ContainerState.EXITED
    assert await stage.held() == {"GPU-0": "first", "GPU-1": "second"}


async def test_a_dry_start_says_whether_there_is_a_gpu_and_changes_nothing(stage: LateStage) -> None:
    await stage.create()
    await stage.start()
    await stage.stop()
    before, files = await stage.picture(), dict(stage.files.own)
    planned = await stage.services.power.plan_start(ALICE_CALLER, 1001, "demo")
    assert not planned.was_running
    assert (await stage.picture(), stage.files.own) == (before, files)
    await stage.create("first", caller=BOB_CALLER)
    await stage.create("second", caller=BOB_CALLER)
    with pytest.raises(NoCapacityError):
        await stage.services.power.plan_start(ALICE_CALLER, 1001, "demo")


async def test_its_request_still_decides_what_it_may_have() -> None:
    stage = LateStage(NO_HOLD)  # one whole card, and one cut into three
    container = await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    await stage.create("other", caller=BOB_CALLER, kind="full")
    with pytest.raises(NoCapacityError):
        await stage.start()
    await stage.remove("other", caller=BOB_CALLER)
    await stage.start()
    assert stage.inside(container) == ["GPU-0"]


async def test_mig_instances_change_as_whole_cards_do() -> None:
    stage = LateStage(NO_HOLD)
    container = await stage.create(kind="1g.5gb")
    await stage.start()
    await stage.stop()
    await stage.create("other", caller=BOB_CALLER, kind="1g.5gb")
    await stage.start()
    assert stage.inside(container) == ["MIG-1-2"]
    nodes = stage.files.own[stage.device_of(container)]["devices"][0]["containerEdits"]["deviceNodes"]  # type: ignore[index]  # JSON
    paths = [node["path"] for node in nodes]
    assert paths == ["/dev/nvidiactl", "/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap-MIG-1-2"]


async def test_a_container_without_gpus_has_nothing_of_it(stage: LateStage) -> None:
    container = await stage.create(count=0)
    await stage.start()
    assert stage.details(container).attachment.requests == ()
    assert stage.files.own == {}


async def test_without_the_switch_gpus_are_fixed_and_what_was_bound_late_goes_on(stage: LateStage) -> None:
    late = await stage.create()
    stage.switch(is_on=False)
    fixed = await stage.create("fixed")
    assert stage.details(fixed).attachment.requests[0].device_ids == ("GPU-1",)
    await stage.start()
    await stage.stop()
    await stage.start()
    assert stage.inside(late) == ["GPU-0"]
    await stage.stop()
    await stage.reconcile()
    assert stage.files.own == {}


async def test_a_personal_daemon_never_binds_late() -> None:
    stage = Stage(only_uid=1001)
    stage.policy = LateStage().policy
    stage.engine.info = replace(stage.engine.info, cdi_folders=("/etc/cdi", "/var/run/cdi"))
    stage.add_image()
    container = await stage.create()
    assert stage.engine.containers[container].details.attachment.managed_device is None


@pytest.mark.parametrize(
    ("lack", "said"), [("engine", "has no CDI"), ("spec", "No CDI spec"), ("other", "No CDI spec")]
)
async def test_where_it_cannot_be_had_gpus_are_fixed_and_the_user_is_told(
    stage: LateStage, lack: str, said: str
) -> None:
    if lack == "engine":
        stage.engine.info = replace(stage.engine.info, cdi_folders=())
    elif lack == "spec":
        stage.files.specs = []
        stage.files.problems = ["/etc/cdi/nvidia.yaml is no CDI spec that can be read: broken."]
    else:
        stage.files.specs = [nvidia_spec(replace(stage.devices.inventory, devices=(whole_gpu(7),)))]
    made = await stage.services.creation.create(ALICE_CALLER, order(), stage.notify)
    assert made.details is not None
    assert made.details.attachment.requests[0].device_ids == ("GPU-0",)
    assert [said in warning for warning in made.warnings] == [True]
    assert lack != "spec" or "broken" in made.warnings[0], "what is wrong with a file is said"
    assert stage.files.own == {}


async def test_a_creation_is_refused_and_undone_where_its_file_cannot_be_written(stage: LateStage) -> None:
    before = await stage.picture()
    stage.files.failure = BackendError("The CDI spec /var/run/cdi/x cannot be written: Read-only file system.")
    with pytest.raises(BackendError, match="cannot be written"):
        await stage.create()
    stage.files.failure = None
    assert (await stage.picture())[:4] == before[:4]


async def test_a_folder_that_the_engine_does_not_read_is_refused_by_name(stage: LateStage) -> None:
    stage.engine.info = replace(stage.engine.info, cdi_folders=("/etc/cdi", "/run/other"))
    with pytest.raises(BackendError, match=r"in /etc/cdi, /run/other, not in /var/run/cdi") as refused:
        await stage.create()
    assert "late_binding.directory" in (refused.value.hint or "")
    assert await stage.held() == {}


async def test_a_start_whose_file_cannot_be_written_leaves_the_container_stopped_and_its_grant_released(
    stage: LateStage,
) -> None:
    container = await stage.create()
    await stage.start()
    await stage.stop()
    stage.files.failure = BackendError("The CDI spec /var/run/cdi/x cannot be written: Read-only file system.")
    with pytest.raises(BackendError, match="cannot be written"):
        await stage.start()
    assert stage.details(container).state is ContainerState.EXITED
    assert await stage.held() == {}
    stage.files.failure = None
    await stage.start()
    assert stage.inside(container) == ["GPU-0"]


async def test_an_engine_that_lost_its_cdi_refuses_the_start_with_the_fix(stage: LateStage) -> None:
    await stage.create()
    stage.engine.info = replace(stage.engine.info, cdi_folders=())
    stage.services.limits.forget_engine()
    with pytest.raises(BackendError, match="no CDI") as refused:
        await stage.start()
    assert '"cdi": true' in (refused.value.hint or "")


async def test_an_engine_that_has_not_yet_read_the_new_file_is_asked_again(stage: LateStage) -> None:
    container = await stage.create()
    stage.files.lateness = ATTEMPTS - 1
    await stage.start()
    assert stage.inside(container) == ["GPU-0"]


async def test_a_container_that_got_an_older_grants_gpu_is_stopped_and_started_again(stage: LateStage) -> None:
    container = await stage.create()
    await stage.start()
    await stage.stop()
    await stage.create("other", caller=BOB_CALLER)
    stage.files.lateness = 1
    await stage.start()
    assert stage.inside(container) == ["GPU-1"]
    assert stage.engine.calls["stop_container"] == 2


async def test_an_engine_that_never_reads_its_folder_anew_gets_nothing_started(stage: LateStage) -> None:
    container = await stage.create()
    await stage.start()
    await stage.stop()
    await stage.create("other", caller=BOB_CALLER)
    stage.files.lateness = 99
    with pytest.raises(BackendError, match="other GPUs than those granted"):
        await stage.start()
    assert stage.details(container).state is ContainerState.EXITED
    assert await stage.held() == {"GPU-0": "other"}


async def test_its_devices_are_shown_as_they_are_now(stage: LateStage) -> None:
    async def shown() -> list[str]:
        containers = stage.services.containers
        devices = await containers.devices_of(await containers.get_details(1001, "demo"))
        return [gpu if isinstance(gpu, str) else gpu.uuid for gpu in devices]

    await stage.create()
    await stage.start()
    assert await shown() == ["GPU-0"]
    await stage.stop()
    assert await shown() == [], "it holds nothing"
    await stage.create("other", caller=BOB_CALLER)
    await stage.start()
    assert await shown() == ["GPU-1"]
    stage.devices.failure = BackendError("the driver does not answer")
    assert await shown() == ["GPU-1"], "the store knows it all the same"


async def test_it_need_not_be_moved_unless_it_cannot_be_bound_any_more(stage: LateStage) -> None:
    await stage.create()
    await stage.start()
    await stage.stop()
    with pytest.raises(ConflictError, match="chosen at each start"):
        await stage.services.moving.plan(ALICE_CALLER, 1001, "demo")
    stage.engine.info = replace(stage.engine.info, cdi_folders=())
    stage.services.limits.forget_engine()
    moved = await stage.services.moving.move(ALICE_CALLER, 1001, "demo", stage.notify)
    assert moved.details.attachment.requests[0].device_ids == ("GPU-0",)
    assert moved.details.environment["NVIDIA_VISIBLE_DEVICES"] == "GPU-0"


async def test_a_container_with_fixed_gpus_that_is_moved_is_bound_late_from_then_on(stage: LateStage) -> None:
    stage.switch(is_on=False)
    await stage.create()
    stage.switch(is_on=True)
    moved = await stage.services.moving.move(ALICE_CALLER, 1001, "demo", stage.notify)
    assert moved.details.attachment.managed_device is not None
    assert stage.inside(moved.details.id) == list(moved.gpu_uuids)
    await stage.reconcile()
    await stage.require_files_as_granted()


async def test_the_start_waits_for_any_gpu_that_its_request_allows(stage: LateStage) -> None:
    container = await stage.create()
    await stage.start()
    await stage.stop()
    await stage.create("first", caller=BOB_CALLER)
    await stage.create("second", caller=BOB_CALLER)
    entry = await stage.services.queue.enqueue_start(ALICE_CALLER, 1001, "demo")
    assert entry.waiting.gpu_uuids == ()
    await stage.remove("second", caller=BOB_CALLER)
    stage.services.starter.launch((await stage.services.scheduling.run_pass()).granted)
    await stage.services.starter.wait()
    assert stage.inside(container) == ["GPU-1"]
    await stage.reconcile()
    await stage.require_files_as_granted()


async def test_why_speaks_of_what_its_request_allows_and_of_no_gpu_of_its_own(stage: LateStage) -> None:
    await stage.create()
    await stage.start()
    await stage.stop()
    (row,) = await stage.store.read(lambda transaction: transaction.list_containers())
    released = await stage.store.read(lambda transaction: transaction.find_allocation(row.allocation_id))
    assert released is not None
    await stage.create("first", caller=BOB_CALLER)
    explain = stage.services.explanations.of_start
    late, fixed = await explain(row, released, is_late=True), await explain(row, released, is_late=False)
    assert late is not None
    assert fixed is not None
    assert not late.explanation.causes, "another card is free"
    assert any(isinstance(cause, FixedCause) for cause in fixed.explanation.causes)


async def test_a_start_that_waits_does_not_count_as_one_more_container(stage: LateStage) -> None:
    stage.policy = replace(stage.policy, base=replace(NO_HOLD, max_containers=1))
    await stage.create()
    await stage.start()
    await stage.stop()
    await stage.create("first", caller=BOB_CALLER)
    stage.devices.inventory = replace(stage.devices.inventory, devices=(whole_gpu(0),))
    entry = await stage.services.queue.enqueue_start(ALICE_CALLER, 1001, "demo")
    await stage.remove("first", caller=BOB_CALLER)
    stage.services.starter.launch((await stage.services.scheduling.run_pass()).granted)
    await stage.services.starter.wait()
    assert (await stage.services.queue.follow(entry.id, stage.notify)).entry.state.value == "done"
    assert await stage.held() == {"GPU-0": "demo"}
