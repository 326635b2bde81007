"""The site that every end-to-end test uses: a real daemon, a real engine, real Unix users."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.site import BUSYBOX, Account, Site, find_program, make_account
from tests.engine import DevEngine


def _needs_root() -> None:
    if os.geteuid() != 0:
        assert os.environ.get("CI") != "true", "the end-to-end suite needs root"
        pytest.skip("the end-to-end suite needs root")


@pytest.fixture(scope="session")
def accounts() -> Iterator[dict[str, Account]]:
    """alice and bob; made for the run unless the machine has them."""
    _needs_root()
    made = {name: make_account(name, "ds01lab") for name in ("alice", "bob")}
    yield made
    for account in made.values():
        if account.was_made:
            subprocess.run(["userdel", "--remove", account.name], check=True, capture_output=True)


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder that every user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="ds01-e2e-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def shared_site(dev_engine: DevEngine, accounts: dict[str, Account], scratch: Path) -> Iterator[Site]:
    """One daemon for the whole run."""
    folder = scratch / "shared"
    folder.mkdir(mode=0o755)
    site = Site(dev_engine, folder, find_program(accounts["alice"], scratch), accounts)
    site.start()
    yield site
    site.stop()


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    """The shared daemon with an empty engine before and after the test."""
    shared_site.clear()
    yield shared_site
    shared_site.clear()


@pytest.fixture
def own_site(dev_engine: DevEngine, accounts: dict[str, Account], scratch: Path, shared_site: Site) -> Iterator[Site]:
    """A daemon of the test's own, not started yet: for tests that break it. The shared one is stopped meanwhile."""
    shared_site.clear()
    shared_site.stop()
    folder = Path(tempfile.mkdtemp(dir=scratch))
    folder.chmod(0o755)
    site = Site(dev_engine, folder, shared_site.program, accounts)
    yield site
    site.stop()
    for name in site.containers():
        site.engine.docker("rm", "--force", "--volumes", name)
    for tag in site.private_tags():
        site.engine.try_docker("rmi", tag)
    shared_site.start()


@pytest.fixture
def running(site: Site) -> str:
    """The name of a running container of alice without a GPU."""
    site.run("create", "demo", "--image", BUSYBOX, "--cpu-only")
    site.run("start", "demo")
    return "demo"
