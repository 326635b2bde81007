"""What the predecessor noted of images in `~/ds01-config/images`: read, shown, never written."""

import os
from pathlib import Path

import pytest

from ds01.cli.dockerfiles import find_dockerfile, login_name
from ds01.cli.predecessor_image import find_old_facts
from ds01.domain.user import handle
from ds01.errors import NotFoundError
from tests.unit.cli.conftest import Ds01
from tests.unit.cli.test_updating import own_image
from tests.unit.scripted_daemon import ScriptedDaemon

UID = os.getuid()
OWN = handle(UID, login_name())


def note(home: Path, stem: str, text: str) -> Path:
    path = home / "ds01-config" / "images" / f"{stem}.info"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("stem", [f"ds01-{UID}_thesis", f"thesis-{OWN}", "thesis"])
def test_the_files_of_every_age_are_found(stem: str, tmp_path: Path) -> None:
    path = note(tmp_path, stem, "# made by hand\nImage: x\nUse Case: cv\nframework:Pytorch\nPackages: a, b\nOther: 1\n")
    for name in ("thesis", f"thesis-{OWN}"):
        found = find_old_facts(tmp_path, name, uid=UID, handle=OWN)
        assert found is not None
        assert (found.path, found.image, found.use_case, found.framework) == (path, "x", "cv", "Pytorch")
        assert (found.packages, found.created) == ("a, b", "")
    assert find_old_facts(tmp_path, "other", uid=UID, handle=OWN) is None


def test_what_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    path = note(tmp_path, "thesis", "")
    path.unlink()
    path.mkdir()
    assert find_old_facts(tmp_path, "thesis", uid=UID, handle=OWN) is None
    assert find_old_facts(tmp_path, "a\0b", uid=UID, handle=OWN) is None
    note(tmp_path, "noise", "").write_bytes(b"\xff\xfe: \x00\n" * 9)
    assert find_old_facts(tmp_path, "noise", uid=UID, handle=OWN) is not None


def test_the_dockerfile_is_found_where_it_was_noted(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    kept = tmp_path / "elsewhere" / "My.Dockerfile"
    note(tmp_path, f"ds01-{UID}_thesis", f"Dockerfile: {kept}\n")
    with pytest.raises(NotFoundError):
        find_dockerfile(environment, "thesis")
    kept.parent.mkdir()
    kept.write_text("FROM x\n")
    assert find_dockerfile(environment, "thesis") == kept
    ours = tmp_path / "workspace" / "thesis" / "Dockerfile"
    ours.parent.mkdir(parents=True)
    ours.write_text("FROM y\n")
    assert find_dockerfile(environment, "thesis") == ours, "a file in its place comes first"


def test_inspect_shows_what_was_noted_and_writes_nothing(ds01: Ds01, daemon: ScriptedDaemon, tmp_path: Path) -> None:
    daemon.answers["GET /v1/images/thesis"] = own_image()
    text = "Framework: Pytorch-2.5.1\nUse Case: cv\nCreated: long ago\nPackages: timm\n"
    path = note(tmp_path, f"ds01-{UID}_thesis", text)
    shown = ds01("image", "inspect", "thesis", HOME=str(tmp_path))
    for said in ("Pytorch-2.5.1", "cv", "made long ago with timm", f"~/{path.relative_to(tmp_path)}"):
        assert said in shown.out
    document = ds01("image", "inspect", "thesis", "--json", HOME=str(tmp_path)).document
    assert document["predecessor"]["framework"] == "Pytorch-2.5.1"
    assert path.read_text() == text
    path.unlink()
    assert ds01("image", "inspect", "thesis", "--json", HOME=str(tmp_path)).document["predecessor"] is None
