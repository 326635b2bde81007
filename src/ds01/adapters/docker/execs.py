"""Programs in running containers."""

import asyncio
from contextlib import aclosing
from datetime import timedelta

from ds01.adapters.docker.address import container_path, exec_path
from ds01.adapters.docker.calls import EngineCalls
from ds01.adapters.docker.framing import OutputKind
from ds01.adapters.docker.http import UpgradedStream
from ds01.adapters.docker.parse import parse_exec
from ds01.adapters.docker.render import render_exec, render_exec_start
from ds01.adapters.docker.session import Call
from ds01.adapters.docker.unix_socket import within
from ds01.errors import BackendError, InvalidRequestError
from ds01.service.ports import ExecResult, ExecSpec, ExecState
from ds01.units import format_size

_POLL_S = 0.02
_MAX_OUTPUT_BYTES = 16 * 1024**2


class ExecCalls(EngineCalls):
    """The programs that are started in containers."""

    async def create_exec(self, container: str, spec: ExecSpec) -> str:
        """Prepare a program in a running container and return the exec's id."""
        path = container_path(container, "exec")
        self.checkpoint(f"engine: create exec in container {container}")
        return (await self.session.make(Call("POST", path, body=render_exec(spec)))).text("Id")

    async def start_exec(self, exec_id: str, *, has_terminal: bool) -> UpgradedStream:
        """Start it and return its stream, after the engine's 101."""
        path = exec_path(exec_id, "start")
        self.checkpoint(f"engine: start exec {exec_id}")
        return await self.session.upgrade(Call("POST", path, body=render_exec_start(has_terminal=has_terminal)))

    async def resize_exec(self, exec_id: str, *, rows: int, columns: int) -> None:
        """Set the size of its terminal."""
        query = {"h": str(rows), "w": str(columns)}
        await self.session.change(Call("POST", exec_path(exec_id, "resize"), query))

    async def get_exec(self, exec_id: str) -> ExecState:
        """Return its state."""
        return parse_exec(await self.session.read(Call("GET", exec_path(exec_id, "json"))))

    async def run_exec(self, container: str, spec: ExecSpec, *, deadline: timedelta) -> ExecResult:
        """Run a program to its end without stdin or terminal.

        Raises:
            BackendTimeoutError: It did not end in time. The engine cannot end it: it may run on.
            BackendError: It printed more than 16M.
            InvalidRequestError: The spec asks for stdin or a terminal.
        """
        if spec.has_stdin or spec.has_terminal:
            raise InvalidRequestError("A program that is run to its end has no stdin and no terminal.")
        async with within(deadline, f"The program {spec.command[0]!r} in container {container} did not end"):
            exec_id = await self.create_exec(container, spec)
            outputs = await self._output(exec_id)
            exit_code = await self._exit_code(exec_id)
        return ExecResult(exit_code, _text(outputs, OutputKind.STDOUT), _text(outputs, OutputKind.STDERR))

    async def _exit_code(self, exec_id: str) -> int:
        """The output ends a moment before the engine knows the status, or much earlier if the program closed it."""
        while (state := await self.get_exec(exec_id)).exit_code is None:  # noqa: ASYNC110 - the engine tells nobody
            await asyncio.sleep(_POLL_S)
        return state.exit_code

    async def _output(self, exec_id: str) -> dict[OutputKind, bytearray]:
        self.checkpoint(f"engine: start exec {exec_id}")
        call = Call("POST", exec_path(exec_id, "start"), body=render_exec_start(has_terminal=False))
        outputs: dict[OutputKind, bytearray] = {}
        size = 0
        async with aclosing(self.stream_output(call)) as pieces:
            async for kind, piece in pieces:
                size += len(piece)
                if size > _MAX_OUTPUT_BYTES:
                    raise BackendError(f"The program printed more than {format_size(_MAX_OUTPUT_BYTES)}.")
                outputs.setdefault(kind, bytearray()).extend(piece)
        return outputs


def _text(outputs: dict[OutputKind, bytearray], kind: OutputKind) -> str:
    return outputs.get(kind, bytearray()).decode("utf-8", "replace")
