"""What several suites share: one real engine for the whole run."""

import os
import signal
from collections.abc import Iterator
from zlib import crc32

import pytest
from hypothesis import settings

from tests.engine import DevEngine, EngineUnavailableError

# a run in the background ignores Ctrl-C, and so would every program that a test starts
signal.signal(signal.SIGINT, signal.default_int_handler)
# how long one example takes says something about the machine's load and nothing about the product
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def dev_engine() -> Iterator[DevEngine]:
    """A real engine with the small and the catalogue images. Missing here: skipped locally, a failure in CI."""
    # named after the checkout: two of them may be tested at once
    engine = DevEngine(f"tests-{crc32(__file__.encode()):08x}")
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
