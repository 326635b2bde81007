"""What was installed in a container, read through the engine: running, stopped, moved, and made from a base of ours."""

import json
from dataclasses import replace

import pytest

from ds01.domain import label
from ds01.domain.images.image_name import OwnImage
from ds01.domain.images.installed import PackageTool
from ds01.domain.images.other_record import APK_LISTS, APK_WORLD
from ds01.errors import BackendError, NotFoundError
from ds01.service.drift import EARLIER_LAYERS, ContainerDrift
from tests.fake_engine.programs import FileTree
from tests.fake_store import MemoryStore
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, IMAGE, Stage, order, run_to_failure
from tests.unit.service.test_moving import LIMITS, move

SITE = "/usr/local/lib/python3.11/site-packages"
STATUS = "/var/lib/dpkg/status"
APK_LIST = APK_LISTS[0]


def dpkg(*names: str) -> bytes:
    return "\n".join(f"Package: {name}\nStatus: install ok installed\nVersion: 1\n" for name in names).encode()


def files_of(stage: Stage, container: str) -> FileTree:
    return stage.engine.containers[container].tree


def pip_install(tree: FileTree, name: str, version: str, direct_url: str = "") -> None:
    folder = f"{SITE}/{name}-{version}.dist-info"
    for file in ("METADATA", "INSTALLER", "REQUESTED"):
        tree.put(f"{folder}/{file}", b"pip\n" if file == "INSTALLER" else b"")
    if direct_url:
        tree.put(f"{folder}/direct_url.json", json.dumps({"url": direct_url}).encode())


def pip_uninstall(tree: FileTree, name: str, version: str) -> None:
    folder = f"{SITE}/{name}-{version}.dist-info"
    for path in [path for path in tree.files if path == folder or path.startswith(f"{folder}/")]:
        del tree.files[path]


def stage_with_packages() -> Stage:
    stage = Stage(LIMITS)
    stage.add_image()
    tree = stage.engine.image_of(IMAGE).tree
    pip_install(tree, "numpy", "1.26")
    pip_install(tree, "gone", "1")
    tree.put(STATUS, dpkg("git"))
    return stage


def work(tree: FileTree) -> None:
    """What a person does in a container in a week."""
    pip_uninstall(tree, "numpy", "1.26")
    pip_install(tree, "numpy", "2.1")
    pip_uninstall(tree, "gone", "1")
    pip_install(tree, "rich", "13")
    pip_install(tree, "mine", "1", "file:///workspace/mine")
    tree.put(STATUS, dpkg("git", "ffmpeg"))
    tree.put("/home/alice/.netrc", b"password")
    tree.put("/home/alice/weights.bin", b"x" * (11 * 1024**2))
    tree.put("/workspace/.ssh/id_rsa", b"stays")


async def drift(stage: Stage, name: str = "demo") -> ContainerDrift:
    return await stage.services.drift.find(1001, name)


def require_the_work(found: ContainerDrift) -> None:
    assert found.drift.lines(PackageTool.PIP) == ("numpy==2.1", "rich==13")
    assert found.drift.lines(PackageTool.APT) == ("ffmpeg",)
    assert found.drift.removed(PackageTool.PIP) == ("gone",)
    assert [name for name, _ in found.drift.left_out] == ["mine"]
    assert [file.path for file in found.left_out] == ["/home/alice/.netrc", "/home/alice/weights.bin"]
    assert found.notes == ()


@pytest.mark.parametrize("runs", [True, False])
async def test_a_running_container_and_a_stopped_one_say_the_same(runs: bool) -> None:
    stage = stage_with_packages()
    container = await stage.create()
    if runs:
        await stage.start()
    work(files_of(stage, container))
    before, execs = await stage.picture(), len(stage.engine.execs)
    found = await drift(stage)
    require_the_work(found)
    assert (found.base, found.own_image) == (IMAGE, "")
    assert found.size_bytes > 0
    assert await stage.picture() == before
    assert len(stage.engine.execs) == execs, "nothing of the container's is run"


async def test_a_new_container_has_no_drift() -> None:
    stage = stage_with_packages()
    await stage.create()
    found = await drift(stage)
    assert found.drift.is_empty
    assert found.left_out == ()


async def test_a_container_of_an_own_image_names_that_image() -> None:
    stage = stage_with_packages()
    own = str(OwnImage(1001, "thesis"))
    stage.add_image(own)
    await stage.services.creation.create(ALICE_CALLER, order(image="thesis"), stage.notify)
    found = await drift(stage)
    assert (found.base, found.own_image) == (own, "thesis")


