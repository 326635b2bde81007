"""Files that somebody made to do harm, with right checksums: each is refused in words, and nothing of it stays."""

import dataclasses
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ds01.cli.compression import CompressedWriter
from ds01.cli.export_file import read_file
from ds01.domain.containers.export import HEADER_NAME, ExportHeader, layer_entry
from tests.e2e.crashes import image_ids, require_order
from tests.e2e.site import BUSYBOX, Site

Member = tuple[tarfile.TarInfo, bytes]
NAME = "carried"


def member(name: str, content: bytes = b"", **facts: object) -> Member:
    """One entry of a tar, with whatever is odd about it."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    for key, value in facts.items():
        setattr(entry, key, value)
    return entry, content


def packed(*members: Member) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry, content in members:
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


LINK, HARD, DEVICE = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE
BAD_ENTRIES = {
    "a path that climbs out": (member("../../etc/climbed", b"x"), "leads out"),
    "a path in between that climbs out": (member("opt/../../../climbed", b"x"), "leads out"),
    "an absolute path": (member("/etc/climbed", b"x"), "leads out"),
    "a device": (member("dev/memory", type=DEVICE, devmajor=1, devminor=1), "is a device"),
    "a disk": (member("disk", type=tarfile.BLKTYPE, devmajor=8, devminor=0), "is a device"),
    "a hard link out": (member("shadow", type=HARD, linkname="../../../etc/shadow"), "leads out"),
    "an absolute hard link": (member("shadow", type=HARD, linkname="/etc/shadow"), "leads out"),
}


@pytest.fixture
def shelf(site: Site) -> Iterator[Path]:
    folder = site.scratch / "shelf"
    folder.mkdir()
    folder.chmod(0o755)
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.fixture
def header(site: Site, shelf: Path) -> ExportHeader:
    """What a real export of alice says of itself; her container is gone again."""
    site.run("create", NAME, "--image", BUSYBOX, "--cpu-only")
    site.run("start", NAME)
    path = shelf / "real"
    shelf.chmod(0o1777)
    site.run("container", "export", NAME, str(path))
    shelf.chmod(0o755)
    site.clear()
    return read_file(str(path)).header


def with_layer(header: ExportHeader, layer: bytes) -> ExportHeader:
    assert header.base is not None
    return dataclasses.replace(header, layers=(*header.base.layers, f"sha256:{hashlib.sha256(layer).hexdigest()}"))


def written(path: Path, *members: Member) -> Path:
    """Write a file whose own checksum is right."""
    with path.open("wb") as target:
        writer = CompressedWriter(target)
        writer.write(packed(*members))
        writer.finish()
    path.chmod(0o644)
    return path


def whole(header: ExportHeader, layer: bytes, *more: Member) -> tuple[Member, ...]:
    made = with_layer(header, layer)
    return member(HEADER_NAME, made.to_text().encode()), member(layer_entry(made.layers[-1]), layer), *more


class Refusals:
    """Imports as bob that must not come to anything."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.before = image_ids(site)
        self.workspace = site.accounts["bob"].home / "workspace" / "mine"

    def require(self, path: Path, words: str, status: int = 2) -> None:
        """Import a file, and look everywhere for what it may have left."""
        outcome = self.site.run("container", "import", str(path), "--name", "mine", user="bob", check=False)
        assert outcome.status == status, outcome
        assert words in outcome.stderr, outcome
        assert "Traceback" not in outcome.stderr
        assert not self.workspace.exists()
        assert self.site.containers() == []
        assert image_ids(self.site) == self.before
        require_order(self.site, self.before)


def test_a_layer_that_reaches_outside_is_refused(site: Site, header: ExportHeader, shelf: Path) -> None:
    refusals = Refusals(site)
    for number, (entry, words) in enumerate(BAD_ENTRIES.values()):
        path = written(shelf / str(number), *whole(header, packed(member("opt/good", b"x"), entry)))
        refusals.require(path, words)
    assert not Path("/etc/climbed").exists()
    twice = packed(member("opt/good", b"first"), member("opt/good", b"second"))
    refusals.require(written(shelf / "twice", *whole(header, twice)), "one path twice")


def test_a_workspace_that_reaches_outside_is_refused(site: Site, header: ExportHeader, shelf: Path) -> None:
    refusals = Refusals(site)
    home = site.accounts["bob"].home
    bad = {
        "a path that climbs out": [member("workspace/../../../climbed", b"x")],
        "a hard link out": [member("workspace/profile", type=HARD, linkname="workspace/../../.profile")],
        "an absolute hard link": [member("workspace/passwd", type=HARD, linkname="/etc/passwd")],
        "a link out, and a file behind it": [
            member("workspace/out", type=LINK, linkname=str(home)),
            member("workspace/out/climbed", b"x"),
        ],
    }
    for number, entries in enumerate(bad.values()):
        path = written(shelf / str(number), *whole(header, packed(member("opt/good", b"x")), *entries))
        outcome = site.run("container", "import", str(path), "--name", "mine", user="bob", check=False)
        assert outcome.status in {2, 8}, outcome
        assert "Traceback" not in outcome.stderr
        assert not (home / "workspace" / "mine").exists()
        require_order(site, refusals.before)
    assert not list(home.rglob("climbed"))


