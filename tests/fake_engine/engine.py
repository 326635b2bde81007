"""The fake engine, put together."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from ds01.service.ports import Checkpoint, Clock, Engine, EngineEvent, EngineInfo
from tests.fake_engine.builds import FakeBuilds
from tests.fake_engine.containers import FakeContainers
from tests.fake_engine.execs import FakeExecs
from tests.fake_engine.images import FakeImages
from tests.fake_engine.parts import pass_every_checkpoint

_INFO = EngineInfo(
    id="FAKE",
    name="testhost",
    version="20.10.24",
    api_version=(1, 41),
    cpus=64,
    memory_bytes=512 * 1024**3,
    cgroup_driver="systemd",
    cgroup_version=2,
    storage_driver="overlay2",
    runtimes=("nvidia", "runc"),
)


class FakeEngine(FakeContainers, FakeExecs, FakeImages, FakeBuilds):
    """Containers, images, programs and events in memory.

    engine = FakeEngine(checkpoint=counter, clock=clock)
    engine.add_image("ds01-dev/busybox")
    engine.fail_next("start_container", BackendError("..."))
    engine.programs["id"] = my_program
    assert engine.calls["create_container"] == 1
    """

    def __init__(self, *, checkpoint: Checkpoint = pass_every_checkpoint, clock: Clock | None = None) -> None:
        super().__init__(checkpoint=checkpoint, clock=clock)
        self.info = _INFO

    async def get_info(self) -> EngineInfo:
        async with self.call("get_info"):
            return self.info

    async def watch_events(self, *, since: str | None = None) -> AsyncGenerator[EngineEvent, None]:
        position = self.journal.position(since)
        async with self.call("watch_events"):
            events = self.journal.watch(position)
        async with aclosing(events):
            async for event in events:
                yield event

    async def close(self) -> None:
        await self.journal.break_watchers()
        await self.stop_tasks()


def as_port(engine: FakeEngine) -> Engine:
    """Return the fake as the services know it; the type checker proves that it has all that the port asks for."""
    return engine
