"""Containers as files: what is in them, whose it becomes, and that nothing is left of what fails."""

import asyncio
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from ds01.domain.containers.export import HEADER_NAME, ORDER_NAME, ExportHeader, layer_entry, parse_header
from ds01.domain.images.image import is_private_tag
from ds01.domain.request import GpuRequest
from ds01.domain.rules.site import Access, Site
from ds01.errors import BackendError, ConflictError, ForbiddenError, InvalidRequestError, NotFoundError
from ds01.service.creation import Creation
from ds01.service.disk_room import DiskRoom
from ds01.service.images import ImageOrder
from ds01.service.order import CreateOrder
from ds01.service.temporary_images import is_temporary
from tests.fake_engine.layers import pack
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, IMAGE, Stage, fail_once, only_own_errors

Work = Callable[[], Coroutine[Any, Any, object]]


@pytest.fixture
async def stage() -> Stage:
    return await prepared()


async def prepared() -> Stage:
    """Alice has a container in which she has installed something."""
    stage = Stage()
    stage.add_image()
    container = await stage.create()
    stage.engine.containers[container].tree.put("/opt/mine/tool", b"installed")
    return stage


async def export(stage: Stage, name: str = "demo", *, with_base: bool = False) -> bytes:
    pieces = stage.services.exporting.export(ALICE_CALLER, 1001, name, with_base=with_base)
    async with aclosing(pieces):
        return b"".join([piece async for piece in pieces])


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        found = {member.name: archive.extractfile(member) for member in archive}
        return {name: content.read() if content else b"" for name, content in found.items()}


async def pieces_of(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 10_000):
        yield data[start : start + 10_000]


def order_named(name: str) -> Callable[[bytes], CreateOrder]:
    return lambda _text: CreateOrder(name=name, image=ImageOrder(), request=GpuRequest(0), interface="cli")


def upload(files: dict[str, bytes]) -> bytes:
    return pack({ORDER_NAME: b"{}", **files})


async def import_(stage: Stage, files: dict[str, bytes], name: str = "copy") -> Creation:
    return await stage.services.importing.import_(BOB_CALLER, pieces_of(upload(files)), order_named(name), stage.notify)


async def temporary(stage: Stage) -> list[str]:
    images = stage.engine.images.values()
    return [tag for image in images for tag in image.details.tags if is_temporary(tag)]


async def test_an_export_leaves_out_the_layers_of_the_base_and_leaves_nothing_behind(stage: Stage) -> None:
    before = await stage.picture()
    found = members(await export(stage))
    header = parse_header(found.pop(HEADER_NAME))
    assert header.base is not None
    assert header.base.reference == f"{IMAGE}:latest"
    assert set(found) == {layer_entry(layer) for layer in header.included}
    assert len(header.included) == 1
    assert (header.uid, header.gid, header.order["gpu"]) == (1001, 1001, {"count": 1, "kind": "any"})
    for name, content in found.items():
        assert name == layer_entry(hashlib.sha256(content).hexdigest())
    assert await stage.picture() == before
    assert "container.exported" in await stage.events()


@pytest.mark.parametrize("is_older", [True, False])
async def test_the_base_is_the_containers_own_image_and_not_one_with_the_same_layers(is_older: bool) -> None:
    stage = Stage()
    names = (IMAGE, "others/labelled") if is_older else ("others/labelled", IMAGE)
    ids = [stage.add_image(name) for name in names]
    assert len({stage.engine.images[image].details.layers for image in ids}) == 1
    await stage.create()
    header = parse_header(members(await export(stage))[HEADER_NAME])
    assert header.base is not None
    assert header.base.reference == f"{IMAGE}:latest"


async def test_with_its_base_an_export_has_every_layer(stage: Stage) -> None:
    found = members(await export(stage, with_base=True))
    header = parse_header(found.pop(HEADER_NAME))
    assert header.base is None
    assert len(found) == len(header.layers) == 2


