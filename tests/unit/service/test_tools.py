"""The derived image: built once, shared, and never in anybody's way."""

import asyncio
from dataclasses import replace

import pytest

from ds01.domain.containers.tools import BASE_LABEL, PACKAGE_MANAGERS, derived_reference, dockerfile_of
from ds01.errors import BackendError
from ds01.service.ports import ImageDetails
from tests.fake_engine import FileTree
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, IMAGE, Stage, order, run_to_failure

BARE = {
    "/etc/passwd": b"root:x:0:0:root:/root:/bin/bash\n",
    "/bin/sh": b"",
    "/bin/bash": b"",
    "/usr/bin/apt-get": b"",
}


def with_tools(tree: FileTree) -> None:
    for path in ("/usr/bin/sudo", "/usr/bin/git"):
        tree.put(path, b"")
    tree.put("/etc/sudoers.d", None)


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    image = stage.engine.add_image(IMAGE, tree=FileTree(dict(BARE)))
    dockerfile = dockerfile_of(image, "", "/usr/bin/apt-get")
    assert dockerfile is not None
    stage.engine.build_steps[dockerfile.split("RUN ")[1].split("\n")[0]] = with_tools
    return stage


async def test_a_base_without_sudo_gets_one_derived_image_for_everybody(stage: Stage) -> None:
    first = await stage.services.creation.create(ALICE_CALLER, order("one", count=0), stage.notify)
    second = await stage.services.creation.create(BOB_CALLER, order("two", count=0), stage.notify)
    assert stage.engine.calls["build_image"] == 1
    assert first.details is not None
    assert second.details is not None
    assert first.details.image_id == second.details.image_id
    base = await stage.engine.find_image(IMAGE)
    assert base is not None
    assert first.details.image_id != base.id
    assert (await stage.engine.find_image(derived_reference(base.id))) is not None
    assert not any("sudo" in warning for warning in first.warnings)
    tree = stage.engine.containers[first.details.id].tree
    assert tree.files["/etc/sudoers.d/ds01"] == b"#1001 ALL=(ALL) NOPASSWD:ALL\n"


async def test_ten_who_create_at_the_same_moment_wait_for_one_build(stage: Stage) -> None:
    gate = stage.engine.hold("build_image")
    creations = [
        asyncio.ensure_future(stage.services.creation.create(caller, order(f"box{number}", count=0), stage.notify))
        for number, caller in enumerate([ALICE_CALLER, BOB_CALLER] * 2)
    ]
    while not stage.engine.calls["build_image"]:  # noqa: ASYNC110 - a counter, and nobody tells
        await asyncio.sleep(0)
    gate.set()
    made = await asyncio.gather(*creations)
    assert stage.engine.calls["build_image"] == 1
    assert len({creation.details.image_id for creation in made if creation.details}) == 1


async def test_without_a_network_it_is_made_without_said_so_and_tried_again(stage: Stage) -> None:
    stage.engine.fail_next("build_image", BackendError("Temporary failure resolving 'deb.debian.org'"))
    creation = await stage.services.creation.create(ALICE_CALLER, order("one", count=0), stage.notify)
    assert any("no sudo and no git" in warning and "resolving" in warning for warning in creation.warnings)
    again = await stage.services.creation.create(ALICE_CALLER, order("two", count=0), stage.notify)
    assert not any("sudo" in warning for warning in again.warnings)


async def test_a_base_with_both_or_without_a_way_to_get_them_is_taken_as_it_is(stage: Stage) -> None:
    tree = FileTree(dict(BARE))
    with_tools(tree)
    stage.engine.add_image("whole", tree=tree)
    bare = {path: content for path, content in BARE.items() if path not in PACKAGE_MANAGERS}
    stage.engine.add_image("busy", tree=FileTree(dict(bare)))
    for name, word in (("whole", None), ("busy", "no package manager")):
        creation = await stage.services.creation.create(
            ALICE_CALLER, replace(order(name, count=0), image=replace(order("x").image, image=name)), stage.notify
        )
        assert bool(word) == any(str(word) in warning for warning in creation.warnings)
    assert stage.engine.calls["build_image"] == 0


async def test_an_image_that_only_has_our_name_is_not_taken(stage: Stage) -> None:
    base = await stage.engine.find_image(IMAGE)
    assert base is not None
    stage.engine.add_image(derived_reference(base.id), ImageDetails("sha256:" + "e" * 64, labels={BASE_LABEL: "other"}))
    creation = await stage.services.creation.create(ALICE_CALLER, order("one", count=0), stage.notify)
    assert stage.engine.calls["build_image"] == 1
    assert creation.details is not None
    assert creation.details.image_id != "sha256:" + "e" * 64


async def test_a_creation_that_is_cancelled_in_its_build_leaves_nothing(stage: Stage) -> None:
    before = await stage.picture()
    stage.engine.hold("build_image")
    creation = asyncio.ensure_future(stage.services.creation.create(ALICE_CALLER, order("one"), stage.notify))
    while not stage.engine.calls["build_image"]:  # noqa: ASYNC110 - a counter, and nobody tells
        await asyncio.sleep(0)
    creation.cancel()
    await run_to_failure(asyncio.wait_for(asyncio.shield(asyncio.gather(creation, return_exceptions=True)), 5))
    assert await stage.picture() == before


@pytest.mark.parametrize("manager", PACKAGE_MANAGERS)
def test_the_dockerfile_keeps_the_bases_own_user(manager: str) -> None:
    text = dockerfile_of("sha256:" + "a" * 64, "jovyan:users", manager)
    assert text is not None
    assert text.splitlines()[0] == "FROM sha256:" + "a" * 64
    assert text.splitlines()[-1] == "USER jovyan:users"
    assert dockerfile_of("sha256:" + "a" * 64, "x\nRUN evil", manager) is None
    assert dockerfile_of("sha256:" + "a" * 64, "", "") is None


def test_bases_that_differ_have_derived_images_that_differ() -> None:
    assert derived_reference("sha256:" + "a" * 64) != derived_reference("sha256:" + "a" * 31 + "b" * 33)
