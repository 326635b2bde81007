"""Programs in running containers: shells, commands, logs, processes. The bytes themselves are not the service's."""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field

from ds01.domain import label
from ds01.domain.containers.container import ContainerDetails, ContainerState
from ds01.domain.containers.display import require_display_allowed
from ds01.domain.rules.access import Caller
from ds01.errors import ConflictError, ForbiddenError, InvalidRequestError, NotFoundError
from ds01.service.containers import ContainerService
from ds01.service.foreign import read_inner_user
from ds01.service.last_exit import LastExit
from ds01.service.limits import LimitService
from ds01.service.order import require_valid_environment
from ds01.service.ports import Accounts, Engine, ExecSpec, ExecState, RawStream

MAX_SESSIONS = 1024
"""Programs of one user whose sessions are known; of more, the oldest are forgotten: nobody crowds out another."""
MAX_ARGUMENTS = 4096
MAX_SIDE = 10_000


@dataclass(frozen=True, slots=True)
class SessionOrder:
    """A program that its user wants to run.

    Attributes:
        command: Program and arguments; empty: the login shell of the account inside.
        as_root: Run it as root inside.
        environment: Further variables.
        working_dir: Directory; empty: the container's own.
        has_terminal: It gets a terminal.
        has_stdin: Its stdin is open.
        shares_display: It gets its user's display.
    """

    command: tuple[str, ...] = ()
    as_root: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = ""
    has_terminal: bool = False
    has_stdin: bool = False
    shares_display: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A prepared program.

    Attributes:
        exec_id: The engine's id.
        uid: Who prepared it: nobody else may start it, since it may have more rights than the container's owner.
        container: The container's name.
        command: What runs.
        has_terminal: It has a terminal.
    """

    exec_id: str
    uid: int
    container: str
    command: tuple[str, ...]
    has_terminal: bool


class SessionService:
    """Prepares and starts programs; knows which session is whose."""

    def __init__(
        self,
        engine: Engine,
        containers: ContainerService,
        limits: LimitService,
        accounts: Accounts,
        last_exit: LastExit,
    ) -> None:
        self._engine = engine
        self._containers = containers
        self._limits = limits
        self._accounts = accounts
        self._last_exit = last_exit
        self._sessions: dict[int, OrderedDict[str, Session]] = {}

    async def prepare(self, caller: Caller, uid: int, name: str, order: SessionOrder) -> Session:
        """Prepare a program in a running container.

        Args:
            caller: Who asks.
            uid: Owner of the container.
            name: Its name.
            order: The program.

        Raises:
            ConflictError: The container does not run.
            NotFoundError: The owner has no such container.
            ForbiddenError: Root is asked for, and the policy gives the owner none inside.
            InvalidRequestError: The program or its environment cannot be.
        """
        _require_valid(order)
        details = await self._containers.get_details(uid, name)
        while await self._last_exit.wait_for_stop(details.id):
            details = await self._containers.get_details(uid, name)
        with self._last_exit.opening(details.id):
            session = await self._prepare_in(details, caller, uid, name, order)
            is_interactive = order.has_terminal and order.has_stdin
            self._last_exit.prepared(details.id, session.exec_id, is_interactive=is_interactive)
        return session

    async def _prepare_in(
        self, details: ContainerDetails, caller: Caller, uid: int, name: str, order: SessionOrder
    ) -> Session:
        if order.as_root:
            await self._require_root_allowed(caller, uid)
        if order.shares_display:
            require_display_allowed(await self._limits.owner_limits(uid))
        require_running(details, name)
        user, shell, environment = "0:0", details.environment.get("SHELL") or "sh", dict(order.environment)
        if label.is_ours(details.labels):
            user = user if order.as_root else f"{uid}:{_gid_of(details, uid)}"
        else:
            inside = await read_inner_user(self._engine, self._accounts, details, 0 if order.as_root else uid)
            user = user if order.as_root else f"{uid}:{inside.gid}"
            shell, environment = inside.shell, {**inside.environment, **environment}
        command = order.command or (shell,)
        spec = ExecSpec(
            command=command,
            user=user,
            environment=environment,
            working_dir=order.working_dir,
            has_terminal=order.has_terminal,
            has_stdin=order.has_stdin,
        )
        exec_id = await self._engine.create_exec(details.id, spec)
        session = Session(exec_id, caller.uid, name, command, order.has_terminal)
        self._remember(session)
        return session

    async def _require_root_allowed(self, caller: Caller, uid: int) -> None:
        limits = await self._limits.owner_limits(uid)
        if not limits.values.sudo and not caller.is_admin:
            raise ForbiddenError(
                f"Your group has no root inside containers (sudo, set by {limits.origins.get('sudo', 'built-in')}).",
                hint="Run it as yourself; what needs root belongs into the image.",
            )

    def _remember(self, session: Session) -> None:
        own = self._sessions.setdefault(session.uid, OrderedDict())
        while len(own) >= MAX_SESSIONS:
            own.popitem(last=False)
        own[session.exec_id] = session

    def get_session(self, uid: int, exec_id: str) -> Session:
        """Return a session that this user has prepared.

        Raises:
            NotFoundError: There is none, or it is somebody else's.
        """
        session = self._sessions.get(uid, OrderedDict()).get(exec_id)
        if session is None:
            raise NotFoundError("There is no such session.", hint="Start a new one: `ds01 open NAME`.")
        return session

    async def start(self, session: Session) -> RawStream:
        """Start the program and return its stream."""
        stream = await self._engine.start_exec(session.exec_id, has_terminal=session.has_terminal)
        self._last_exit.started(session.exec_id)
        return stream

    async def resize(self, session: Session, *, rows: int, columns: int) -> None:
        """Set the size of its terminal; a program that has ended is fine."""
        require_possible_size(rows, columns)
        if (await self._engine.get_exec(session.exec_id)).is_running:
            await self._engine.resize_exec(session.exec_id, rows=rows, columns=columns)

    async def get_state(self, session: Session) -> ExecState:
        """Return whether it runs and its exit status."""
        return await self._engine.get_exec(session.exec_id)

    async def logs(
        self, uid: int, name: str, *, follow: bool, tail: int | None, timestamps: bool
    ) -> AsyncGenerator[bytes, None]:
        """Return the output of the container's main process."""
        if tail is not None and tail < 0:
            raise InvalidRequestError(f"{tail} lines cannot be shown.", hint="Use --tail 100.")
        details = await self._containers.get_details(uid, name)
        return self._engine.stream_logs(details.id, follow=follow, tail=tail, timestamps=timestamps)

    async def processes(self, uid: int, name: str) -> list[Mapping[str, str]]:
        """Return the processes of a running container."""
        details = await self._containers.get_details(uid, name)
        require_running(details, name)
        return await self._engine.list_processes(details.id)