async def test_what_alice_exported_is_bobs_after_the_import(stage: Stage) -> None:
    files = members(await export(stage))
    creation = await import_(stage, files)
    assert creation.details is not None
    assert creation.details.name == "copy._.1002"
    assert creation.details.user == "1002:1002"
    made = stage.engine.containers[creation.details.id]
    assert made.tree.files["/opt/mine/tool"] == b"installed"
    layer = stage.engine.image_of(creation.details.image).blobs[
        stage.engine.image_of(creation.details.image).details.layers[-1]
    ]
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:") as archive:
        assert {(member.uid, member.gid) for member in archive} == {(1002, 1002)}
    assert "aime.mlc.DS01_SEAL" in creation.details.labels
    assert await temporary(stage) == []
    await stage.services.removal.remove(BOB_CALLER, 1002, "copy", force=False)
    assert not [tag for image in await stage.engine.list_images() for tag in image.tags if tag.endswith(".1002")]


async def test_the_base_is_pulled_where_it_is_missing() -> None:
    origin = await prepared()
    files = members(await export(origin))
    elsewhere = Stage()
    with pytest.raises(NotFoundError, match="needs the image"):
        await import_(elsewhere, files)
    image = origin.engine.image_of(IMAGE)
    elsewhere.engine.publish(IMAGE, tree=image.tree.copy())
    assert (await import_(elsewhere, files)).details is not None


async def test_a_base_of_a_registry_that_is_not_allowed_is_not_pulled() -> None:
    origin = await prepared()
    files = members(await export(origin))
    elsewhere = Stage()
    elsewhere.policy = replace(elsewhere.policy, site=Site(access=Access(registries=("docker.io",))))
    elsewhere.engine.publish(IMAGE, tree=origin.engine.image_of(IMAGE).tree.copy())
    with pytest.raises(ForbiddenError, match=r"comes from registry.example.*access.registries"):
        await import_(elsewhere, files)
    assert elsewhere.engine.calls["load_images"] == 0
    assert not elsewhere.engine.images


async def test_a_base_that_is_only_somebody_elses_is_not_here(stage: Stage) -> None:
    files = members(await export(stage))
    image = stage.engine.image_of(IMAGE)
    image.details = replace(image.details, tags=("ds01.invalid/u1001/base:latest",))
    with pytest.raises(NotFoundError, match="not here"):
        await import_(stage, files)
    assert stage.engine.calls["load_images"] == 0
    image.details = replace(image.details, tags=("ds01.invalid/u1002/base:latest",))
    assert (await import_(stage, files)).details is not None


async def test_a_base_that_is_another_one_by_now_is_refused(stage: Stage) -> None:
    files = members(await export(stage))
    elsewhere = Stage()
    elsewhere.add_image(has_sudo=False)
    elsewhere.engine.publish(IMAGE)
    with pytest.raises(NotFoundError, match="another image"):
        await import_(elsewhere, files)


def layer_file(header: ExportHeader, content: bytes) -> dict[str, bytes]:
    return {HEADER_NAME: header.to_text().encode(), layer_entry(header.layers[0]): content}


