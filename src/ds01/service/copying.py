"""Files into containers and out of them, as tar archives that pass through."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace

from ds01.domain.containers.container import ContainerDetails
from ds01.domain.rules.access import Caller
from ds01.errors import ForbiddenError, InvalidRequestError, NotFoundError
from ds01.service.containers import ContainerService
from ds01.service.limits import LimitService
from ds01.service.ports import Engine, PathStat
from ds01.service.tar_stream import DIRECTORY, HARD_LINK, REGULAR, SYMLINK, Change, TarEntry, rewrite

ORDINARY_BITS = 0o777
_ORDINARY = frozenset({REGULAR, DIRECTORY, SYMLINK, HARD_LINK})


@dataclass(frozen=True, slots=True)
class FoundPath:
    """A path of a container.

    Attributes:
        path: As it was asked for.
        stat: What is there; None: nothing.
    """

    path: str
    stat: PathStat | None


class CopyService:
    """Copies. The engine unpacks as root, so nothing that a user sends reaches it as it came."""

    def __init__(self, engine: Engine, containers: ContainerService, limits: LimitService) -> None:
        self._engine = engine
        self._containers = containers
        self._limits = limits

    async def find(self, uid: int, name: str, path: str) -> FoundPath:
        """Return what a path of a container is.

        Raises:
            NotFoundError: The user has no such container.
            InvalidRequestError: It is no absolute, plain path.
        """
        details = await self._containers.get_details(uid, name)
        return FoundPath(path, await self._engine.find_path(details.id, path))

    async def read(self, uid: int, name: str, path: str) -> AsyncGenerator[bytes, None]:
        """Return a file or folder as a tar.

        Raises:
            NotFoundError: The user has no such container, or nothing is there.
        """
        details = await self._containers.get_details(uid, name)
        if await self._engine.find_path(details.id, path) is None:
            raise NotFoundError(f"There is nothing at {path} in {name}.", hint=f"Look: `ds01 exec {name} ls -la`.")
        return self._engine.stream_archive(details.id, path)

    async def write(self, caller: Caller, uid: int, name: str, path: str, archive: AsyncIterator[bytes]) -> None:
        """Unpack a tar below a folder of a container. What it holds belongs to the container's owner then.

        Args:
            caller: Who sends it.
            uid: Owner of the container.
            name: Its name.
            path: Folder inside.
            archive: A plain tar.

        Raises:
            ForbiddenError: The owner has no root inside, and the folder is not one that is mounted.
            InvalidRequestError: The archive holds what may not be there; nothing of that entry is written.
            NotFoundError: No such container or folder.
        """
        details = await self._containers.get_details(uid, name)
        await self._require_allowed(caller, uid, details, path)
        gid = self._gid_of(details, uid)
        async with aclosing(rewrite(archive, _as_owner(uid, gid))) as pieces:
            await self._engine.put_archive(details.id, path, pieces)

    async def _require_allowed(self, caller: Caller, uid: int, details: ContainerDetails, path: str) -> None:
        limits = await self._limits.owner_limits(uid)
        writable = [mount.target for mount in details.mounts if not mount.is_read_only]
        is_mounted = any(path == target or path.startswith(f"{target}/") for target in writable)
        if not limits.values.sudo and not caller.is_admin and not is_mounted:
            raise ForbiddenError(
                f"Your group has no root inside containers, and {path} is not one of your mounted folders "
                f"(sudo, set by {limits.origins.get('sudo', 'built-in')}).",
                hint="Copy to /workspace.",
            )

    def _gid_of(self, details: ContainerDetails, uid: int) -> int:
        owner, _, gid = details.user.partition(":")
        return int(gid) if owner == str(uid) and gid.isdigit() else uid


def _as_owner(uid: int, gid: int) -> Change:
    """No device, no set-user-id bit, no capability, nobody else's file."""

    def change(entry: TarEntry) -> TarEntry:
        if entry.kind not in _ORDINARY:
            raise InvalidRequestError(
                f"{entry.name[:200]!r} is a device or a pipe.", hint="Only files, folders and links can be copied."
            )
        if any(part == ".." for part in entry.name.split("/")) or entry.name.startswith("/"):
            raise InvalidRequestError(f"{entry.name[:200]!r} leads out of the folder that it is copied to.")
        return replace(entry, uid=uid, gid=gid, mode=entry.mode & ORDINARY_BITS, records={})

    return change