async def test_sudo_and_git_that_we_added_are_not_what_somebody_installed() -> None:
    stage = Stage(LIMITS)
    stage.add_image(has_sudo=False)
    stage.engine.image_of(IMAGE).tree.put("/usr/bin/apt-get", b"")
    await stage.create()
    container = stage.engine.containers[(await drift(stage)).details.id]
    container.details = replace(container.details, labels={**container.details.labels, label.CUSTOM_IMAGE: ""})
    found = await drift(stage)
    assert found.drift.is_empty
    assert found.base == IMAGE, "an image of the catalogue is named by its own tag, not by a private one"


async def test_what_was_installed_before_a_move_is_still_known_after_two() -> None:
    stage = stage_with_packages()
    container = await stage.create(kind="1g.5gb")
    work(files_of(stage, container))
    await stage.start()
    for number in range(2):
        await stage.stop()
        before = await stage.services.containers.get_details(1001, "demo")
        [mine] = before.attachment.requests[0].device_ids
        for index in range(9):
            if mine in await stage.held():
                break
            await stage.create(f"theirs{number}{index}", caller=BOB_CALLER, kind="1g.5gb")
        for uuid, name in (await stage.held()).items():
            if uuid != mine:
                await stage.remove(name, caller=BOB_CALLER)
        await move(stage)
    require_the_work(await drift(stage))
    details = await stage.services.containers.get_details(1001, "demo")
    pip_uninstall(files_of(stage, details.id), "rich", "13")
    assert (await drift(stage)).drift.lines(PackageTool.PIP) == ("numpy==2.1",)


async def test_what_is_not_known_any_more_is_said() -> None:
    stage = stage_with_packages()
    container = await stage.create(kind="1g.5gb")
    work(files_of(stage, container))
    found = stage.engine.containers[container]
    found.details = replace(found.details, image=f"{IMAGE}-moved-0123abcd:demo._.1001")
    assert "not known any more" in (await drift(stage)).notes[0]


async def test_an_image_that_is_gone_leaves_the_system_packages_unknown() -> None:
    stage = stage_with_packages()
    container = await stage.create()
    work(files_of(stage, container))
    found = stage.engine.containers[container]
    tree = stage.engine.images[found.details.image_id].tree
    gone = "sha256:" + "9" * 64
    text = json.dumps([gone, [[STATUS, "changed"], [f"{SITE}/rich-13.dist-info", "added"]]])
    image = f"{IMAGE}-moved-0123abcd:demo._.1001"
    found.details = replace(found.details, image=image)
    files_of(stage, container).files = dict(tree.files)
    await MemoryStore.write(stage.store, lambda transaction: EARLIER_LAYERS.remember(transaction, image, text))
    seen = await drift(stage)
    assert seen.drift.lines(PackageTool.PIP) == ("rich==13",)
    assert seen.drift.lines(PackageTool.APT) == ()
    assert "not known" in seen.notes[0]


async def test_an_engine_that_does_not_say_is_an_error_and_not_an_empty_list() -> None:
    stage = stage_with_packages()
    await stage.create()
    stage.engine.fail_next("list_changes", BackendError("busy"))
    assert isinstance(await run_to_failure(drift(stage)), BackendError)
    with pytest.raises(NotFoundError):
        await stage.services.drift.find(1002, "demo")


async def test_of_several_names_of_an_image_the_one_that_was_asked_for_is_the_base() -> None:
    stage = stage_with_packages()
    await stage.engine.tag_image(IMAGE, "aaa/first")
    await stage.engine.tag_image(IMAGE, "registry.example/other:2.0")
    for number, asked_for in enumerate((IMAGE, "registry.example/other:2.0")):
        made = await stage.services.creation.create(
            ALICE_CALLER, order(f"demo{number}", count=0, image=asked_for), stage.notify
        )
        assert made.details is not None
        container = stage.engine.containers[made.details.id]
        container.details = replace(container.details, labels={**container.details.labels, label.CUSTOM_IMAGE: ""})
        assert (await drift(stage, f"demo{number}")).base == asked_for


async def test_what_apk_and_rpm_installed_is_said_in_words() -> None:
    stage = stage_with_packages()
    image = stage.engine.image_of(IMAGE).tree
    image.put(APK_LIST, b"P:musl\nV:1\n\n")
    image.put(APK_WORLD, b"musl\n")
    container = await stage.create()
    assert (await drift(stage)).left_out == ()
    tree = files_of(stage, container)
    tree.put(APK_LIST, b"P:musl\nV:1\n\nP:vim\nV:9\n\nP:ncurses\nV:6\n\n")
    tree.put(APK_WORLD, b"musl\nvim\n")
    tree.put("/var/lib/rpm/rpmdb.sqlite", b"\0SQLite")
    said = {file.path: file.reason for file in (await drift(stage)).left_out}
    assert said["apk"].endswith("RUN apk add --no-cache vim")
    assert "rpm -qa" in said["dnf"]
    await stage.start()
    assert {file.path: file.reason for file in (await drift(stage)).left_out} == said, "running or stopped"
