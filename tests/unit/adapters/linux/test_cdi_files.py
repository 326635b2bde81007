"""Spec files in a real folder: ours are whole or not there, and those of others are never touched."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ds01.adapters.linux.cdi_files import MAX_SPEC_BYTES, LinuxCdi
from ds01.config.cdi_file import parse_cdi_spec
from ds01.errors import BackendError
from ds01.service.ports import HostCdi

ID = "0011223344556677"
NVIDIA = "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices: [{name: a}]\n"


class Steps:
    """A checkpoint that remembers, and does something on the way."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.deed: Callable[[], None] = lambda: None

    def __call__(self, step: str) -> None:
        self.seen.append(step)
        self.deed()


def contents(folder: Path) -> dict[str, str]:
    """Return what every file of a folder holds."""
    return {found.name: found.read_text(encoding="ascii") for found in folder.iterdir()}


@pytest.fixture(params=[0o777, 0o775, 0o757])
def open_folder(request: pytest.FixtureRequest, folder: Path) -> Path:
    """A folder that others may change."""
    folder.chmod(request.param)
    return folder


@pytest.fixture
def program() -> Iterator["subprocess.Popen[bytes]"]:
    """A program that runs until its input ends."""
    environment = {"DS01_BOUND_GRANT": "a=b", "DS01_BOUND_GRANT_X": "no"}
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        process.stdout.read(1)  # it runs
        yield process
        process.kill()


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def cdi(steps: Steps) -> HostCdi:
    return LinuxCdi(parse_cdi_spec, tag="deadbeef", checkpoint=steps)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "cdi"
    made.mkdir(mode=0o755)
    return made


async def test_a_file_is_written_read_listed_and_removed(cdi: HostCdi, folder: Path, steps: Steps) -> None:
    where = str(folder)
    assert await cdi.list_own(where) == []
    assert await cdi.read_own(where, ID) is None
    await cdi.write_own(where, ID, {"kind": "x"}, mode=0o640)
    path = folder / f"ds01-deadbeef-{ID}.json"
    assert json.loads(path.read_bytes()) == {"kind": "x"}
    assert path.stat().st_mode & 0o777 == 0o640
    await cdi.write_own(where, ID, {"kind": "y"}, mode=0o600)
    assert await cdi.read_own(where, ID) == {"kind": "y"}
    assert await cdi.list_own(where) == [ID]
    assert list(contents(folder)) == [path.name], "nothing is left aside"
    await cdi.remove_own(where, ID)
    await cdi.remove_own(where, ID)
    assert contents(folder) == {}
    assert len(steps.seen) == 4, "every change passes the checkpoint"


async def test_a_missing_folder_is_made_whatever_the_umask(cdi: HostCdi, tmp_path: Path) -> None:
    made = tmp_path / "new"
    assert await cdi.list_own(str(made)) == []
    before = os.umask(0o077)
    try:
        await cdi.write_own(str(made), ID, {}, mode=0o644)
    finally:
        os.umask(before)
    assert made.stat().st_mode & 0o777 == 0o755
    assert next(made.iterdir()).stat().st_mode & 0o777 == 0o644


async def test_whoever_looks_while_it_is_written_sees_the_old_file_or_the_new_one(
    cdi: HostCdi, folder: Path, steps: Steps
) -> None:
    await cdi.write_own(str(folder), ID, {"kind": "old"}, mode=0o644)
    path = folder / f"ds01-deadbeef-{ID}.json"
    old = path.stat().st_ino
    await cdi.write_own(str(folder), ID, {"kind": "new"}, mode=0o644)
    assert path.stat().st_ino != old, "another file takes its place by a rename"


async def test_what_a_dead_daemon_was_writing_is_listed_and_goes_with_the_rest(cdi: HostCdi, folder: Path) -> None:
    aside = folder / f".ds01-deadbeef-{ID}.json.aside"
    aside.write_text("{", encoding="ascii")
    assert await cdi.list_own(str(folder)) == [ID]
    assert await cdi.read_own(str(folder), ID) is None
    await cdi.write_own(str(folder), ID, {}, mode=0o600)
    assert not aside.exists()
    aside.write_text("{", encoding="ascii")
    await cdi.remove_own(str(folder), ID)
    assert contents(folder) == {}


