"""Stopping a container on the engine so that every program in it has its grace."""

from datetime import timedelta

from ds01.domain.containers.container import ContainerDetails, ContainerState
from ds01.domain.containers.origin import ignores_term
from ds01.domain.containers.pid1 import is_our_entrypoint, signal_others
from ds01.errors import ConflictError, Ds01Error, NotFoundError
from ds01.service.foreign import end_programs, hang_up
from ds01.service.ports import Clock, Engine, ExecSpec


class Stopper:
    """Ends what runs in a container, whatever its PID 1 is."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def stop(self, details: ContainerDetails, grace: timedelta) -> None:
        """Stop a container that has processes: every one gets SIGTERM, and SIGKILL after the grace."""
        begun = self._clock.now()
        if details.state is ContainerState.RUNNING and grace > timedelta(0):
            has_programs = await self._has_programs(details)
            if ignores_term(details):
                if has_programs:
                    await end_programs(self._engine, details.id, grace=grace)
                await hang_up(self._engine, self._clock, details.id)
            elif has_programs:
                await self._signal_others(details)
        left = max(grace - (self._clock.now() - begun), timedelta(0))
        await self._engine.stop_container(details.id, grace=left)

    async def end_for_removal(self, details: ContainerDetails, grace: timedelta) -> None:
        """Stop a container that is about to be removed by force, unless only our PID 1 runs: it has nothing to save."""
        is_running = details.state is ContainerState.RUNNING
        if is_running and is_our_entrypoint(details.entrypoint) and not await self._has_programs(details):
            return
        await self.stop(details, grace)

    async def _has_programs(self, details: ContainerDetails) -> bool:
        """Something runs beside PID 1."""
        try:
            return len(await self._engine.list_processes(details.id)) > 1
        except (ConflictError, NotFoundError):
            return False  # it has just ended

    async def _signal_others(self, details: ContainerDetails) -> None:
        """PID 1 runs as the user: only root reaches what others run. Without a shell, PID 1 does what it can."""
        owner = details.user.partition(":")[0]
        if not owner.isdigit() or owner == "0":
            return  # PID 1 is root itself
        try:
            script = signal_others(int(owner))
            exec_id = await self._engine.create_exec(details.id, ExecSpec(("sh", "-c", script), user="0:0"))
            stream = await self._engine.start_exec(exec_id, has_terminal=False)
        except Ds01Error:
            return
        stream.close()
