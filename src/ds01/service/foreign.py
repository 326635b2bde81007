"""Containers that others made: whose they are, how a program of their owner starts in them, how they stop."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from ds01.domain import label
from ds01.domain.containers.container import ContainerDetails, ContainerSummary
from ds01.domain.containers.origin import Ownership, claimed_logins, ownership_of
from ds01.domain.containers.pid1 import signal_others
from ds01.domain.name import parse_engine_name
from ds01.errors import BackendError, ConflictError, Ds01Error, NotFoundError
from ds01.service.inner import DEFAULT_PATH
from ds01.service.ports import Accounts, Clock, Engine, ExecSpec

log = logging.getLogger(__name__)
SHORTEST_ID = 12
HANG_UP_WAIT = timedelta(seconds=2)
_PAUSE = timedelta(milliseconds=50)
_NOBODY = -1


class Ownerships:
    """Whose the containers are that DS01 did not make."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def of(self, name: str, labels: Mapping[str, str]) -> Ownership:
        """Return whose a container is, by its name and its labels.

        Raises:
            BackendError: The account database failed.
        """
        return ownership_of(name, labels, await self._uids(claimed_logins(labels)))

    async def of_list(self, containers: Iterable[ContainerSummary]) -> dict[str, Ownership]:
        """Return the owners by container id; while the account database fails, names with a uid still say theirs."""
        found = list(containers)
        logins = {login for container in found for login in claimed_logins(container.labels)}
        try:
            uids = await self._uids(logins)
        except BackendError as failure:
            log.warning("whose some containers are is unknown: %s", failure)
            uids = {}
        return {container.id: ownership_of(container.name, container.labels, uids) for container in found}

    async def _uids(self, logins: Iterable[str]) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        for login in logins:
            user = await asyncio.to_thread(self._accounts.find_user_by_name, login)
            found[login] = user.uid if user else None
        return found


async def find_by_bare_name(engine: Engine, name: str) -> ContainerDetails | None:
    """Return the container of this engine name without a uid, or of this id; None if there is none.

    Names with a uid are looked for by their short form only, so that everybody who works on one waits for the others.
    """
    if parse_engine_name(name) is not None:
        return None
    details = await engine.find_container(name)
    if details is None:
        return None
    is_id = len(name) >= SHORTEST_ID and details.id.startswith(name)
    return details if details.name == name or is_id else None


@dataclass(frozen=True, slots=True)
class InnerUser:
    """How a program of the owner runs in a container.

    Attributes:
        gid: Its group.
        environment: HOME, USER and PATH where the container does not set them right by itself.
        shell: Login shell.
    """

    gid: int
    environment: Mapping[str, str]
    shell: str


async def read_inner_user(engine: Engine, accounts: Accounts, details: ContainerDetails, uid: int) -> InnerUser:
    """Return how the owner's programs run in a container that others made: the user may not exist inside.

    Raises:
        BackendError: The engine or the account database failed.
    """
    text = await engine.read_file(details.id, "/etc/passwd")
    lines = text.decode("utf-8", "replace").splitlines() if text else []
    entries = [fields for fields in (line.split(":") for line in lines) if len(fields) == 7]
    inside = next((fields for fields in entries if fields[2] == str(uid)), None)
    owner, _, gid_text = details.user.partition(":")
    gid = int(gid_text) if owner == str(uid) and gid_text.isdigit() else await _gid_of(accounts, uid)
    has_workspace = any(mount.target == "/workspace" for mount in details.mounts)
    home = inside[5] if inside else "/workspace" if has_workspace else "/"
    login = inside[0] if inside else details.labels.get(label.USER) or details.labels.get(label.OWNER) or str(uid)
    path = details.environment.get("PATH") or DEFAULT_PATH
    environment = {"HOME": home, "USER": login, "LOGNAME": login, "PATH": f"{home.rstrip('/')}/.local/bin:{path}"}
    # AIME's tool opens bash, and its prompt is bash's; a shell that is not there would end the session at once
    has_bash = await engine.path_exists(details.id, "/bin/bash")
    return InnerUser(gid, environment, (inside[6] if inside else "") or ("bash" if has_bash else "sh"))


async def _gid_of(accounts: Accounts, uid: int) -> int:
    try:
        return (await asyncio.to_thread(accounts.get_user, uid)).gid
    except NotFoundError:
        return uid


async def end_programs(engine: Engine, container: str, *, grace: timedelta) -> None:
    """Ask every program beside PID 1 to end, and wait for them: such a PID 1 passes no signal on."""
    spec = ExecSpec(("sh", "-c", signal_others(_NOBODY)), user="0:0")
    try:
        await engine.run_exec(container, spec, deadline=grace)
    except Ds01Error as failure:
        log.info("the programs of %s were not asked to end: %s", container, failure)


async def hang_up(engine: Engine, clock: Clock, container: str) -> None:
    """Send SIGHUP to PID 1 and wait a moment for its end; whoever calls stops it in the usual way afterwards."""
    deadline = clock.now() + HANG_UP_WAIT
    try:
        await engine.kill_container(container, signal="SIGHUP")
    except (ConflictError, NotFoundError):
        return  # it has just ended
    while clock.now() < deadline:
        details = await engine.find_container(container)
        if details is None or not details.state.has_processes:
            return
        await clock.sleep(_PAUSE)