def hostile(**facts: object) -> dict[str, bytes]:
    """A file whose checksums are right, and one of whose entries is not."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("etc/x")
        for key, value in facts.items():
            setattr(entry, key, value)
        archive.addfile(entry)
    data = buffer.getvalue()
    return layer_file(ExportHeader("x", "ds01", (f"sha256:{hashlib.sha256(data).hexdigest()}",)), data)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"name": "../../etc/cron.d/x"}, "leads out"),
        ({"name": "/etc/passwd"}, "leads out"),
        ({"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, "device"),
        ({"type": tarfile.BLKTYPE, "devmajor": 8}, "device"),
        ({"type": tarfile.LNKTYPE, "linkname": "../../etc/shadow"}, "leads out"),
        ({"type": tarfile.LNKTYPE, "linkname": "/etc/shadow"}, "leads out"),
    ],
)
async def test_a_hostile_layer_is_refused_and_nothing_is_made(
    stage: Stage, facts: dict[str, object], words: str
) -> None:
    before = await stage.picture()
    with pytest.raises(InvalidRequestError, match=words):
        await import_(stage, hostile(**facts))
    assert await stage.picture() == before


async def test_what_is_damaged_or_cut_off_is_refused_and_nothing_is_made(stage: Stage) -> None:
    files = members(await export(stage))
    (layer,) = [name for name in files if name != HEADER_NAME]
    before = await stage.picture()
    content = files[layer]
    wrong = content.replace(b"installed", b"intrusion", 1)
    assert wrong != content
    header = json.loads(files[HEADER_NAME])
    for broken in (
        {**files, layer: wrong},
        {HEADER_NAME: files[HEADER_NAME]},
        {**files, "layers/" + "0" * 64 + ".tar": b""},
        {**files, HEADER_NAME: b"{"},
        {**files, HEADER_NAME: json.dumps({**header, "schema": 2}).encode()},
        {**files, HEADER_NAME: json.dumps({**header, "layers": ["../x"]}).encode()},
        {**files, HEADER_NAME: json.dumps({**header, "uid": -1}).encode()},
    ):
        with pytest.raises(InvalidRequestError):
            await import_(stage, broken)
    whole = upload(files)
    for length in (0, 100, 600, len(whole) // 2):
        with pytest.raises(InvalidRequestError):
            await stage.services.importing.import_(
                BOB_CALLER, pieces_of(whole[:length]), order_named("copy"), stage.notify
            )
    assert await stage.picture() == before


@pytest.mark.parametrize(("free_bytes", "fits"), [(None, True), (10**9, True), (1000, False)])
async def test_what_the_engines_disk_has_no_room_for_is_refused(
    stage: Stage, free_bytes: int | None, *, fits: bool
) -> None:
    files = members(await export(stage))
    before = await stage.picture()
    stage.engine.info = replace(stage.engine.info, data_root="/engine")
    stage.services.disk_room = DiskRoom(stage.engine, {"/engine": free_bytes}.get)
    if fits:
        assert (await import_(stage, files)).details is not None
        return
    with pytest.raises(ConflictError, match="1000B is free"):
        await import_(stage, files)
    assert await stage.picture() == before


async def test_room_that_cannot_be_read_is_unknown(stage: Stage) -> None:
    def fail(_folder: str) -> int:
        raise BackendError("The kernel does not say.")

    assert await DiskRoom(stage.engine, fail).free_bytes() is None
    stage.engine.info = replace(stage.engine.info, data_root="/engine")
    assert await DiskRoom(stage.engine, fail).free_bytes() is None


async def test_a_taken_name_is_refused_before_anything_is_loaded(stage: Stage) -> None:
    files = members(await export(stage))
    await stage.create("copy", caller=BOB_CALLER, count=0)
    before = await stage.picture()
    with pytest.raises(ConflictError):
        await import_(stage, files)
    assert stage.engine.calls["load_images"] == 0
    assert await stage.picture() == before


async def test_others_containers_are_not_exported(stage: Stage) -> None:
    with pytest.raises(NotFoundError):
        await stage.services.exporting.plan(1002, "demo")


async def steps(work: Callable[[Stage], Coroutine[Any, Any, object]]) -> int:
    stage = await prepared()
    stage.trap.arm(0, None)
    await work(stage)
    return len(stage.trap.steps)


async def importing(stage: Stage, files: dict[str, bytes]) -> None:
    await import_(stage, files)


@pytest.mark.parametrize("how", ["failure", "cancel", "death"])
async def test_an_export_that_ends_at_any_step_leaves_nothing(how: str) -> None:
    for step in range(1, await steps(export) + 1):
        stage = await prepared()
        before = await stage.picture()
        await break_off(stage, step, how, partial(export, stage))
        if how == "death":
            await restarted(stage)
        elif await temporary(stage):
            await stage.reconcile()
        assert await stage.picture() == before, f"step {step}"


@pytest.mark.parametrize("how", ["failure", "cancel", "death"])
async def test_an_import_that_ends_at_any_step_leaves_all_or_nothing(how: str) -> None:
    files = members(await export(await prepared()))
    for step in range(1, await steps(lambda stage: importing(stage, files)) + 1):
        stage = await prepared()
        before = await stage.picture()
        failure = await break_off(stage, step, how, partial(importing, stage, files))
        await restarted(stage)
        await stage.require_settled()
        assert await temporary(stage) == [], f"step {step}"
        rows = await stage.store.read(lambda transaction: transaction.list_containers())
        if any(row.name == "copy" for row in rows):
            assert any(found.details.name == "copy._.1002" for found in stage.engine.containers.values())
        else:
            assert failure is not None
            assert (await stage.picture())[:2] == before[:2], f"step {step}"


async def break_off(stage: Stage, step: int, how: str, work: Work) -> BaseException | None:
    """Do something, and let it fail, be cancelled or die at one step."""
    task: asyncio.Task[object] | None = None

    def cancel() -> None:
        assert task is not None
        task.cancel()

    springs = {"failure": fail_once, "cancel": cancel, "death": stage.trap.die}
    stage.trap.arm(step, springs[how])
    task = asyncio.ensure_future(work())
    await asyncio.wait({task})
    failure = asyncio.CancelledError() if task.cancelled() else task.exception()
    assert only_own_errors(failure), repr(failure)
    stage.trap.revive()
    await stage.store.settle()
    return failure


async def restarted(stage: Stage) -> None:
    """The next process, some time later, has looked after everything."""
    stage.boot()
    stage.clock.advance(timedelta(hours=1))
    for _ in range(3):
        await stage.reconcile()


async def test_what_a_crash_left_behind_is_removed_but_not_what_is_in_use(stage: Stage) -> None:
    left = "ds01.invalid/export-0123456789abcdef:demo._.1001"
    await stage.engine.tag_image(stage.engine.image_of(IMAGE).details.id, left)
    services = stage.boot()
    async with aclosing(services.exporting.export(ALICE_CALLER, 1001, "demo")) as pieces:
        await anext(pieces)
        await stage.reconcile()
        (tag,) = await temporary(stage)
        assert tag != left
        assert is_private_tag(tag)
    assert await temporary(stage) == []


async def test_what_the_engine_finishes_after_its_daemon_died_is_removed_too(stage: Stage) -> None:
    image = stage.engine.image_of(IMAGE).details.id
    late = ["ds01.invalid/import-0123456789abcdef:demo._.1001", f"{IMAGE}-moved-01234567:demo._.1001"]
    stage.boot()
    for minutes in (0, 8, 15):
        await stage.reconcile()
        stage.clock.advance(timedelta(minutes=minutes))
        before = await stage.picture()
        for tag in late:
            await stage.engine.tag_image(image, tag)
        stage.clock.advance(timedelta(minutes=11) if minutes > 10 else timedelta(seconds=20))
        await stage.reconcile()
        assert await stage.picture() == before


async def test_an_engine_that_is_looked_through_is_asked_seldom(stage: Stage) -> None:
    stage.clock.advance(timedelta(hours=1))
    await stage.reconcile()
    looks = stage.engine.calls["list_images"]
    await stage.reconcile()
    assert stage.engine.calls["list_images"] == looks


async def test_an_engine_that_does_not_give_every_layer_is_said_so(stage: Stage) -> None:
    async def without_them(_references: object) -> AsyncIterator[bytes]:
        yield pack({"blobs/sha256/" + "1" * 64: b"x", "manifest.json": b"[]"})

    stage.engine.save_images = without_them  # type: ignore[assignment,method-assign]
    with pytest.raises(BackendError, match="did not give every layer"):
        await export(stage)
    assert await temporary(stage) == []
