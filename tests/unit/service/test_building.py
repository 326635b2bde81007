"""Builds of people's own images, and what becomes of them."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Mapping

import pytest

from ds01.domain import label
from ds01.domain.images.image import parse_reference
from ds01.domain.images.image_name import OwnImage
from ds01.errors import BackendError, ConflictError, Ds01Error, InvalidRequestError, NotFoundError
from ds01.service.build_context import Context
from ds01.service.building import BuildOrder
from ds01.service.images import ImageOrder
from ds01.service.order import CreateOrder
from tests.fake_engine import FileTree
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, IMAGE, Stage, fail_once, run_to_failure

UID = ALICE_CALLER.uid
MINE = f"ds01.invalid/u{UID}/mine:latest"


def context(dockerfile: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile.encode())
        archive.addfile(entry, io.BytesIO(dockerfile.encode()))
    return packed.getvalue()


def pieces(data: bytes) -> Context:
    async def read() -> AsyncIterator[bytes]:
        yield data

    return read


@pytest.fixture
def stage() -> Stage:
    found = Stage()
    found.add_image()
    return found


async def build(stage: Stage, dockerfile: str = f"FROM {IMAGE}\nRUN make it\n", name: str = "mine") -> list[str]:
    said: list[str] = []

    async def note(message: Mapping[str, object]) -> None:
        said.append(str(message.get("message", "")))

    order = BuildOrder(name, digest="a" * 64)
    await stage.boot().building.build(ALICE_CALLER, order, pieces(context(dockerfile)), note)
    return said


async def test_a_built_image_is_its_builders_own_and_keeps_a_dated_name(stage: Stage) -> None:
    said = await build(stage)
    assert said[0].startswith("Step 1/2 : FROM")
    found = await stage.boot().own_images.get(ALICE_CALLER.user, "mine")
    assert found.reference == MINE
    assert found.own == OwnImage(UID, "mine")
    assert found.image.labels[label.RECIPE] == "a" * 64
    assert found.image.labels[label.MAINTAINER] == "alice"
    assert found.image.labels[label.UID] == str(UID)
    assert found.image.labels[label.CUSTOM_IMAGE] == "mine"
    assert len(found.tags) == 2
    assert (await stage.events())[-1] == "image.built"


async def test_the_limits_of_the_builders_containers_hold_for_the_build(stage: Stage) -> None:
    await build(stage)
    spec = stage.engine.built_specs[-1]
    limits = stage.boot().limits.effective(ALICE_CALLER.user, await stage.engine.get_info()).values
    assert spec.memory_bytes == limits.memory
    assert spec.nano_cpus == (limits.max_cpus or 0) * 10**9
    assert f"{UID}" in spec.cgroup_parent or not spec.cgroup_parent


@pytest.mark.parametrize("name", ["pytorch", "Mine", "", "a/b", "mine:1", "latest", "x" * 49, "mine; rm -rf /"])
async def test_a_name_that_means_something_else_is_refused_before_the_engine_is_asked(stage: Stage, name: str) -> None:
    with pytest.raises(InvalidRequestError):
        await build(stage, name=name)
    assert not stage.engine.built_specs


async def test_nobody_sees_takes_or_deletes_the_image_of_another(stage: Stage) -> None:
    await build(stage)
    services = stage.boot()
    for text in ("mine", MINE):
        with pytest.raises(NotFoundError):
            await services.own_images.get(BOB_CALLER.user, text)
        with pytest.raises(NotFoundError):
            await services.own_images.delete(BOB_CALLER, text)
    inventory = await stage.world().devices.read_inventory()
    with pytest.raises(NotFoundError):
        await services.images.choose(ImageOrder(image=MINE), inventory, user=BOB_CALLER.user)
    assert await stage.engine.find_image(MINE) is not None


@pytest.mark.parametrize("order", [ImageOrder(image="mine"), ImageOrder(framework="mine"), ImageOrder(image=MINE)])
async def test_a_container_is_made_from_an_own_image_by_its_short_name(stage: Stage, order: ImageOrder) -> None:
    await build(stage)
    inventory = await stage.world().devices.read_inventory()
    choice = await stage.boot().images.choose(order, inventory, user=ALICE_CALLER.user)
    assert choice.reference == MINE
    assert choice.is_custom


async def test_a_step_that_fails_is_explained_and_makes_no_image(stage: Stage) -> None:
    def fail(_tree: FileTree) -> None:
        raise BackendError(
            "The command '/bin/sh -c pip' returned a non-zero code: 1: ERROR: No matching distribution found for pandsa"
        )

    stage.engine.build_steps["pip install pandsa"] = fail
    with pytest.raises(Ds01Error) as caught:
        await build(stage, f"FROM {IMAGE}\nRUN pip install pandsa\n")
    assert not isinstance(caught.value, BackendError)
    assert "there is no package pandsa" in caught.value.message
    assert caught.value.hint == "Did you mean pandas?"
    assert caught.value.details["cause"] == "no_package"
    assert await stage.engine.find_image(MINE) is None


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ffmpg", "Did you mean ffmpeg?"),
        ("libgl1-mesa-glx", "apt calls it libgl1."),
        ("numpy", "numpy is a package of Python: -p numpy."),
        ("xyzzy", "Look at the name for this release: https://packages.debian.org"),
    ],
)
async def test_a_missing_system_package_comes_with_the_nearest_that_is_offered(
    stage: Stage, name: str, hint: str
) -> None:
    def fail(_tree: FileTree) -> None:
        raise BackendError(f"non-zero code: 100: E: Unable to locate package {name}")

    stage.engine.every_step = fail
    with pytest.raises(Ds01Error) as caught:
        await build(stage, f"FROM {IMAGE}\nRUN apt-get install -y {name}\n")
    assert caught.value.details["cause"] == "no_system_package"
    assert caught.value.hint == hint


async def test_a_step_that_was_killed_because_the_engine_ended_wanted_no_memory(stage: Stage) -> None:
    def kill(_tree: FileTree) -> None:
        raise BackendError("The command '/bin/sh -c train' returned a non-zero code: 137")

    def end(tree: FileTree) -> None:
        stage.engine.unreachable = BackendError("The engine is down.")
        kill(tree)

    for every_step, is_engine in ((kill, False), (end, True)):
        stage.engine.every_step = every_step
        with pytest.raises(Ds01Error) as caught:
            await build(stage, f"FROM {IMAGE}\nRUN train\n")
        assert isinstance(caught.value, BackendError) is is_engine
        assert ("memory" in caught.value.message) is not is_engine
    assert caught.value.hint == "The engine ended, and the build with it: no image was made. Build it again."


async def test_an_engine_that_fails_before_any_step_is_a_failed_engine(stage: Stage) -> None:
    def fail() -> None:
        raise BackendError("gone")

    await build(stage)
    stage.trap.arm(2, fail)  # the first step asks the engine who it is, the second begins the build
    with pytest.raises(BackendError) as caught:
        await build(stage)
    assert caught.value.message == "gone"


async def test_one_image_is_built_once_at_a_time_and_can_be_built_again_after_a_stop(stage: Stage) -> None:
    services, begun, order = stage.boot(), asyncio.Event(), BuildOrder("mine")

    async def wait(_message: Mapping[str, object]) -> None:
        begun.set()
        await asyncio.Event().wait()

    data = context(f"FROM {IMAGE}\n")
    first = asyncio.create_task(services.building.build(ALICE_CALLER, order, pieces(data), wait))
    await begun.wait()
    with pytest.raises(ConflictError):
        await services.building.build(ALICE_CALLER, order, pieces(data), wait)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first

    async def ignore(_message: Mapping[str, object]) -> None:
        pass

    await services.building.build(ALICE_CALLER, order, pieces(data), ignore)


async def test_a_deleted_image_is_gone_with_its_builds_and_nothing_else_is(stage: Stage) -> None:
    await build(stage)
    await build(stage, name="mine-too")
    services = stage.boot()
    would = await services.own_images.delete(ALICE_CALLER, "mine", dry_run=True)
    assert await stage.engine.find_image(MINE) is not None
    assert (await services.own_images.delete(ALICE_CALLER, "mine")).tags == would.tags
    assert await stage.engine.find_image(MINE) is None
    assert await stage.engine.find_image(IMAGE) is not None
    with pytest.raises(NotFoundError) as caught:
        await services.own_images.get(ALICE_CALLER.user, "mine")
    assert caught.value.hint == "Did you mean mine-too?"


async def test_an_image_that_a_container_uses_is_only_deleted_by_force_and_the_container_stays(stage: Stage) -> None:
    await build(stage)
    wanted = CreateOrder("project", ImageOrder(image="mine"))
    await stage.boot().creation.create(ALICE_CALLER, wanted, stage.notify)
    with pytest.raises(ConflictError) as caught:
        await stage.boot().own_images.delete(ALICE_CALLER, "mine")
    assert "project" in caught.value.message
    assert await stage.engine.find_image(MINE) is not None
    would = await stage.boot().own_images.delete(ALICE_CALLER, "mine", force=True, dry_run=True)
    assert would.containers == ("project._.1001",)
    assert await stage.engine.find_image(MINE) is not None
    await stage.boot().own_images.delete(ALICE_CALLER, "mine", force=True)
    assert await stage.engine.find_image(MINE) is None
    started = await stage.boot().power.start(ALICE_CALLER, 1001, "project")
    assert started.details.state.has_processes


async def test_the_list_says_who_uses_an_image_and_what_it_was_built_from_where_that_is_asked(stage: Stage) -> None:
    await build(stage)
    services = stage.boot()
    await services.creation.create(ALICE_CALLER, CreateOrder("project", ImageOrder(image="mine")), stage.notify)
    listed = {one.reference: one for one in await services.catalogue.local_images(1001, with_users=True)}
    assert listed[MINE].containers == ("project._.1001",)
    assert [parse_reference(base) for base in listed[MINE].bases] == [parse_reference(IMAGE)]
    assert {reference for reference, one in listed.items() if one.containers} == {MINE}, "earlier builds name none"
    assert not any(one.containers for one in await services.catalogue.local_images(1001))


async def test_a_deletion_that_is_broken_off_can_be_typed_again(stage: Stage) -> None:
    services = stage.boot()
    for step in range(1, 20):
        await build(stage)
        assert len((await services.own_images.get(ALICE_CALLER.user, "mine")).tags) > 1
        stage.trap.arm(step, fail_once)
        failure = await run_to_failure(services.own_images.delete(ALICE_CALLER, "mine"))
        if failure is None:
            break
        if await stage.engine.find_image(MINE) is not None:
            await services.own_images.delete(ALICE_CALLER, "mine")
        assert own_tags(stage) == []
    assert step > 3, "each tag is a step of its own"


def own_tags(stage: Stage) -> list[str]:
    return [
        tag for image in stage.engine.images.values() for tag in image.details.tags if tag.startswith("ds01.invalid")
    ]


@pytest.mark.parametrize("kind", [BackendError, InvalidRequestError])
async def test_an_image_without_a_python_has_no_list_of_packages(stage: Stage, kind: type[Ds01Error]) -> None:
    image = await stage.engine.find_image(IMAGE)
    assert image is not None
    stage.engine.fail_next("start_container", kind('exec: "python3": executable file not found in $PATH'))
    assert await stage.boot().own_images.packages(image) is None
    stage.engine.fail_next("start_container", kind("the disk is full"))
    with pytest.raises(kind, match="disk"):
        await stage.boot().own_images.packages(image)
