"""An Engine in memory that behaves as the real one; tests/contract/test_engine*.py run one suite on both."""

from tests.fake_engine.engine import FakeEngine
from tests.fake_engine.programs import FakeProcess, FileTree, Program

__all__ = ["FakeEngine", "FakeProcess", "FileTree", "Program"]
