"""The user inside, for every kind of name on every kind of base: what docs/reference/user-matrix.md says was run."""

import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.people import BASES, PEOPLE, Base, Person, account_of
from tests.e2e.site import Account, Site

WHEEL = "ds01_probe-1.0-py3-none-any.whl"
WHO = "id -u; id -g; id -un; id -G; echo $HOME; touch $HOME/mine /workspace/mine && echo written"
TOOLS = (
    "sudo -n id -u; git --version; "
    f"PIP_BREAK_SYSTEM_PACKAGES=1 pip install --user --no-index --quiet /workspace/{WHEEL} >&2; ds01-probe; "
    "stat -c %u $HOME/.local/bin/ds01-probe"
)
# what an interactive shell shows: bash says it, ash and dash expand variables only
PROMPT_OF_BASH = """bash -ic 'printf "%s\\n" "${PS1@P}"' 2>/dev/null"""
PROMPT_OF_ASH = """sh -ic 'eval "echo \\"$PS1\\""' 2>/dev/null | grep -F '[mine]'"""


@pytest.fixture(scope="module")
def people(request: pytest.FixtureRequest) -> Iterator[dict[str, Account]]:
    """Everybody, made once."""
    request.getfixturevalue("accounts")
    opened = [(person, account_of(person)) for person in PEOPLE]
    try:
        yield {person.name: made.__enter__() for person, made in opened}
    finally:
        for _, made in opened:
            made.__exit__(None, None, None)


@pytest.fixture(scope="module")
def bases(shared_site: Site) -> Iterator[None]:
    """Every base on the engine."""
    shared_site.engine.bring_images("trixie")
    shared_site.engine.bring_images("sid")
    shared_site.engine.bring_images("all", with_user_1000=True)
    for base in BASES:
        if base.dockerfile:
            shared_site.engine.docker("build", "--quiet", "--tag", base.image, "-", stdin=base.dockerfile)
    yield
    shared_site.clear()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A package of one command, so that no registry is needed."""
    path = tmp_path_factory.mktemp("wheel") / WHEEL
    info = "ds01_probe-1.0.dist-info"
    files = {
        "ds01_probe.py": "def main():\n    print('probe ran')\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: ds01-probe\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nds01-probe = ds01_probe:main\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path.read_bytes()


@pytest.mark.usefixtures("bases")
@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
@pytest.mark.parametrize("person", PEOPLE, ids=lambda person: re.sub(r"\W", "_", person.name))
def test_everybody_is_themselves_on_every_base(
    shared_site: Site, people: dict[str, Account], wheel: bytes, person: Person, base: Base
) -> None:
    account = people[person.name]
    site = replace(shared_site, accounts={**shared_site.accounts, "odd": account}, spawned=[])
    made = site.run("create", "mine", "--image", base.image, "--cpu-only", user="odd")
    try:
        assert ("no sudo" in made.stdout + made.stderr) is not base.has_tools
        site.run("start", "mine", user="odd")
        workspace = account.home / "workspace" / "mine"
        (workspace / WHEEL).write_bytes(wheel)
        _require_themselves(site, person, base, workspace)
    finally:
        site.run("rm", "--yes", "--force", "mine", user="odd", check=False)
        for left in (account.home / "workspace" / "mine").glob("*"):
            left.unlink()


def _require_themselves(site: Site, person: Person, base: Base, workspace: Path) -> None:
    account = site.accounts["odd"]
    prompt = PROMPT_OF_BASH if base.has_tools else PROMPT_OF_ASH
    script = f"{WHO}; {prompt}" + (f"; {TOOLS}" if base.has_tools else "")
    said = site.run("exec", "mine", "--", "sh", "-c", script, user="odd")
    told = said.stdout.splitlines()
    uid, gid, name, groups, home, written, shown = told[:7]
    assert (int(uid), int(gid)) == (account.uid, account.gid)
    assert re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", name), name
    assert {int(number) for number in groups.split()} == set(os.getgrouplist(person.name, account.gid))
    assert (home, written) == (f"/home/{name}", "written")
    assert shown.rstrip() == f"[mine] {name}@mine:/workspace$", said
    owner = (workspace / "mine").stat()
    assert (owner.st_uid, owner.st_gid) == (account.uid, account.gid)
    if base.has_tools:
        assert told[7] == "0", said
        assert told[8].startswith("git version"), said
        assert told[9:] == ["probe ran", str(account.uid)], said
    assert site.inspect("mine", user="odd")["Config"]["Labels"]["aime.mlc.USER"] == person.name
