"""The two engines that the contract is checked on, and the containers that its tests make."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from ds01.adapters.docker.engine import DockerEngine
from ds01.domain.containers.container import ContainerDetails, ContainerSpec, ContainerState, Mount, ResourceLimits
from ds01.domain.containers.pid1 import ENTRYPOINT
from ds01.domain.name import EngineName
from ds01.service.ports import Engine, EngineEvent, ExecSpec, RawStream
from tests.engine import DevEngine, EngineUnavailableError
from tests.fake_engine import FakeEngine, FakeProcess, FileTree

UID = 4242
SECONDS = timedelta(seconds=20)
GPU = "GPU-11111111-aaaa-bbbb-cccc-000000000000"
IMAGE = "ds01-dev/busybox:latest"
PUBLISHED = "ds01-dev/contract:published"
TWO_OUTPUTS = "echo out; echo err >&2; exit 3"
LABEL = "ds01.contract"


class Steps(list[str]):
    """A checkpoint that remembers what passed it."""

    def __call__(self, step: str) -> None:
        self.append(step)


@dataclass
class Bench:
    """An engine with an image that holds a shell.

    Attributes:
        engine: The engine.
        steps: Checkpoints that it has passed.
        workspace: A directory of the host.
        registry: A registry that it can reach.
    """

    engine: Engine
    workspace: Path
    registry: str
    steps: Steps = field(default_factory=Steps)

    def spec(self, name: str, **changes: object) -> ContainerSpec:
        """Return what DS01 asks for, with some changes."""
        usual = ContainerSpec(
            engine_name=EngineName(name, UID),
            image=IMAGE,
            uid=1000,
            gid=1000,
            supplementary_gids=(100, 1001),
            hostname=name,
            entrypoint=ENTRYPOINT,
            environment={"NVIDIA_VISIBLE_DEVICES": "void", "TEXT": "a=b, c d"},
            labels={LABEL: "yes", "text": "with spaces = and signs"},
            mounts=(Mount(str(self.workspace), "/workspace"),),
            limits=ResourceLimits(
                nano_cpus=500_000_000,
                memory_bytes=64 * 1024**2,
                memory_swap_bytes=64 * 1024**2,
                shm_size_bytes=8 * 1024**2,
                pids_limit=100,
                ulimits={"nofile": 1024},
            ),
        )
        return replace(usual, **changes)  # type: ignore[arg-type]  # fields are checked at run time

    async def create(self, name: str, **changes: object) -> str:
        """Create a container and return its id."""
        return await self.engine.create_container(self.spec(name, **changes))

    async def run(self, name: str, **changes: object) -> str:
        """Create and start a container."""
        container = await self.create(name, **changes)
        await self.engine.start_container(container)
        return container

    async def run_command(self, container: str, *command: str) -> str:
        """Run a program that must succeed and return its output."""
        result = await self.engine.run_exec(container, ExecSpec(command, user="0:0"), deadline=SECONDS)
        assert result.exit_code == 0, result
        return result.stdout

    async def until(
        self, container: str, is_so: Callable[[ContainerDetails], bool] = lambda it: it.state is ContainerState.EXITED
    ) -> ContainerDetails:
        """Wait until the engine says so (by default: PID 1 has ended)."""
        async with asyncio.timeout(SECONDS.total_seconds()):
            while not is_so(details := await self.engine.get_container(container)):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        return details

    async def exit_code(self, exec_id: str) -> int | None:
        """Wait until an exec has ended and return its status."""
        async with asyncio.timeout(SECONDS.total_seconds()):
            while (state := await self.engine.get_exec(exec_id)).is_running:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        return state.exit_code


def started_engine(name: str) -> DevEngine:
    """Start a real engine; without one the test is skipped, or fails where everything must be there."""
    try:
        return DevEngine(name, registry=True).start()
    except EngineUnavailableError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no container engine: {error}")


async def two_outputs(process: FakeProcess) -> int:
    """What the script TWO_OUTPUTS does."""
    await process.write("out\n")
    await process.write_error("err\n")
    return 3


def fake_bench(workspace: Path) -> Bench:
    """Return the engine in memory with the same image."""
    steps = Steps()
    engine = FakeEngine(checkpoint=steps)
    engine.programs[TWO_OUTPUTS] = two_outputs
    tree = FileTree({"/etc/passwd": b"root:x:0:0::/root:/bin/sh\n", "/bin/sh": b"\x7fELF", "/tmp": None})
    engine.add_image(IMAGE, tree=tree)
    engine.publish(PUBLISHED, tree=tree)
    return Bench(engine, workspace, "registry.example:5000", steps)


@asynccontextmanager
async def real_bench(dev_engine: DevEngine, workspace: Path) -> AsyncIterator[Bench]:
    """Return the real engine; what the test made is removed at the end."""
    steps = Steps()
    engine = DockerEngine(dev_engine.docker_host, checkpoint=steps)
    try:
        yield Bench(engine, workspace, dev_engine.registry or "", steps)
    finally:
        cleaner = DockerEngine(dev_engine.docker_host, checkpoint=Steps())
        for row in await cleaner.list_containers():
            if LABEL in row.labels:
                await cleaner.remove_container(row.id, force=True)
        await engine.close()


async def exchange(stream: RawStream, data: bytes, *, until: bytes) -> bytes:
    """Send bytes on a raw stream and return what came, up to and with `until`."""
    received = stream.initial
    loop = asyncio.get_running_loop()
    with socket.socket(fileno=stream.detach_fd()) as raw:
        raw.setblocking(False)
        await loop.sock_sendall(raw, data)
        async with asyncio.timeout(SECONDS.total_seconds()):
            while until not in received:
                piece = await loop.sock_recv(raw, 65536)
                assert piece, f"the stream ended after {received!r}"
                received += piece
    return received


async def exchange_to_end(stream: RawStream, data: bytes) -> bytes:
    """Send bytes, close that direction, and return everything that comes until the other side closes."""
    received = stream.initial
    loop = asyncio.get_running_loop()
    with socket.socket(fileno=stream.detach_fd()) as raw:
        raw.setblocking(False)
        await loop.sock_sendall(raw, data)
        raw.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(SECONDS.total_seconds()):
            while piece := await loop.sock_recv(raw, 65536):
                received += piece
    return received


class EventLog:
    """Reads events beside the test."""

    def __init__(self) -> None:
        self.seen: list[EngineEvent] = []

    async def follow(self, events: AsyncIterator[EngineEvent]) -> None:
        async for event in events:
            self.seen.append(event)

    async def until(self, action: str, actor_id: str) -> EngineEvent:
        """Return the first event of an object with this action."""
        async with asyncio.timeout(SECONDS.total_seconds()):
            while True:
                for event in self.seen:
                    if (event.action, event.actor_id) == (action, actor_id):
                        return event
                await asyncio.sleep(0.01)
