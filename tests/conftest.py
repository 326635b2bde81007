"""What several suites share: one real engine for the whole run."""

import os
from collections.abc import Iterator

import pytest

from tests.engine import DevEngine, EngineUnavailableError


@pytest.fixture(scope="session")
def dev_engine() -> Iterator[DevEngine]:
    """A real engine with the small and the catalogue images. Missing here: skipped locally, a failure in CI."""
    engine = DevEngine("tests")
    try:
        engine.start()
    except EngineUnavailableError as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no engine: {missing}")
    try:
        engine.bring_images("all")
        yield engine
    finally:
        engine.stop()
