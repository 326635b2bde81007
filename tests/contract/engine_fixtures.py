"""The engines of the contract as a pytest plugin: the fixtures `bench` and `docker_bench`."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.contract.engine_bench import IMAGE, PUBLISHED, Bench, fake_bench, real_bench, started_engine
from tests.engine import DevEngine


@pytest.fixture(scope="session")
def contract_engine() -> Iterator[DevEngine]:
    """An engine of its own, because images are pulled and removed on it; it holds nothing but a busybox."""
    engine = started_engine("contract")
    engine.bring_images("busybox")
    engine.docker("tag", IMAGE, PUBLISHED)
    engine.publish(PUBLISHED)
    engine.docker("rmi", PUBLISHED)
    yield engine
    engine.stop()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A directory with everything in its name that a mount could be split at."""
    made = tmp_path / "with space, comma:colon"
    made.mkdir()
    return made


@pytest.fixture
async def docker_bench(contract_engine: DevEngine, workspace: Path) -> AsyncIterator[Bench]:
    """The real engine only."""
    async with real_bench(contract_engine, workspace) as made:
        yield made


@pytest.fixture(params=["memory", pytest.param("docker", marks=pytest.mark.engine)])
async def bench(request: pytest.FixtureRequest, workspace: Path) -> AsyncIterator[Bench]:
    """Both engines, one after the other."""
    if request.param == "memory":
        made = fake_bench(workspace)
        yield made
        await made.engine.close()
    else:
        async with real_bench(request.getfixturevalue("contract_engine"), workspace) as real:
            yield real