async def test_files_of_others_are_neither_listed_nor_touched(cdi: HostCdi, folder: Path) -> None:
    names = [
        "nvidia.yaml",
        f"ds01-cafecafe-{ID}.json",
        "ds01-deadbeef-XYZ.json",
        f"ds01-deadbeef-{ID}.yaml",
        ".x.aside",
    ]
    for name in names:
        (folder / name).write_text("theirs", encoding="ascii")
    assert await cdi.list_own(str(folder)) == []
    await cdi.remove_own(str(folder), ID)
    assert contents(folder) == dict.fromkeys(names, "theirs")


async def test_a_link_in_the_way_is_replaced_and_not_followed(cdi: HostCdi, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "victim"
    target.write_text("kept", encoding="ascii")
    for name in (f"ds01-deadbeef-{ID}.json", f".ds01-deadbeef-{ID}.json.aside"):
        (folder / name).symlink_to(target)
    await cdi.write_own(str(folder), ID, {}, mode=0o600)
    assert target.read_text(encoding="ascii") == "kept"
    assert not (folder / f"ds01-deadbeef-{ID}.json").is_symlink()


async def test_a_folder_that_others_may_change_is_refused(cdi: HostCdi, open_folder: Path) -> None:
    with pytest.raises(BackendError, match="Others than root may change") as refused:
        await cdi.write_own(str(open_folder), ID, {}, mode=0o600)
    assert f"chmod go-w {open_folder}" in (refused.value.hint or "")
    assert contents(open_folder) == {}


async def test_where_nothing_can_be_written_the_path_and_the_reason_are_said(cdi: HostCdi, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="ascii")
    with pytest.raises(BackendError, match=r"cannot be written: Not a directory") as refused:
        await cdi.write_own(str(tmp_path / "file"), ID, {}, mode=0o600)
    assert "late_binding.directory" in (refused.value.hint or "")
    with pytest.raises(BackendError, match="cannot be read"):
        await cdi.list_own(str(tmp_path / "file"))
    with pytest.raises(BackendError, match="cannot be read"):
        await cdi.read_own(str(tmp_path / "file"), ID)
    with pytest.raises(BackendError, match="cannot be removed"):
        await cdi.remove_own(str(tmp_path / "file"), ID)


async def test_specs_are_read_folder_by_folder_without_our_own(cdi: HostCdi, folder: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    (folder / "nvidia.yaml").write_text(NVIDIA, encoding="ascii")
    (folder / "README").write_text("no spec", encoding="ascii")
    (second / "nvidia.json").write_text('{"cdiVersion": "0.5.0", "kind": "a/b", "devices": []}', encoding="ascii")
    (second / "broken.yaml").write_text("a: [", encoding="ascii")
    (second / "huge.yaml").write_bytes(b"#" * (MAX_SPEC_BYTES + 1))
    await cdi.write_own(str(second), ID, {}, mode=0o600)
    specs, problems = await cdi.read_specs([str(folder), str(tmp_path / "missing"), str(second)])
    assert [(Path(spec.source).name, spec.rank) for spec in specs] == [("nvidia.yaml", 0), ("nvidia.json", 2)]
    assert [Path(problem.split()[0]).name for problem in problems] == ["broken.yaml", "huge.yaml"]


async def test_a_spec_that_was_written_anew_counts_from_then_on(cdi: HostCdi, folder: Path) -> None:
    path = folder / "nvidia.yaml"
    path.write_text(NVIDIA, encoding="ascii")
    first, _ = await cdi.read_specs([str(folder)])
    again, _ = await cdi.read_specs([str(folder)])
    assert again[0] is first[0], "one that has not changed is not parsed again"
    new = folder / "new"
    new.write_text(NVIDIA.replace("name: a", "name: b"), encoding="ascii")
    new.rename(path)
    (changed,), _ = await cdi.read_specs([str(folder)])
    assert list(changed.devices) == ["b"]


async def test_a_variable_of_a_process_is_what_it_was_started_with(
    cdi: HostCdi, program: "subprocess.Popen[bytes]"
) -> None:
    assert await cdi.read_variable(program.pid, "DS01_BOUND_GRANT") == "a=b"
    assert await cdi.read_variable(program.pid, "DS01_BOUND") is None
    program.kill()
    program.wait()
    assert await cdi.read_variable(program.pid, "DS01_BOUND_GRANT") is None
