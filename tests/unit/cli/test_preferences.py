"""What a person has set once: a typed option before a variable, that before their file, that before the site."""

from pathlib import Path

import pytest

from ds01.cli.preference import config_path
from tests.unit.cli.conftest import CREATED, Ds01, creation
from tests.unit.scripted_daemon import ScriptedDaemon


@pytest.fixture(autouse=True)
def creating(daemon: ScriptedDaemon) -> None:
    daemon.answers["POST /v1/containers"] = creation(CREATED)


def write(folder: Path, text: str) -> str:
    """Write the person's file and return what XDG_CONFIG_HOME is then."""
    (folder / "ds01").mkdir()
    (folder / "ds01" / "config.yaml").write_text(text)
    return str(folder)


@pytest.mark.parametrize(
    ("words", "variable", "memory_gib"), [(("--memory", "1G"), "2G", 1), ((), "2G", 2), ((), "", 3)]
)
def test_typed_comes_before_the_variable_and_that_before_the_file(
    words: tuple[str, ...], variable: str, memory_gib: int, daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path
) -> None:
    home = write(tmp_path, "create:\n  memory: 3G\n  shm-size: 1G\n  gpus: 2\n")
    assert ds01("create", "a", "pytorch", *words, XDG_CONFIG_HOME=home, DS01_MEMORY=variable).status == 0
    body = daemon.requests[-1].document()
    assert body["memory_bytes"] == memory_gib * 1024**3
    assert (body["shm_size_bytes"], body["gpu"]) == (1024**3, {"count": 2})


@pytest.mark.parametrize("words", [("--cpu-only",), ("--gpus", "0"), ("--gpu-memory", "4G")])
def test_typed_words_about_gpus_stand_alone(words: tuple[str, ...], daemon: ScriptedDaemon, ds01: Ds01) -> None:
    assert ds01("create", "a", "pytorch", *words, DS01_GPUS="2", DS01_GPU_KIND="full").status == 0
    gpu = daemon.requests[-1].document()["gpu"]
    assert gpu == ({"memory_bytes": 4 * 1024**3} if "4G" in words else {"count": 0})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("create:\n  memori: 3G\n", "config.yaml:2: memori is not known."),
        ("creat:\n  memory: 3G\n", "config.yaml:1: creat is not known."),
        ("create: [1]\n", "create is not a set of keys"),
        ("create:\n  gpus: many\n", "gpus: many is not a whole number"),
        ("create:\n  memory: {}\n", "is not a word or a number"),
        ("create:\n  gpus: yes\n  gpus: 1\n", "config.yaml:3"),
        ("create:\n\tgpus: 1\n", "config.yaml:2"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_place(
    text: str, told: str, daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path
) -> None:
    outcome = ds01("create", "a", "pytorch", XDG_CONFIG_HOME=write(tmp_path, text))
    assert outcome.status == 2
    assert told in outcome.err
    assert daemon.asked() == []


def test_a_mistake_in_a_variable_is_told(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    outcome = ds01("create", "a", "pytorch", DS01_GPUS="many")
    assert (outcome.status, daemon.asked()) == (2, [])
    assert "DS01_GPUS=many is not a whole number" in outcome.err


def test_a_file_that_cannot_be_read_is_told_and_an_empty_one_says_nothing(
    daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path
) -> None:
    home = write(tmp_path, "")
    assert ds01("create", "a", "pytorch", XDG_CONFIG_HOME=home).status == 0
    (tmp_path / "ds01" / "config.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in ds01("create", "a", "pytorch", XDG_CONFIG_HOME=home).err


def test_a_relative_folder_of_settings_is_ignored() -> None:
    assert config_path({"XDG_CONFIG_HOME": "here", "HOME": "/home/alice"}) == "/home/alice/.config/ds01/config.yaml"
    assert config_path({"XDG_CONFIG_HOME": "/etc/x", "HOME": "/home/alice"}) == "/etc/x/ds01/config.yaml"