def test_every_section_is_checked_and_none_is_believed(site: Site, header: ExportHeader, shelf: Path) -> None:
    refusals = Refusals(site)
    layer = packed(member("opt/good", b"x" * 2000))
    head, good = whole(header, layer)
    document = json.loads(head[1])
    changed = layer.replace(b"xxxx", b"yyyy", 1)
    other = "sha256:" + "1" * 64

    def said(**facts: object) -> Member:
        return member(HEADER_NAME, json.dumps({**document, **facts}).encode())

    cases: list[tuple[tuple[Member, ...], str, int]] = [
        ((head, member(good[0].name, changed)), "damaged", 2),
        ((head,), "damaged", 2),
        ((head, good, member(layer_entry(other), layer)), "damaged", 2),
        ((head, good, head), "damaged", 2),
        ((good, head), "holds no container", 2),
        ((member(HEADER_NAME, b"{"), good), "header cannot be read", 2),
        ((member(HEADER_NAME, b"[" * 100_000), good), "header cannot be read", 2),
        ((said(schema=2), good), "has schema 2", 2),
        ((said(layers=[other]), good), "its layers do not stand on its base", 2),
        ((said(layers=["../../x"]), good), "layers is missing or wrong", 2),
        ((said(uid=-1), good), "uid is missing or wrong", 2),
        ((said(config=[]), good), "config is missing or wrong", 2),
        ((said(order={"gpu": {"count": -5}}), good), "", 2),
        ((said(order={"environment": {"A=B": "\0"}}), good), "", 2),
        (
            (
                said(
                    base={**document["base"], "reference": "--help", "digest": "", "image_id": "x", "layers": [other]}
                ),
                good,
            ),
            "its layers do not stand on its base",
            2,
        ),
    ]
    for number, (members, words, status) in enumerate(cases):
        refusals.require(written(shelf / str(number), *members), words, status)


def test_what_is_longer_than_the_disk_is_refused_before_it_is_unpacked(
    site: Site, header: ExportHeader, shelf: Path
) -> None:
    refusals = Refusals(site)
    path = shelf / "bomb"
    with path.open("wb") as target:
        writer = CompressedWriter(target)
        writer.write(bytes(200_000_000))
        writer.size_bytes = 1024**5
        writer.finish()
    path.chmod(0o644)
    assert path.stat().st_size < 100_000
    refusals.require(path, "there is room for", 8)
    # one that tells less than it is
    honest = shelf / "liar"
    with honest.open("wb") as target:
        writer = CompressedWriter(target)
        writer.write(packed(*whole(header, packed(member("zeros", bytes(50_000_000))))))
        writer.size_bytes = 1_000_000
        writer.finish()
    honest.chmod(0o644)
    refusals.require(honest, "unpacks to more than 1000000 bytes")


def test_what_is_usual_in_an_image_is_taken_and_is_the_importers(site: Site, header: ExportHeader, shelf: Path) -> None:
    alices = {"uid": header.uid, "gid": header.gid}
    layer = packed(
        member("opt/plain", b"installed", **alices),
        member("opt/mine", b"x", mode=0o4755, **alices),
        member("opt/roots", b"x", mode=0o4755),
        member("opt/link", type=LINK, linkname="/bin/busybox"),
    )
    path = written(shelf / "usual", *whole(header, layer))
    site.run("container", "import", str(path), "--name", "mine", user="bob")
    site.run("start", "mine", user="bob")
    bob = site.accounts["bob"].uid
    words = ("exec", "mine", "--", "stat", "-c", "%u %a", "/opt/plain", "/opt/mine", "/opt/roots")
    assert site.run(*words, user="bob").stdout.splitlines() == [f"{bob} 644", f"{bob} 4755", "0 4755"]
    assert site.run("exec", "mine", "--", "readlink", "/opt/link", user="bob").stdout == "/bin/busybox\n"


def test_a_layer_that_writes_through_its_own_link_writes_inside(site: Site, header: ExportHeader, shelf: Path) -> None:
    secret = shelf / "host"
    secret.mkdir()
    (secret / "kept").write_text("the host's")
    layer = packed(
        member(str(secret).lstrip("/"), type=tarfile.DIRTYPE, mode=0o755),
        member("opt/out", type=LINK, linkname=str(secret)),
        member("opt/out/kept", b"the container's"),
    )
    path = written(shelf / "through", *whole(header, layer))
    site.run("container", "import", str(path), "--name", "mine", user="bob")
    assert [(each.name, each.read_text()) for each in secret.iterdir()] == [("kept", "the host's")]
    site.run("start", "mine", user="bob")
    assert site.run("exec", "mine", "--", "cat", "/opt/out/kept", user="bob").stdout == "the container's"
