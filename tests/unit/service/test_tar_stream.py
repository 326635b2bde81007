"""Archives that are changed while they pass."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from ds01.errors import InvalidRequestError
from ds01.service.tar_stream import Change, TarEntry, rewrite

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=150).filter(
    lambda name: name not in {".", ".."}
)
FORMATS = st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])


def unchanged(entry: TarEntry) -> TarEntry:
    return entry


async def _run(data: bytes, change: Change, size: int) -> bytes:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), size):
            yield data[start : start + size]

    return b"".join([piece async for piece in rewrite(pieces(), change)])


def rewritten(data: bytes, change: Change = unchanged, size: int = 777) -> bytes:
    return asyncio.run(_run(data, change, size))


def tar_of(members: list[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for header, content in members:
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, **facts: object) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type = kind
    for key, value in facts.items():
        setattr(header, key, value)
    return header


def read_back(data: bytes) -> list[tuple[str, bytes, int, int, int, str, bytes]]:
    found = []
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for header in archive:
            content = archive.extractfile(header) if header.isreg() else None
            found.append(
                (
                    header.name,
                    header.type,
                    header.mode,
                    header.uid,
                    header.gid,
                    header.linkname,
                    content.read() if content else b"",
                )
            )
    return found


@given(
    st.lists(
        st.tuples(NAMES, st.binary(max_size=2000), st.integers(0, 0o7777), st.integers(0, 2**32 - 2), NAMES),
        max_size=5,
    ),
    FORMATS,
    st.integers(1, 3000),
)
def test_what_is_not_changed_comes_out_as_it_was(
    entries: list[tuple[str, bytes, int, int, str]], form: int, size: int
) -> None:
    members = []
    for name, content, mode, owner, target in entries:
        members.append((member(name, mode=mode, uid=owner, gid=owner // 2), content))
        members.append((member(f"{name}.link", tarfile.SYMTYPE, linkname=target), b""))
        members.append((member(f"{name}.folder", tarfile.DIRTYPE, mode=0o700), b""))
    data = tar_of(members, form)
    assert read_back(rewritten(data, size=size)) == read_back(data)


def test_entries_are_changed_and_left_out() -> None:
    data = tar_of([(member("a", uid=5), b"x" * 600), (member("b"), b"yy"), (member("c", mode=0o4755), b"z")])

    def change(entry: TarEntry) -> TarEntry | None:
        return None if entry.name == "b" else replace(entry, uid=1001, gid=1001, mode=entry.mode & 0o777)

    found = read_back(rewritten(data, change))
    assert [(name, mode, uid) for name, _, mode, uid, *_ in found] == [("a", 0o644, 1001), ("c", 0o755, 1001)]


def test_records_that_override_the_header_are_seen() -> None:
    """A header that says one owner and a pax record that says another: whoever reads only one of them is fooled."""
    header = member("harmless", uid=1001)
    header.pax_headers = {"uid": "0", "path": "../../etc/passwd", "SCHILY.xattr.security.capability": "all"}
    seen: list[TarEntry] = []
    data = tar_of([(header, b"x")])
    out = rewritten(data, lambda entry: seen.append(entry) or replace(entry, uid=7, records={}))  # type: ignore[func-returns-value]
    assert (seen[0].name, seen[0].uid) == ("../../etc/passwd", 0)
    assert seen[0].records == {"SCHILY.xattr.security.capability": "all"}
    assert b"capability" not in out
    assert read_back(out)[0][3] == 7


@pytest.mark.parametrize("cut", [1, 511, 513, 900, 1500])
def test_an_archive_that_is_cut_off_is_refused(cut: int) -> None:
    data = tar_of([(member("a"), b"x" * 2000)])
    with pytest.raises(InvalidRequestError):
        rewritten(data[:cut])


@given(st.binary(max_size=3000))
def test_no_bytes_break_it(data: bytes) -> None:
    try:
        rewritten(data)
    except InvalidRequestError:
        return
    assert not any(data[:512])


@given(st.integers(0, 511), st.integers(0, 255))
def test_a_damaged_header_is_refused_or_read_the_same_by_everybody(position: int, byte: int) -> None:
    data = bytearray(tar_of([(member("name", uid=9), b"content")]))
    data[position] = byte
    try:
        out = rewritten(bytes(data))
    except InvalidRequestError:
        return
    assert read_back(out) == read_back(bytes(data))


def test_devices_keep_their_numbers_for_who_lets_them_pass() -> None:
    data = tar_of([(member("null", tarfile.CHRTYPE, devmajor=1, devminor=3), b"")])
    seen: list[TarEntry] = []
    rewritten(data, lambda entry: seen.append(entry) or entry)  # type: ignore[func-returns-value]
    assert seen[0].device == (1, 3)


def test_large_files_and_numbers_pass() -> None:
    header = member("large", uid=2**31 + 5, mtime=2**40)
    assert read_back(rewritten(tar_of([(header, b"")], tarfile.GNU_FORMAT)))[0][3] == 2**31 + 5
