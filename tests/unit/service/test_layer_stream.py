"""Layers that are given to another owner while they pass."""

import io
import tarfile
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings, strategies as st

from ds01.errors import InvalidRequestError
from ds01.service.layer_stream import OwnerChange, reown

IDS = st.one_of(st.sampled_from([0, 1001, 1002]), st.integers(0, 2**32 - 2))
NAMES = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="/\x7f"), min_size=1, max_size=150
)


async def pieces_of(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def changed(data: bytes, change: OwnerChange | None, size: int = 1000) -> bytes:
    return b"".join([piece async for piece in reown(pieces_of(data, size), change)])


def layer(entries: list[tuple[str, int, int, bytes]], form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, uid, gid, content in entries:
            header = tarfile.TarInfo(name)
            header.uid, header.gid, header.size = uid, gid, len(content)
            archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


@settings(max_examples=60, deadline=None)
@given(
    entries=st.lists(
        st.tuples(NAMES.filter(lambda name: name != ".."), IDS, IDS, st.binary(max_size=1500)), max_size=6
    ),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    numbers=st.tuples(IDS, IDS, IDS, IDS),
    size=st.integers(1, 5000),
)
async def test_only_the_old_owners_files_change_and_no_length_does(
    entries: list[tuple[str, int, int, bytes]], form: int, numbers: tuple[int, int, int, int], size: int
) -> None:
    data = layer(entries, form)
    change = OwnerChange(*numbers)
    found = await changed(data, change, size)
    assert len(found) == len(data)
    with tarfile.open(fileobj=io.BytesIO(found), mode="r:") as archive:
        read = [(member, archive.extractfile(member)) for member in archive]
        assert [
            (member.name, member.uid, member.gid, content.read() if content else b"") for member, content in read
        ] == [
            (
                name,
                change.uid if uid == change.old_uid else uid,
                change.gid if gid == change.old_gid else gid,
                content,
            )
            for name, uid, gid, content in entries
        ]
    if not any(uid == change.old_uid or gid == change.old_gid for _, uid, gid, _ in entries):
        assert found == data, "a layer that has nothing of the old owner got another diff id"


async def test_what_stands_behind_the_end_is_refused() -> None:
    data = layer([("a", 0, 0, b"x")], tarfile.PAX_FORMAT)
    assert await changed(data, None) == data
    with pytest.raises(InvalidRequestError, match="behind its end"):
        await changed(data + b"more".ljust(512, b"\0"), None)


async def test_whiteouts_and_links_that_stay_inside_are_kept() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, target in (
            ("etc/.wh.passwd", tarfile.REGTYPE, ""),
            ("etc/link", tarfile.SYMTYPE, "../../../outside"),
            ("etc/hard", tarfile.LNKTYPE, "etc/file"),
            ("run/pipe", tarfile.FIFOTYPE, ""),
            ("gone", tarfile.CHRTYPE, ""),
        ):
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, target
            archive.addfile(header)
    assert await changed(buffer.getvalue(), OwnerChange(5, 5, 6, 6)) == buffer.getvalue()
