"""Files into containers and out of them."""

import io
import tarfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest

from ds01.errors import ForbiddenError, InvalidRequestError, NotFoundError
from tests.fakes import DEFAULT_LIMITS
from tests.unit.service.stage import ADMIN_CALLER, ALICE_CALLER, BOB_CALLER, Stage


async def archive(name: str = "file", content: bytes = b"x", **facts: object) -> AsyncIterator[bytes]:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    for key, value in facts.items():
        setattr(header, key, value)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        made.addfile(header, io.BytesIO(content))
    yield buffer.getvalue()


@pytest.fixture
async def stage() -> Stage:
    stage = Stage()
    stage.add_image()
    container = await stage.create()
    stage.engine.containers[container].tree.put("/workspace", None)
    stage.engine.containers[container].tree.put("/etc", None)
    return stage


async def test_what_is_copied_in_is_there_and_comes_out(stage: Stage) -> None:
    copying = stage.services.copying
    await copying.write(ALICE_CALLER, 1001, "demo", "/workspace", archive("folder/file", b"content"))
    found = await copying.find(1001, "demo", "/workspace/folder/file")
    assert found.stat is not None
    assert found.stat.size_bytes == 7
    async with aclosing(await copying.read(1001, "demo", "/workspace/folder")) as pieces:
        data = b"".join([piece async for piece in pieces])
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as read:
        assert "folder/file" in {member.name for member in read}


async def test_what_reaches_the_engine_is_the_owners_without_special_bits_or_capabilities(stage: Stage) -> None:
    sent = archive("su", uid=0, gid=0, mode=0o6755, pax_headers={"uid": "0", "SCHILY.xattr.security.capability": "all"})
    await stage.services.copying.write(ALICE_CALLER, 1001, "demo", "/workspace", sent)
    with tarfile.open(fileobj=io.BytesIO(stage.engine.unpacked[-1]), mode="r:") as unpacked:
        header = unpacked.next()
    assert header is not None
    assert (header.uid, header.mode) == (1001, 0o755)
    assert header.gid == ALICE_CALLER.user.gid
    assert not header.pax_headers


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("../etc/passwd", {}),
        ("/etc/passwd", {}),
        ("null", {"type": tarfile.CHRTYPE, "size": 0}),
        ("pipe", {"type": tarfile.FIFOTYPE, "size": 0}),
    ],
)
async def test_what_may_not_be_there_is_refused(stage: Stage, name: str, facts: dict[str, object]) -> None:
    content = b"" if facts else b"x"
    with pytest.raises(InvalidRequestError):
        await stage.services.copying.write(ALICE_CALLER, 1001, "demo", "/workspace", archive(name, content, **facts))
    assert (await stage.services.copying.find(1001, "demo", "/workspace/null")).stat is None


async def test_nobody_reaches_anothers_files(stage: Stage) -> None:
    copying = stage.services.copying
    with pytest.raises(NotFoundError):
        await copying.find(1002, "demo", "/workspace")
    with pytest.raises(NotFoundError):
        await copying.read(1002, "demo", "/workspace")
    with pytest.raises(NotFoundError):
        await copying.write(BOB_CALLER, 1002, "demo", "/workspace", archive())
    with pytest.raises(NotFoundError):
        await copying.read(1001, "demo", "/nothing")


async def test_who_has_no_root_inside_writes_to_mounted_folders_only(stage: Stage) -> None:
    copying = stage.services.copying
    stage.policy = replace(stage.policy, base=replace(DEFAULT_LIMITS, sudo=False))
    with pytest.raises(ForbiddenError, match="/etc"):
        await copying.write(ALICE_CALLER, 1001, "demo", "/etc", archive())
    for trick in ("/workspace-not", "/workspaces"):
        with pytest.raises(ForbiddenError):
            await copying.write(ALICE_CALLER, 1001, "demo", trick, archive())
    await copying.write(ALICE_CALLER, 1001, "demo", "/workspace", archive())
    await copying.write(ADMIN_CALLER, 1001, "demo", "/etc", archive())
