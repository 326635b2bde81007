"""Packing and unpacking as a user: nothing leads out of the folder that was named."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ds01.cli.archive import Unpacker, pack
from ds01.errors import ConflictError, Ds01Error, InvalidRequestError, NotFoundError


def fail(message: str) -> None:
    raise AssertionError(message)


def packed(path: Path, name: str) -> bytes:
    return b"".join(pack(str(path), name, warn=fail))


def pieces_of(data: bytes, size: int = 700) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def unpack(data: bytes, folder: Path, rename: tuple[str, str] | None = None) -> list[str]:
    warnings: list[str] = []
    Unpacker(str(folder), rename=rename, warn=warnings.append).unpack(pieces_of(data))
    return warnings


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for header, content in members:
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname, header.mode = kind, target, mode
    return header


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "sub" / "large").write_bytes(os.urandom(700_000))
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("run.sh")
    (folder / "dangling").symlink_to("/nowhere")
    (folder / os.fsdecode(b"latin-\xe9")).write_bytes(b"old name")
    (folder / ("long" * 50)).write_bytes(b"")
    return folder


def look(folder: Path) -> dict[str, object]:
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


def test_a_folder_comes_back_as_it_was(tree: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    assert unpack(packed(tree, "tree"), there) == []
    assert look(there / "tree") == look(tree)
    assert (there / "tree" / "run.sh").stat().st_mode & 0o777 == 0o755


def test_a_copy_gets_another_name_or_gives_its_content_alone(tree: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    unpack(packed(tree, "tree"), there, ("tree", "other"))
    assert look(there / "other") == look(tree)
    alone = tmp_path / "alone"
    alone.mkdir()
    unpack(packed(tree, "tree"), alone, ("tree", ""))
    assert look(alone) == look(tree)
    content = tmp_path / "content"
    content.mkdir()
    unpack(packed(tree, ""), content)
    assert look(content) == look(tree)


def test_a_file_takes_the_place_of_a_file_and_never_of_a_folder(tree: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    (there / "folder").mkdir(parents=True)
    (there / "run.sh").write_text("old and longer")
    unpack(packed(tree / "run.sh", "run.sh"), there)
    assert (there / "run.sh").read_text() == "#!/bin/sh\n"
    with pytest.raises(ConflictError, match="folder"):
        unpack(packed(tree / "run.sh", "folder"), there)
    with pytest.raises(ConflictError):
        unpack(packed(tree, "run.sh"), there)


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "a/b/../../../out"])
def test_no_name_leads_out(name: str, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    with pytest.raises(InvalidRequestError, match="outside"):
        unpack(tar_of((member(name), b"x")), there)
    assert list(tmp_path.iterdir()) == [there]


@pytest.mark.parametrize("target", ["..", "/", "../secret"])
def test_no_link_of_the_archive_is_followed(target: str, tmp_path: Path) -> None:
    there, secret = tmp_path / "there", tmp_path / "secret"
    there.mkdir()
    secret.mkdir()
    data = tar_of((member("way", tarfile.SYMTYPE, target), b""), (member("way/secret/in"), b"x"))
    with pytest.raises(ConflictError):
        unpack(data, there)
    assert list(secret.iterdir()) == []
    # a link that was here before is not followed either
    (there / "mine").symlink_to(secret)
    with pytest.raises(ConflictError):
        unpack(tar_of((member("mine/in"), b"x")), there)
    unpack(tar_of((member("mine"), b"x")), there)
    assert (there / "mine").read_bytes() == b"x"
    assert list(secret.iterdir()) == []


def test_a_hard_link_reaches_only_what_was_unpacked(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (tmp_path / "secret").write_text("secret")
    unpack(tar_of((member("a"), b"one"), (member("b", tarfile.LNKTYPE, "a"), b"")), there)
    assert (there / "b").read_bytes() == b"one"
    with pytest.raises(InvalidRequestError):
        unpack(tar_of((member("c", tarfile.LNKTYPE, "../secret"), b"")), there)
    with pytest.raises(Ds01Error):
        unpack(tar_of((member("d", tarfile.LNKTYPE, "nothing"), b"")), there)


def test_devices_pipes_and_special_bits_stay_away(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    data = tar_of(
        (member("null", tarfile.CHRTYPE), b""),
        (member("pipe", tarfile.FIFOTYPE), b""),
        (member("su", mode=0o4755), b""),
    )
    assert len(unpack(data, there)) == 2
    assert [path.name for path in there.iterdir()] == ["su"]
    assert (there / "su").stat().st_mode & 0o7777 == 0o755


def test_what_cannot_be_packed_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    said: list[str] = []
    list(pack(str(tmp_path), "x", warn=said.append))
    assert len(said) == 1
    with pytest.raises(NotFoundError):
        packed(tmp_path / "nothing", "x")


def test_a_broken_archive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Ds01Error):
        unpack(b"this is no tar" * 100, tmp_path)
    whole = tar_of((member("a"), b"x" * 5000))
    with pytest.raises(Ds01Error):
        unpack(whole[:2000], tmp_path)
    assert list(tmp_path.iterdir()) == [], "half a file looks like a whole one"
