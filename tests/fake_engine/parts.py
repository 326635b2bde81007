"""What the parts of the fake engine share: its contents, its events, and the tasks of its programs."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from contextlib import suppress

from ds01.domain.containers.container import ContainerDetails, ContainerStats
from ds01.errors import BackendError, ConflictError, NotFoundError
from ds01.service.ports import Checkpoint, Clock
from tests.fake_engine.programs import FakeProcess, FileTree, Program, ProgramStream, default_programs
from tests.fake_engine.state import CallControl, FakeContainer, FakeExec, FakeImage, Journal, Ticker

_SHORTEST_ID = 3
_NOT_FOUND_STATUS = 126


def pass_every_checkpoint(step: str) -> None:
    """The checkpoint of tests that do not care."""
    assert step


def refuse_every_device(name: str, pid: int) -> None:
    """An engine without CDI, or without a spec."""
    assert pid
    raise BackendError(f"The fake engine answered: CDI device injection failed: unresolvable CDI devices {name}")


def full_reference(reference: str) -> str:
    """Return a reference with its tag; ids and digests stay."""
    if reference.startswith("sha256:") or "@" in reference or ":" in reference.rpartition("/")[2]:
        return reference
    return f"{reference}:latest"


class EngineParts(CallControl):
    """State of the engine; everything here is for tests to set and to look at, as is what CallControl offers.

    Attributes:
        journal: Events.
        ticker: Times.
        programs: Programs by name, scripts of `sh -c` by their text.
        containers: Containers by id.
        execs: Execs by id.
        images: Images by id.
        registry: What can be pulled, by full reference.
        stats: Readings by container id, where the usual one does not do.
        inject_device: Resolves a CDI device for a process that is about to start; raises BackendError if it cannot.
        alter_created: What an engine makes of a request that it does not follow.
    """

    def __init__(self, *, checkpoint: Checkpoint = pass_every_checkpoint, clock: Clock | None = None) -> None:
        super().__init__(checkpoint)
        self.ticker = Ticker(None if clock is None else clock.now)
        self.journal = Journal(self.ticker)
        self.programs: dict[str, Program] = default_programs()
        self.containers: dict[str, FakeContainer] = {}
        self.execs: dict[str, FakeExec] = {}
        self.images: dict[str, FakeImage] = {}
        self.registry: dict[str, FakeImage] = {}
        self.stats: dict[str, ContainerStats] = {}
        self.alter_created: Callable[[ContainerDetails], ContainerDetails] = lambda details: details
        self.inject_device: Callable[[str, int], None] = refuse_every_device
        self.numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: list[ProgramStream] = []

    def add_container(self, details: ContainerDetails, *, tree: FileTree | None = None) -> FakeContainer:
        """Put a container there that somebody else made, in whatever state."""
        container = FakeContainer(details, tree=tree or FileTree())
        self.containers[details.id] = container
        return container

    def look_up(self, container: str) -> FakeContainer:
        """Return a container by id, by the start of its id, or by name."""
        for found in self.containers.values():
            if container in {found.details.id, found.details.name}:
                return found
        matching = [found for found in self.containers.values() if found.details.id.startswith(container)]
        if len(container) < _SHORTEST_ID or len(matching) != 1:
            raise NotFoundError(f"The fake engine answered: No such container: {container}")
        return matching[0]

    def image_of(self, reference: str) -> FakeImage:
        """Return an image by id, by the start of its id, by tag or by digest."""
        wanted = full_reference(reference)
        for image in self.images.values():
            details = image.details
            names = {details.id, details.id.removeprefix("sha256:"), *details.tags, *details.digests}
            if wanted in names or reference in names:
                return image
            if len(wanted) > len("sha256:") and wanted.startswith("sha256:") and details.id.startswith(wanted):
                return image
        raise NotFoundError(f"The fake engine answered: No such image: {wanted}")

    def running(self, container: str) -> FakeContainer:
        """Return a container that runs."""
        found = self.look_up(container)
        if not found.details.state.has_processes:
            raise ConflictError(f"The fake engine answered: Container {found.details.id} is not running")
        return found

    async def emit(self, container: FakeContainer, action: str, **attributes: str) -> None:
        """Append an event of a container, with its labels as the engine does."""
        details = container.details
        known = {**details.labels, "image": details.image, "name": details.name}
        await self.journal.append("container", action, details.id, {**known, **attributes})

    async def run_program(self, process: FakeProcess) -> int:
        """Run a program of the table; what is not there answers as the engine does."""
        words = process.command
        program = self.programs.get(words[0]) if words else None
        if words[:2] in {("sh", "-c"), ("bash", "-c"), ("/bin/sh", "-c")}:
            program = self.programs.get(words[2], program)
        if program is None:
            await process.write(f'OCI runtime exec failed: exec: "{words[:1]}": executable file not found in $PATH\r\n')
            return _NOT_FOUND_STATUS
        return await program(process)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run something beside the test until the engine is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def open_stream(self) -> ProgramStream:
        """Return a stream that ends with the engine at the latest."""
        stream = ProgramStream()
        self._streams.append(stream)
        return stream

    async def stop_tasks(self) -> None:
        """End what runs beside the test."""
        for task in list(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for stream in self._streams:
            stream.end()

    async def end_execs(self, container: FakeContainer) -> None:
        """End the programs of a container whose PID 1 has ended."""
        raise NotImplementedError
