"""Containers: list, inspect, create, start, stop, remove, and what they do."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import timedelta

from ds01.adapters.docker.address import container_path
from ds01.adapters.docker.calls import SLOW, EngineCalls
from ds01.adapters.docker.http import UpgradedStream
from ds01.adapters.docker.parse import parse_processes, parse_state, parse_summary
from ds01.adapters.docker.render import NO_DETACH_KEYS, render_container, render_update
from ds01.adapters.docker.session import Call
from ds01.adapters.docker.stats import is_reading, parse_stats
from ds01.domain.containers.container import (
    ContainerDetails,
    ContainerSpec,
    ContainerState,
    ContainerStats,
    ContainerSummary,
    ResourceLimits,
)
from ds01.errors import ConflictError, Ds01Error, NotFoundError

_ENDED = frozenset({ContainerState.EXITED, ContainerState.DEAD, ContainerState.REMOVING})


class ContainerCalls(EngineCalls):
    """The containers of the engine."""

    async def list_containers(self) -> list[ContainerSummary]:
        """Return every container, whoever's and in whatever state."""
        rows = await self.session.read(Call("GET", "/containers/json", {"all": "1"}))
        return [parse_summary(row) for row in rows.entries()]

    async def find_container(self, container: str) -> ContainerDetails | None:
        """Return one container by id or name, or None if there is none."""
        try:
            return await self.get_container(container)
        except NotFoundError:
            return None

    async def create_container(self, spec: ContainerSpec) -> str:
        """Create a container and return its full id."""
        self.checkpoint(f"engine: create container {spec.engine_name}")
        call = Call(
            "POST", "/containers/create", {"name": str(spec.engine_name)}, body=render_container(spec), deadline=SLOW
        )
        return (await self.session.make(call)).text("Id")

    async def start_container(self, container: str) -> None:
        """Start it; one that runs already is fine."""
        path = container_path(container, "start")
        self.checkpoint(f"engine: start container {container}")
        await self.session.change(Call("POST", path, deadline=SLOW))

    async def stop_container(self, container: str, *, grace: timedelta) -> None:
        """Stop it: its stop signal, then after `grace` (whole seconds, rounded up) SIGKILL."""
        path = container_path(container, "stop")
        seconds = max(-(-grace // timedelta(seconds=1)), 0)
        self.checkpoint(f"engine: stop container {container}")
        deadline = SLOW + timedelta(seconds=seconds)
        await self.session.attend(Call("POST", path, {"t": str(seconds)}, deadline=deadline))

    async def kill_container(self, container: str, *, signal: str) -> None:
        """Send a signal to PID 1."""
        path = container_path(container, "kill")
        self.checkpoint(f"engine: kill container {container}")
        await self.session.change(Call("POST", path, {"signal": signal}))

    async def pause_container(self, container: str) -> None:
        """Freeze its programs; one that is paused already is fine. Source: Engine API 1.41, ContainerPause."""
        await self._pause_or_go_on(container, "pause", ContainerState.PAUSED)

    async def unpause_container(self, container: str) -> None:
        """Let its programs go on; one that runs already is fine. Source: Engine API 1.41, ContainerUnpause."""
        await self._pause_or_go_on(container, "unpause", ContainerState.RUNNING)

    async def _pause_or_go_on(self, container: str, verb: str, wanted: ContainerState) -> None:
        path = container_path(container, verb)
        self.checkpoint(f"engine: {verb} container {container}")
        try:
            await self.session.change(Call("POST", path))
        except Ds01Error:
            # the engine answers 500 or 409 where there is nothing to change, depending on its version
            if parse_state((await self.inspect(container)).child("State"), "Status") is not wanted:
                raise

    async def rename_container(self, container: str, name: str) -> None:
        """Give it another name; its own again is fine. Source: Engine API 1.41, ContainerRename."""
        path = container_path(container, "rename")
        self.checkpoint(f"engine: rename container {container} to {name}")
        try:
            await self.session.change(Call("POST", path, {"name": name}))
        except Ds01Error:
            if (await self.get_container(container)).name != name:
                raise

    async def remove_container(self, container: str, *, force: bool = False) -> None:
        """Remove it and its anonymous volumes; one that is gone already is fine."""
        path = container_path(container)
        query = {"v": "1", "force": "1" if force else "0"}
        self.checkpoint(f"engine: remove container {container}")
        try:
            await self.session.change(Call("DELETE", path, query, deadline=SLOW))
        except NotFoundError:
            return

    async def update_container(self, container: str, limits: ResourceLimits) -> None:
        """Change cpus, memory, swap and pids of a container. Source: Engine API 1.41, ContainerUpdate."""
        path = container_path(container, "update")
        self.checkpoint(f"engine: update container {container}")
        await self.session.make(Call("POST", path, body=render_update(limits)))

    async def measure_container(self, container: str) -> int:
        """Return the size of its writable layer. Source: Engine API 1.41, ContainerInspect, `SizeRw`."""
        call = Call("GET", container_path(container, "json"), {"size": "1"}, deadline=SLOW)
        return (await self.session.read(call)).number("SizeRw", default=0)

    async def get_stats(self, container: str) -> ContainerStats:
        """Return one reading with the one before it; takes a second or two, because the engine waits for the second.

        Raises:
            ConflictError: It does not run.
        """
        call = Call("GET", container_path(container, "stats"), {"stream": "0"})
        document = await self.session.read(call)
        if not is_reading(document):
            raise ConflictError(f"The container {container} is not running, so nothing can be measured.")
        return parse_stats(document)

    async def list_processes(self, container: str) -> list[Mapping[str, str]]:
        """Return the processes of a running container: column title (as of `ps -ef`) to text."""
        return parse_processes(await self.session.read(Call("GET", container_path(container, "top"))))

    async def stream_logs(
        self, container: str, *, follow: bool = False, tail: int | None = None, timestamps: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """Yield the output of PID 1 as chunks, stdout and stderr merged."""
        has_terminal = (await self.inspect(container)).child("Config").flag("Tty", default=False)
        query = {
            "stdout": "1",
            "stderr": "1",
            "follow": "1" if follow else "0",
            "timestamps": "1" if timestamps else "0",
            "tail": "all" if tail is None else str(tail),
        }
        call = Call("GET", container_path(container, "logs"), query)
        if has_terminal:
            async with aclosing(self.stream(call)) as chunks:
                async for chunk in chunks:
                    yield chunk
        else:
            async with aclosing(self.stream_output(call)) as pieces:
                async for _, piece in pieces:
                    yield piece

    async def attach_container(self, container: str, *, has_stdin: bool = True) -> UpgradedStream:
        """Return the stream of PID 1: raw where it has a terminal, else in frames. No key leaves it.

        Raises:
            ConflictError: It has ended: the engine would keep the stream open for ever.
        """
        state = parse_state((await self.inspect(container)).child("State"), "Status")
        if state in _ENDED:
            raise ConflictError(f"The container {container} is not running ({state}).")
        stdin = "1" if has_stdin else "0"
        query = {"stream": "1", "stdin": stdin, "stdout": "1", "stderr": "1", "logs": "0", "detachKeys": NO_DETACH_KEYS}
        return await self.session.upgrade(Call("POST", container_path(container, "attach"), query))

    async def resize_container(self, container: str, *, rows: int, columns: int) -> None:
        """Set the size of PID 1's terminal."""
        query = {"h": str(rows), "w": str(columns)}
        await self.session.change(Call("POST", container_path(container, "resize"), query))
