"""The user's directories in a container: workspace, data, models."""

from collections.abc import Mapping
from dataclasses import dataclass

from ds01.domain.containers.container import Mount
from ds01.domain.user import User
from ds01.errors import ForbiddenError, InvalidRequestError, NotFoundError
from ds01.service.completion import complete
from ds01.service.order import CreateOrder
from ds01.service.ports import Directories, ResolvedDirectory
from ds01.service.undo import Undo

WORKSPACE_TARGET = "/workspace"
DATA_TARGET = "/data"
MODELS_TARGET = "/models"
_READ_ONLY = "You cannot write to the workspace directory, so it is mounted read-only."


@dataclass(frozen=True, slots=True)
class OpenedMounts:
    """Directories after they were resolved as the user.

    Attributes:
        mounts: All of them.
        workspace: Host directory at /workspace.
        data: Host directory at /data, or None.
        models: Host directory at /models, or None.
        warnings: What the user should know about them.
    """

    mounts: tuple[Mount, ...]
    workspace: str
    data: str | None
    models: str | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MountOrder:
    """What is to be mounted, and for whom.

    Attributes:
        user: Whose rights count.
        order: What was typed.
        offered: Folders of the site by the policy's name of their place: `data`, `models`.
    """

    user: User
    order: CreateOrder
    offered: Mapping[str, str | None]


class MountService:
    """Resolves and makes directories, always as the user."""

    def __init__(self, directories: Directories) -> None:
        self._directories = directories

    async def open(self, wanted: MountOrder, undo: Undo) -> OpenedMounts:
        """Return the directories of an order; a missing workspace is made, and unmade if the creation fails."""
        return await self._with_folders(wanted, await complete(self._open_workspace(wanted, undo)))

    async def look(self, wanted: MountOrder) -> OpenedMounts:
        """Return the directories as they are and change nothing; a workspace that would be made is as it was typed.

        Raises:
            Ds01Error: As `open`, but for a workspace that is missing: only the attempt tells whether it may be made.
        """
        path = _workspace_of(wanted)
        try:
            workspace = await self._directories.resolve(wanted.user, path, create=False)
        except NotFoundError:
            workspace = ResolvedDirectory(path, was_created=False, is_writable=True)
        return await self._with_folders(wanted, workspace)

    async def _with_folders(self, wanted: MountOrder, workspace: ResolvedDirectory) -> OpenedMounts:
        # root inside the container would write where its owner may not write outside
        mounts = [Mount(workspace.path, WORKSPACE_TARGET, is_read_only=not workspace.is_writable)]
        warnings = [] if workspace.is_writable else [_READ_ONLY]
        found: dict[str, str | None] = {}
        for name, typed in (("data", wanted.order.data), ("models", wanted.order.models)):
            mount: Mount | None = None
            if typed is not None:
                resolved = await self._directories.resolve(wanted.user, typed, create=False)
                mount = Mount(resolved.path, f"/{name}", is_read_only=not resolved.is_writable)
            elif offered := wanted.offered.get(name):
                mount = await self._find_offered(wanted.user, name, offered, warnings)
            found[name] = mount.source if mount is not None else None
            mounts += [mount] if mount is not None else []
        return OpenedMounts(tuple(mounts), workspace.path, found["data"], found["models"], tuple(warnings))

    async def _find_offered(self, user: User, name: str, path: str, warnings: list[str]) -> Mount | None:
        """One that this user cannot have is said: nobody asked for it, so it does not stand in the way."""
        try:
            resolved = await self._directories.resolve(user, path, create=False)
        except (InvalidRequestError, NotFoundError, ForbiddenError) as failure:
            warnings.append(f"The site's /{name} is not mounted: {failure.message}")
            return None
        return Mount(resolved.path, f"/{name}", is_read_only=True)

    async def _open_workspace(self, wanted: MountOrder, undo: Undo) -> ResolvedDirectory:
        workspace = await self._directories.resolve(wanted.user, _workspace_of(wanted), create=True)
        if workspace.was_created:
            undo.add("remove the new workspace", lambda: self._directories.discard(wanted.user, workspace.path))
        return workspace


def _workspace_of(wanted: MountOrder) -> str:
    return wanted.order.workspace or default_workspace(wanted.user, wanted.order.name)


def default_workspace(user: User, name: str) -> str:
    """Return `~/workspace/<name>`."""
    return f"{user.home.rstrip('/')}/workspace/{name}"
