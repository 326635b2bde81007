"""State of the fake engine: containers, images, the journal of events, and the failures that a test has ordered."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ds01.domain.containers.container import ContainerDetails, ContainerSpec, ContainerState, FixedSettings
from ds01.domain.devices.attachment import AttachmentFacts, DeviceRequest
from ds01.errors import BackendError, Ds01Error
from ds01.service.ports import Checkpoint, EngineEvent, ExecSpec, ImageDetails
from tests.fake_engine.programs import FakeProcess, FileTree, ProgramStream

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DEFAULT_SHM_BYTES = 64 * 1024**2


@dataclass
class FakeImage:
    """An image with its files, and its layers by their diff ids."""

    details: ImageDetails
    tree: FileTree = field(default_factory=FileTree)
    blobs: dict[str, bytes] = field(default_factory=dict)


@dataclass
class FakeExec:
    """A program that was prepared in a container."""

    id: str
    container_id: str
    spec: ExecSpec
    has_started: bool = False
    exit_code: int | None = None
    size: tuple[int, int] | None = None
    process: FakeProcess | None = None


@dataclass
class FakeContainer:
    """A container: what the engine says of it, and what is inside.

    Attributes:
        details: What `get_container` answers; a test may replace it to play an engine that ignores a request.
        command: Arguments of PID 1.
        has_terminal: PID 1 has a terminal.
        tree: Its files.
        logs: What PID 1 has printed.
        pid1: PID 1 while it runs.
        attached: Streams that see PID 1.
        size: Rows and columns of its terminal.
    """

    details: ContainerDetails
    command: tuple[str, ...] = ()
    has_terminal: bool = True
    tree: FileTree = field(default_factory=FileTree)
    logs: bytearray = field(default_factory=bytearray)
    pid1: FakeProcess | None = None
    attached: list[ProgramStream] = field(default_factory=list)
    size: tuple[int, int] | None = None

    def change(self, **changes: object) -> None:
        """Replace some of the details."""
        self.details = replace(self.details, **changes)  # type: ignore[arg-type]  # fields are checked at run time


def details_of(spec: ContainerSpec, *, container_id: str, image: ImageDetails, now: datetime) -> ContainerDetails:
    """Return what an engine says of a container right after its creation."""
    environment = {**image.environment, **spec.environment}
    shm_bytes = spec.limits.shm_size_bytes or DEFAULT_SHM_BYTES
    requests = (DeviceRequest("", 0, spec.gpu_uuids, ("gpu",)),) if spec.gpu_uuids else ()
    if spec.cdi_device:
        requests = (DeviceRequest("cdi", 0, (spec.cdi_device,)),)
    return ContainerDetails(
        id=container_id,
        name=str(spec.engine_name),
        image_id=image.id,
        image=spec.image,
        state=ContainerState.CREATED,
        exit_code=None,
        error="",
        is_oom_killed=False,
        pid=0,
        created_at=now,
        started_at=None,
        finished_at=None,
        labels={**image.labels, **spec.labels},
        environment=environment,
        user=f"{spec.uid}:{spec.gid}",
        entrypoint=spec.entrypoint or image.entrypoint,
        mounts=spec.mounts,
        limits=replace(spec.limits, shm_size_bytes=shm_bytes),
        attachment=AttachmentFacts(
            requests=requests, runtime="runc", visible_devices=environment.get("NVIDIA_VISIBLE_DEVICES")
        ),
        ip_address="",
        raw={"Id": container_id, "Name": f"/{spec.engine_name}"},
        command=spec.command if spec.entrypoint else (spec.command or image.command),
        fixed=FixedSettings(
            hostname=spec.hostname,
            supplementary_gids=spec.supplementary_gids,
            network=spec.network,
            ports=spec.ports,
            has_terminal=spec.has_terminal,
            uses_init=spec.uses_init,
            working_dir=spec.working_dir,
            stop_signal=spec.stop_signal or image.stop_signal,
        ),
    )


class Ticker:
    """Times that never repeat, as the engine's nanoseconds: the clock's, or a little after the last one."""

    def __init__(self, now: Callable[[], datetime] | None) -> None:
        self._now = now
        self._last_ns = 0

    def nanoseconds(self) -> int:
        present = START if self._now is None else self._now()
        step_ns = 1_000_000 if self._now is None else 1
        self._last_ns = max(self._last_ns + step_ns, (present - _EPOCH) // timedelta(microseconds=1) * 1000)
        return self._last_ns

    def moment(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.nanoseconds() // 1000)


class Journal:
    """The engine's events. Broken connections end their watchers with an error, as the real one does."""

    def __init__(self, ticker: Ticker) -> None:
        self.events: list[EngineEvent] = []
        self._ticker = ticker
        self._news = asyncio.Condition()
        self._breaks = 0

    async def append(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        nanoseconds = self._ticker.nanoseconds()
        seconds, rest = divmod(nanoseconds, 10**9)
        event = EngineEvent(
            kind=kind,
            action=action,
            actor_id=actor_id,
            attributes=dict(attributes),
            at=_EPOCH + timedelta(microseconds=nanoseconds // 1000),
            cursor=f"{seconds}.{rest:09d}",
        )
        async with self._news:
            self.events.append(event)
            self._news.notify_all()

    async def break_watchers(self) -> None:
        """End every watcher, as a restart of the engine does."""
        async with self._news:
            self._breaks += 1
            self._news.notify_all()

    def position(self, since: str | None) -> int:
        """Return which event is the first that a watcher from this cursor on sees; without one: the next."""
        if since is None:
            return len(self.events)
        return sum(_order(event.cursor) < _order(since) for event in self.events)

    async def watch(self, position: int) -> AsyncGenerator[EngineEvent, None]:
        """Yield events from a position on."""
        breaks = self._breaks
        while True:
            async with self._news:
                while position >= len(self.events) and self._breaks == breaks:
                    await self._news.wait()
                if position >= len(self.events):
                    raise BackendError("The fake engine closed the connection in the middle of its answer.")
                event = self.events[position]
            position += 1
            yield event


def _order(cursor: str) -> tuple[int, int]:
    seconds, _, nanoseconds = cursor.partition(".")
    return int(seconds), int(nanoseconds or "0")


class CallControl:
    """Counts calls, passes the checkpoint, and fails or holds those that a test has chosen."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.calls: Counter[str] = Counter()
        self.unreachable: Ds01Error | None = None
        self._checkpoint = checkpoint
        self._before: dict[str, list[Ds01Error]] = {}
        self._after: dict[str, list[Ds01Error]] = {}
        self._always: dict[str, Ds01Error] = {}
        self._held: dict[str, asyncio.Event] = {}

    def fail_next(self, method: str, error: Ds01Error, *, is_done: bool = False) -> None:
        """Fail the next call of a method.

        Args:
            method: Its name.
            error: What it raises.
            is_done: The engine does it all the same, and only its answer is lost.
        """
        (self._after if is_done else self._before).setdefault(method, []).append(error)

    def fail_always(self, method: str, error: Ds01Error | None) -> None:
        """Fail every call of a method from now on, or none any more."""
        if error is None:
            self._always.pop(method, None)
        else:
            self._always[method] = error

    def hold(self, method: str) -> asyncio.Event:
        """Let the calls of a method wait before they do anything, until the returned event is set."""
        return self._held.setdefault(method, asyncio.Event())

    @asynccontextmanager
    async def call(self, method: str, step: str | None = None) -> AsyncIterator[None]:
        """Surround one call; `step` names a change."""
        self.calls[method] += 1
        if step is not None:
            self._checkpoint(f"engine: {step}")
        await asyncio.sleep(0)  # as any real answer, it comes later
        if (gate := self._held.get(method)) is not None:
            await gate.wait()
        if self.unreachable is not None:
            raise self.unreachable
        if (error := self._always.get(method)) is not None:
            raise error
        if failures := self._before.get(method):
            raise failures.pop(0)
        yield
        if failures := self._after.get(method):
            raise failures.pop(0)
