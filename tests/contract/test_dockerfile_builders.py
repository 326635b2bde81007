"""What we write into a Dockerfile is what the builders do: the classic one and BuildKit, on a real engine."""

import http.client
import io
import json
import random
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ds01.domain.images.conda_package import CondaPackages
from ds01.domain.images.dockerfile_change import render_dockerfile
from ds01.domain.images.dockerfile_section import JUPYTER_SETTINGS, label_pairs
from ds01.domain.images.recipe import CopiedFile, ImageRecipe, RequirementsFile, Tier, TierPackages
from tests.contract.engine_bench import IMAGE, started_engine
from tests.engine import DevEngine

pytestmark = pytest.mark.engine

STUBS = "ds01-dev/stubs:latest"
# writes down what it was called with, and the files that it was to read
RECORDER = b"""#!/bin/sh
{
    printf 'CALL %s\\n' "${0##*/}"
    for word in "$@"; do printf 'WORD %s\\n' "$word"; done
    for word in "$@"; do case "$word" in /tmp/ds01-*) printf 'FILE %s\\n' "$word"; cat "$word" ;; esac; done
} >> /record
"""
# every character that a shell, a builder or a lexer between them could give a meaning to
CHARACTERS = "aB0 $'\"\\`#<>|&;=,{}[]()~!*?%@^:./_-\u00fc\u20ac\u00a0\U0001f600"
IN_URLS = "aZ0._~!$&()*+,;=:@%-"


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=120)
        self._path = str(path)

    def connect(self) -> None:
        """Connect to the engine's socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


def _context(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _build(engine: DevEngine, tag: str, files: dict[str, bytes], *, version: int) -> dict[str, Any]:
    """Build an image; return its configuration."""
    connection = _Connection(engine.socket_path)
    head = {"Content-Type": "application/x-tar"}
    connection.request("POST", f"/v1.41/build?t={tag}&version={version}&networkmode=none", _context(files), head)
    log = connection.getresponse().read().decode()
    assert "Successfully tagged" in log, log[-2000:]
    connection.request("GET", f"/v1.41/images/{tag}/json")
    found: dict[str, Any] = json.loads(connection.getresponse().read())["Config"]
    connection.close()
    return found


@pytest.fixture(scope="module")
def engine() -> Iterator[DevEngine]:
    """An engine with an image whose pip, apt-get, conda and python3 only write down their words."""
    found = started_engine("builders")
    found.bring_images("busybox")
    copies = "".join(f"COPY record /bin/{name}\n" for name in ("pip", "apt-get", "conda", "python3"))
    _build(found, STUBS, {"Dockerfile": f"FROM {IMAGE}\n{copies}".encode(), "record": RECORDER}, version=1)
    yield found
    found.stop(purge=True)


def _nasty(seed: int) -> ImageRecipe:
    chance = random.Random(seed)

    def word(characters: str = CHARACTERS) -> str:
        return "".join(chance.choice(characters) for _ in range(chance.randrange(14)))

    return ImageRecipe(
        STUBS,
        "my-image",
        author=word().replace(",", ""),
        framework="Pytorch-2.8.0-aime",
        system=("git", "ffmpeg=7:4.4~rc1"),
        conda=CondaPackages(("numpy>=1.2", "a=1.*"), ("conda-forge", "nodefaults")),
        requirements=RequirementsFile(
            (
                'pandas>=2; python_version < "3.12"',
                "--index-url https://x.org/a?b=1&c=$d",
                "a @ git+https://${TOKEN}@x.org/a",
            ),
            ("urllib3<2",),
        ),
        packages=(
            TierPackages(Tier.JUPYTER, ("jupyterlab",)),
            TierPackages(Tier.ADDITIONAL, ("foo[a,b]<3,>=2", 'bar; extra == "it\'s"')),
            TierPackages(Tier.CUSTOM, tuple(f"p{number} @ https://x.org/a{word(IN_URLS)}" for number in range(20))),
        ),
        files=(CopiedFile("a b \u00fc", "/x y"),),
        env=tuple((f"V{number}", word()) for number in range(30)),
        labels=tuple((f"org.x{number}", word().replace(",", "")) for number in range(20)),
    )


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("version", [pytest.param(1, id="classic"), pytest.param(2, id="buildkit")])
def test_builders_do_what_the_recipe_says(engine: DevEngine, version: int, seed: int) -> None:
    recipe = _nasty(seed)
    tag = f"ds01-dev/built:v{version}"
    files = {"Dockerfile": render_dockerfile(recipe).encode(), "a b \u00fc": b"here\n"}
    built = _build(engine, tag, files, version=version)
    env = dict(pair.split("=", 1) for pair in built["Env"])
    assert {key: env.get(key) for key, _ in recipe.env} == dict(recipe.env)
    assert {key: built["Labels"].get(key) for key, _ in label_pairs(recipe)} == dict(label_pairs(recipe))
    assert (built["WorkingDir"], built["Cmd"]) == ("/workspace", ["/bin/bash"])
    show = "cat /record /etc/jupyter/jupyter_server_config.py '/x y'"
    record = engine.docker("run", "--rm", "--network", "none", tag, "sh", "-c", show)
    lines = record.splitlines()
    for tier in (Tier.JUPYTER, Tier.ADDITIONAL, Tier.CUSTOM):
        words = (
            "CALL pip",
            "WORD install",
            "WORD --no-cache-dir",
            *(f"WORD {text}" for text in recipe.packages_of(tier)),
        )
        assert "\n".join(words) in record
    assert recipe.requirements is not None
    written = (
        "FILE /tmp/ds01-requirements.txt",
        *recipe.requirements.lines,
        "FILE /tmp/ds01-constraints.txt",
        "urllib3<2",
    )
    assert "\n".join(written) in record
    assert "WORD my-image (Pytorch-2.8.0-aime)" in lines
    assert {"WORD numpy>=1.2", "WORD a=1.*", "WORD --override-channels", "WORD ffmpeg=7:4.4~rc1"} <= set(lines)
    assert lines[-len(JUPYTER_SETTINGS) - 1 :] == [*JUPYTER_SETTINGS, "here"]
