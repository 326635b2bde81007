"""Containers of the fake engine."""

import asyncio
import posixpath
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from ds01.domain.containers.container import (
    ContainerDetails,
    ContainerSpec,
    ContainerState,
    ContainerStats,
    ContainerSummary,
    ResourceLimits,
)
from ds01.domain.engine import FileChange, FileChangeKind
from ds01.errors import ConflictError, InvalidRequestError, NotFoundError
from ds01.service.ports import FileEntry
from tests.fake_engine.parts import EngineParts
from tests.fake_engine.programs import SIGKILL_STATUS, FakeProcess, Output, ProgramStream, frame
from tests.fake_engine.state import FakeContainer, details_of

_STATS = ContainerStats(
    cpu_total_ns=2_000_000_000,
    system_cpu_ns=200_000_000_000,
    online_cpus=64,
    previous_cpu_total_ns=1_500_000_000,
    previous_system_cpu_ns=100_000_000_000,
    memory_used_bytes=100 * 1024**2,
    memory_limit_bytes=32 * 1024**3,
    network_rx_bytes=1000,
    network_tx_bytes=2000,
    block_read_bytes=4096,
    block_write_bytes=8192,
    pids=1,
)
_SIGNALS = frozenset({"TERM", "KILL", "INT", "HUP", "USR1", "USR2", "QUIT"})
_TURNS_OF_A_PROGRAM = 20
_ENDED = frozenset({ContainerState.EXITED, ContainerState.DEAD, ContainerState.REMOVING})


