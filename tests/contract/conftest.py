"""The pretended library, a machine it shows, and adapters over it that are closed at the end of the test."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ds01.adapters.nvml.devices import NvmlDevices, Patience
from tests.contract.nvml_double import FakeMachine, HandClock, OpenDevices, build, example_machine, plug
from tests.contract.nvml_session import Session


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.getbasetemp() / "fake-nvml")


@pytest.fixture
def machine(library: Path, tmp_path: Path) -> FakeMachine:
    return example_machine(library, tmp_path)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def pci(tmp_path: Path) -> Path:
    """The PCI bus of a machine: a network card and nothing else."""
    devices = tmp_path / "sys" / "bus" / "pci" / "devices"
    plug(devices, "0000:00:03.0", vendor="0x8086", device_class="0x020000")
    return devices


@pytest.fixture
async def open_devices(machine: FakeMachine, clock: HandClock, pci: Path) -> AsyncIterator[OpenDevices]:
    """Return a way to make adapters that are closed at the end."""
    async with AsyncExitStack() as stack:

        def open_one(patience: Patience | None = None, **changes: str) -> NvmlDevices:
            devices = NvmlDevices(
                environment={**machine.environment(), **changes}, pci_devices=pci, patience=patience, monotonic=clock
            )
            stack.push_async_callback(devices.close)
            return devices

        yield open_one


@pytest.fixture
def silent(machine: FakeMachine) -> Iterator[Session]:
    """A session before nvmlInit."""
    session = Session(machine)
    yield session
    session.close()


@pytest.fixture
def session(silent: Session) -> Session:
    silent.ask("nvmlInit()")
    return silent