def _require_valid(order: SessionOrder) -> None:
    texts = (*order.command, order.working_dir)
    if len(order.command) > MAX_ARGUMENTS or any("\0" in text for text in texts):
        raise InvalidRequestError("The command has too many words, or a text of it holds a NUL.")
    if order.command and not order.command[0]:
        raise InvalidRequestError("The program has no name.", hint="Leave the command out for a login shell.")
    if order.working_dir and not order.working_dir.startswith("/"):
        raise InvalidRequestError(f"{order.working_dir[:80]!r} is not an absolute path.", hint="Use -w /workspace.")
    require_valid_environment(order.environment)


def require_possible_size(rows: int, columns: int) -> None:
    """Raise if no terminal has this size.

    Raises:
        InvalidRequestError: It names the size.
    """
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE):
        raise InvalidRequestError(f"A terminal cannot have {rows} rows and {columns} columns.")


def require_running(details: ContainerDetails, name: str) -> None:
    """Raise if the container cannot run a program now.

    Raises:
        ConflictError: The message says its state and how to start it.
    """
    if details.state is ContainerState.PAUSED:
        raise ConflictError(f"{name} is paused.", hint=f"Go on with it: `ds01 container unpause {name}`.")
    if details.state is not ContainerState.RUNNING:
        raise ConflictError(f"{name} does not run (it is {details.state}).", hint=f"Start it: `ds01 start {name}`.")


def _gid_of(details: ContainerDetails, uid: int) -> str:
    """The group that PID 1 has when it runs as the owner."""
    owner, _, gid = details.user.partition(":")
    return gid if owner == str(uid) and gid else str(uid)