class FakeContainers(EngineParts):
    """Containers in memory."""

    async def list_containers(self) -> list[ContainerSummary]:
        async with self.call("list_containers"):
            return [_summary(container.details) for container in self.containers.values()]

    async def get_container(self, container: str) -> ContainerDetails:
        async with self.call("get_container"):
            return self.look_up(container).details

    async def find_container(self, container: str) -> ContainerDetails | None:
        async with self.call("find_container"):
            try:
                return self.look_up(container).details
            except NotFoundError:
                return None

    async def create_container(self, spec: ContainerSpec) -> str:
        async with self.call("create_container", f"create container {spec.engine_name}"):
            image = self.image_of(spec.image)
            if any(found.details.name == str(spec.engine_name) for found in self.containers.values()):
                raise ConflictError(f'The fake engine answered: Conflict. The name "/{spec.engine_name}" is in use.')
            container_id = f"{next(self.numbers):064x}"
            details = details_of(spec, container_id=container_id, image=image.details, now=self.ticker.moment())
            self.containers[container_id] = FakeContainer(
                self.alter_created(details),
                command=spec.command if spec.entrypoint else (spec.command or image.details.command),
                has_terminal=spec.has_terminal,
                tree=image.tree.copy(),
            )
            await self.emit(self.containers[container_id], "create")
            return container_id

    async def start_container(self, container: str) -> None:
        async with self.call("start_container", f"start container {container}"):
            found = self.look_up(container)
            if found.details.state.has_processes:
                return
            pid = 10_000 + next(self.numbers)
            for request in found.details.attachment.requests:
                for name in request.device_ids if request.driver == "cdi" else ():
                    self.inject_device(name, pid)
            found.change(
                state=ContainerState.RUNNING,
                started_at=self.ticker.moment(),
                finished_at=None,
                exit_code=None,
                is_oom_killed=False,
                pid=pid,
                ip_address=f"172.17.{pid // 250 % 250}.{pid % 250 + 2}",
            )
            await self.emit(found, "start")
            found.pid1 = FakeProcess(
                (*found.details.entrypoint, *found.command),
                found.tree,
                self._pid1_output(found),
                dict(found.details.environment),
                found.details.user,
            )
            self.spawn(self._run_pid1(found, found.pid1))

    async def stop_container(self, container: str, *, grace: timedelta) -> None:
        async with self.call("stop_container", f"stop container {container}"):
            found = self.look_up(container)
            if not found.details.state.has_processes:
                return
            for signal in ("TERM", "KILL"):  # the grace passes in no time
                if found.details.state.has_processes:
                    await self._signal(found, signal)
            await self.emit(found, "stop")

    async def kill_container(self, container: str, *, signal: str) -> None:
        async with self.call("kill_container", f"kill container {container}"):
            found = self.running(container)
            name = signal.upper().removeprefix("SIG")
            if name not in _SIGNALS:
                raise InvalidRequestError(f"The fake engine answered: Invalid signal: {signal}")
            await self._signal(found, name)

    async def pause_container(self, container: str) -> None:
        async with self.call("pause_container", f"pause container {container}"):
            found = self.running(container)
            if found.details.state is not ContainerState.PAUSED:
                found.change(state=ContainerState.PAUSED)
                await self.emit(found, "pause")

    async def unpause_container(self, container: str) -> None:
        async with self.call("unpause_container", f"unpause container {container}"):
            found = self.running(container)
            if found.details.state is ContainerState.PAUSED:
                found.change(state=ContainerState.RUNNING)
                await self.emit(found, "unpause")

    async def rename_container(self, container: str, name: str) -> None:
        async with self.call("rename_container", f"rename container {container} to {name}"):
            found = self.look_up(container)
            if found.details.name == name:
                return
            if any(other.details.name == name for other in self.containers.values()):
                raise ConflictError(f'The fake engine answered: Conflict. The name "/{name}" is in use.')
            found.change(name=name)
            await self.emit(found, "rename")

    async def remove_container(self, container: str, *, force: bool = False) -> None:
        async with self.call("remove_container", f"remove container {container}"):
            try:
                found = self.look_up(container)
            except NotFoundError:
                return
            if found.details.state.has_processes:
                if not force:
                    raise ConflictError(f"The fake engine answered: You cannot remove a running container {container}.")
                await self._signal(found, "KILL")
            del self.containers[found.details.id]
            await self.emit(found, "destroy")

    async def update_container(self, container: str, limits: ResourceLimits) -> None:
        async with self.call("update_container", f"update container {container}"):
            found = self.look_up(container)
            changes: dict[str, int] = {}
            if limits.nano_cpus:
                changes["nano_cpus"] = limits.nano_cpus
            if limits.memory_bytes:
                changes |= {"memory_bytes": limits.memory_bytes, "memory_swap_bytes": limits.memory_swap_bytes}
            if limits.pids_limit:
                changes["pids_limit"] = limits.pids_limit
            found.change(limits=replace(found.details.limits, **changes))  # type: ignore[arg-type]  # only whole numbers

    async def measure_container(self, container: str) -> int:
        async with self.call("measure_container"):
            return sum(len(content) for content in self.look_up(container).tree.files.values() if content)

    async def list_changes(self, container: str) -> list[FileChange]:
        async with self.call("list_changes"):
            found = self.look_up(container)
            return changes_between(self.image_of(found.details.image_id).tree.files, found.tree.files)

    async def put_files(self, container: str, entries: Sequence[FileEntry]) -> None:
        async with self.call("put_files", f"put files into container {container}"):
            tree = self.look_up(container).tree
            for entry in entries:
                target = tree.resolve(entry.path)
                is_directory = target is not None and (target == "/" or tree.files[target] is None)
                if target is not None and is_directory != (entry.content is None):
                    raise ConflictError(f"The fake engine answered: cannot overwrite directory {entry.path!r}")
                tree.put(target or entry.path, entry.content)

    async def read_file(self, container: str, path: str, *, limit_bytes: int = 4 * 1024**2) -> bytes | None:
        async with self.call("read_file"):
            tree = self.look_up(container).tree
            target = tree.resolve(path)
            content = None if target in {None, "/"} else tree.files[str(target)]
            if content is not None and len(content) > limit_bytes:
                raise ConflictError(f"The file {path} of {container} is too large.")
            return content

    async def path_exists(self, container: str, path: str) -> bool:
        async with self.call("path_exists"):
            return self.look_up(container).tree.resolve(path) is not None

    async def get_stats(self, container: str) -> ContainerStats:
        async with self.call("get_stats"):
            found = self.running(container)
            return self.stats.get(found.details.id, _STATS)

    async def list_processes(self, container: str) -> list[Mapping[str, str]]:
        async with self.call("list_processes"):
            found = self.running(container)
            commands = [(*found.details.entrypoint, *found.command)]
            own = [started for started in self.execs.values() if started.container_id == found.details.id]
            commands += [started.spec.command for started in own if started.has_started and started.exit_code is None]
            titles = {"UID": "1000", "PPID": "1", "C": "0", "STIME": "12:00", "TTY": "?", "TIME": "00:00:00"}
            return [
                {**titles, "PID": str(found.details.pid + index), "CMD": " ".join(command)}
                for index, command in enumerate(commands)
            ]

    async def stream_logs(
        self, container: str, *, follow: bool = False, tail: int | None = None, timestamps: bool = False
    ) -> AsyncGenerator[bytes, None]:
        async with self.call("stream_logs"):
            found = self.look_up(container)
        lines = bytes(found.logs).splitlines(keepends=True)
        for line in lines if tail is None else lines[len(lines) - tail :]:
            yield (b"2026-03-01T12:00:00.000000000Z " if timestamps else b"") + line
        sent = sum(len(line) for line in lines)
        while follow and (found.details.state.has_processes or sent < len(found.logs)):
            await asyncio.sleep(0.001)
            if new := bytes(found.logs[sent:]):
                sent += len(new)
                yield new

    async def attach_container(self, container: str, *, has_stdin: bool = True) -> ProgramStream:
        async with self.call("attach_container"):
            found = self.look_up(container)
            if found.details.state in _ENDED:
                raise ConflictError(f"The container {container} is not running ({found.details.state}).")
            stream = self.open_stream()
            found.attached.append(stream)
            if found.pid1 is not None and has_stdin:
                self.spawn(stream.feed(found.pid1.stdin, passes_end=False))  # the next one may type, too
            return stream

    async def resize_container(self, container: str, *, rows: int, columns: int) -> None:
        async with self.call("resize_container"):
            self.running(container).size = (rows, columns)

    async def end_pid1(self, container: str, *, exit_code: int = 0, is_oom_killed: bool = False) -> None:
        """Let PID 1 end by itself."""
        found = self.look_up(container)
        found.change(is_oom_killed=is_oom_killed)
        await self._die(found, exit_code)

    def _pid1_output(self, container: FakeContainer) -> Output:
        async def output(data: bytes, *, is_error: bool) -> None:
            seen = data.replace(b"\n", b"\r\n") if container.has_terminal else data
            container.logs += seen
            for stream in container.attached:
                await stream.send(seen if container.has_terminal else frame(data, is_error=is_error))

        return output

    async def _run_pid1(self, container: FakeContainer, process: FakeProcess) -> None:
        """PID 1 that ends by itself; one that a signal ends is followed by `_signal`."""
        exit_code = await self.run_program(process)
        if container.pid1 is process:
            await self._die(container, exit_code)

    async def _signal(self, container: FakeContainer, signal: str) -> None:
        number = {"KILL": "9", "TERM": "15"}.get(signal, signal)
        await self.emit(container, "kill", signal=number)
        process = container.pid1
        if process is None:  # somebody else's: nobody knows what it does, but it ends
            await self._die(container, SIGKILL_STATUS)
            return
        process.signals.put_nowait(signal)
        for _ in range(_TURNS_OF_A_PROGRAM):
            await asyncio.sleep(0)
        if signal == "KILL" and container.details.state.has_processes:
            await self._die(container, SIGKILL_STATUS)

    async def _die(self, container: FakeContainer, exit_code: int) -> None:
        container.pid1 = None
        container.change(
            state=ContainerState.EXITED,
            exit_code=exit_code,
            finished_at=self.ticker.moment(),
            pid=0,
            ip_address="",
        )
        for stream in container.attached:
            stream.end()
        container.attached.clear()
        await self.end_execs(container)
        await self.emit(container, "die", exitCode=str(exit_code))


def _summary(details: ContainerDetails) -> ContainerSummary:
    return ContainerSummary(
        id=details.id,
        name=details.name,
        image=details.image,
        state=details.state,
        status=f"{details.state.value.capitalize()}",
        created_at=details.created_at,
        labels=details.labels,
        mounts={mount.target: mount.source for mount in details.mounts},
    )


def changes_between(lower: Mapping[str, bytes | None], upper: Mapping[str, bytes | None]) -> list[FileChange]:
    """Return what an engine says of a tree that began as another: below a folder that is gone, nothing is named."""
    kinds = {path: FileChangeKind.ADDED for path in upper if path not in lower}
    kinds |= {path: FileChangeKind.CHANGED for path in upper if path in lower and upper[path] != lower[path]}
    gone = {path for path in lower if path not in upper}
    kinds |= {path: FileChangeKind.REMOVED for path in gone if posixpath.dirname(path) not in gone}
    for path in list(kinds):
        parent = posixpath.dirname(path)
        while parent != "/":
            kinds.setdefault(parent, FileChangeKind.CHANGED)
            parent = posixpath.dirname(parent)
    return [FileChange(path, kinds[path]) for path in sorted(kinds)]
