"""Files as a tar, there and back."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, strategies as st

from ds01.adapters.docker.tar import pack, require_plain_path, unpack_file, without_padding
from ds01.errors import BackendError, ConflictError, InvalidRequestError
from ds01.service.ports import FileEntry

NAMES = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"), min_size=1, max_size=120
).filter(lambda name: name not in {".", ".."})
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda names: "/" + "/".join(names))
ENTRIES = st.builds(
    FileEntry,
    path=PATHS,
    content=st.none() | st.binary(max_size=2000),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
)


def members(data: bytes) -> list[FileEntry]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        found = []
        for member in archive:
            content = archive.extractfile(member)
            found.append(
                FileEntry(
                    path=member.name.removeprefix("."),
                    content=None if content is None else content.read(),
                    mode=member.mode,
                    uid=member.uid,
                    gid=member.gid,
                )
            )
        return found


@given(entries=st.lists(ENTRIES, max_size=5))
def test_entries_come_back_as_they_were(entries: list[FileEntry]) -> None:
    assert members(pack(entries)) == entries


@given(content=st.binary(max_size=5000), path=PATHS)
def test_one_file_comes_back_as_it_was(content: bytes, path: str) -> None:
    assert unpack_file(pack([FileEntry(path, content)]), limit_bytes=5000) == content


def test_the_same_entries_give_the_same_bytes() -> None:
    entries = [FileEntry("/etc", None, 0o755), FileEntry("/etc/motd", b"hello", 0o644, 3_000_000_000, 1)]
    assert pack(entries) == pack(list(entries))


@pytest.mark.parametrize("name", ["BZh9", "\x1f\x8b", "\xfd7zXZ", "(\xb5/\xfd"])
def test_no_name_makes_the_tar_look_packed(name: str) -> None:
    assert pack([FileEntry(f"/{name}", b"")]).startswith(b"./")


@pytest.mark.parametrize(
    "path", ["", "etc/motd", "/", "/etc/", "/etc//motd", "/etc/../shadow", "/./etc", "/a\0b", "/\udc80"]
)
def test_a_path_that_is_not_plain_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequestError):
        pack([FileEntry(path, b"")])
    with pytest.raises(InvalidRequestError):
        require_plain_path(path)


@pytest.mark.parametrize(("uid", "gid"), [(-1, 0), (0, -1), (2**32 - 1, 0), (0, 2**32)])
def test_an_owner_that_no_account_can_have_is_refused(uid: int, gid: int) -> None:
    with pytest.raises(InvalidRequestError):
        pack([FileEntry("/file", b"", uid=uid, gid=gid)])


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_what_is_no_regular_file_is_none(kind: bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        header = tarfile.TarInfo("name")
        header.type, header.linkname = kind, "elsewhere"
        archive.addfile(header)
    assert unpack_file(buffer.getvalue(), limit_bytes=10) is None


def test_an_empty_tar_has_no_file() -> None:
    assert unpack_file(pack([]), limit_bytes=10) is None


def test_a_file_that_claims_to_be_larger_than_the_limit_is_refused_before_it_is_read() -> None:
    header = tarfile.TarInfo("huge")
    header.size = 2**40
    with pytest.raises(ConflictError, match="huge"):
        unpack_file(header.tobuf(), limit_bytes=1024)


@pytest.mark.parametrize("data", [b"", b"not a tar" * 100, b"\x1f\x8b" + bytes(600)])
def test_what_is_no_tar_is_an_error(data: bytes) -> None:
    with pytest.raises(BackendError, match="archive is broken"):
        unpack_file(data, limit_bytes=1024)


def test_a_tar_that_ends_too_early_is_an_error() -> None:
    data = pack([FileEntry("/file", b"x" * 4000)])
    with pytest.raises(BackendError, match="archive is broken"):
        unpack_file(data[:2000], limit_bytes=10_000)


def tar_with(contents: list[bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number, content in enumerate(contents):
            header = tarfile.TarInfo(f"file-{number}")
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


async def trimmed(data: bytes, size: int) -> bytes:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), size):
            yield data[start : start + size]

    return b"".join([piece async for piece in without_padding(pieces())])


@given(
    st.lists(st.one_of(st.binary(max_size=1500), st.integers(0, 5000).map(bytes)), max_size=5),
    st.integers(1, 3000),
)
def test_only_what_stands_behind_the_end_mark_is_left_out(contents: list[bytes], size: int) -> None:
    whole = tar_with(contents)
    short = asyncio.run(trimmed(whole, size))
    assert whole.startswith(short)
    assert not any(whole[len(short) :])
    with tarfile.open(fileobj=io.BytesIO(short), mode="r:") as archive:
        read = [archive.extractfile(member) for member in archive]
    assert len(read) == len(contents)
    assert len(short) == sum(512 + -(-len(content) // 512) * 512 for content in contents) + 1024


async def test_what_is_no_tar_is_refused_or_left_to_the_engine() -> None:
    with pytest.raises(InvalidRequestError, match="no tar"):
        await trimmed(b"x" * 2000, 100)
    assert await trimmed(b"x" * 100, 7) == b"x" * 100
    assert await trimmed(b"", 1) == b""
