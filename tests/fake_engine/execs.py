"""Programs in containers of the fake engine."""

import asyncio
from datetime import timedelta

from ds01.errors import BackendTimeoutError, InvalidRequestError, NotFoundError
from ds01.service.ports import ExecResult, ExecSpec, ExecState
from tests.fake_engine.parts import EngineParts
from tests.fake_engine.programs import SIGKILL_STATUS, FakeProcess, Output, ProgramStream, frame
from tests.fake_engine.state import FakeContainer, FakeExec


class FakeExecs(EngineParts):
    """Programs in memory, run by the table `programs`."""

    async def create_exec(self, container: str, spec: ExecSpec) -> str:
        async with self.call("create_exec", f"create exec in container {container}"):
            return (await self._prepare(container, spec)).id

    async def start_exec(self, exec_id: str, *, has_terminal: bool) -> ProgramStream:
        async with self.call("start_exec", f"start exec {exec_id}"):
            started = self._exec(exec_id)
            stream = self.open_stream()

            async def output(data: bytes, *, is_error: bool) -> None:
                await stream.send(data.replace(b"\n", b"\r\n") if has_terminal else frame(data, is_error=is_error))

            process = self._process(started, output)
            if started.spec.has_stdin:
                self.spawn(stream.feed(process.stdin))

            async def run() -> None:
                await self._run(started, process)
                stream.end()

            self.spawn(run())
            return stream

    async def resize_exec(self, exec_id: str, *, rows: int, columns: int) -> None:
        async with self.call("resize_exec"):
            self._exec(exec_id).size = (rows, columns)

    async def get_exec(self, exec_id: str) -> ExecState:
        async with self.call("get_exec"):
            found = self._exec(exec_id)
            is_running = found.has_started and found.exit_code is None
            return ExecState(found.id, found.container_id, is_running, found.exit_code, pid=20_000 if is_running else 0)

    async def run_exec(self, container: str, spec: ExecSpec, *, deadline: timedelta) -> ExecResult:
        async with self.call("run_exec", f"run {spec.command[0]} in container {container}"):
            if spec.has_stdin or spec.has_terminal:
                raise InvalidRequestError("A program that is run to its end has no stdin and no terminal.")
            outputs = {False: bytearray(), True: bytearray()}

            async def output(data: bytes, *, is_error: bool) -> None:
                outputs[is_error] += data

            prepared = await self._prepare(container, spec)
            try:
                async with asyncio.timeout(deadline.total_seconds()):
                    exit_code = await self._run(prepared, self._process(prepared, output))
            except TimeoutError as error:
                raise BackendTimeoutError(f"The program {spec.command[0]!r} did not end in time.") from error
            return ExecResult(exit_code, outputs[False].decode(), outputs[True].decode())

    async def end_execs(self, container: FakeContainer) -> None:
        for found in self.execs.values():
            if found.container_id == container.details.id and found.has_started and found.exit_code is None:
                found.exit_code = SIGKILL_STATUS
                if found.process is not None:
                    found.process.signals.put_nowait("KILL")
                    found.process.stdin.put_nowait(b"")

    async def _prepare(self, container: str, spec: ExecSpec) -> FakeExec:
        owner = self.running(container)
        prepared = FakeExec(f"{next(self.numbers) + 2**200:064x}", owner.details.id, spec)
        self.execs[prepared.id] = prepared
        await self.emit(owner, f"exec_create: {' '.join(spec.command)}", execID=prepared.id)
        return prepared

    def _exec(self, exec_id: str) -> FakeExec:
        if exec_id not in self.execs:
            raise NotFoundError(f"The fake engine answered: No such exec instance: {exec_id}")
        return self.execs[exec_id]

    def _process(self, prepared: FakeExec, output: Output) -> FakeProcess:
        owner = self.running(prepared.container_id)
        environment = {**owner.details.environment, **prepared.spec.environment}
        user = prepared.spec.user or owner.details.user
        prepared.process = FakeProcess(prepared.spec.command, owner.tree, output, environment, user)
        return prepared.process

    async def _run(self, prepared: FakeExec, process: FakeProcess) -> int:
        owner = self.look_up(prepared.container_id)
        prepared.has_started = True
        await self.emit(owner, f"exec_start: {' '.join(prepared.spec.command)}", execID=prepared.id)
        exit_code = await self.run_program(process)
        if prepared.exit_code is None:
            prepared.exit_code = exit_code
        await self.emit(owner, "exec_die", execID=prepared.id, exitCode=str(prepared.exit_code))
        return prepared.exit_code
