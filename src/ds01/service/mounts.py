"""The user's directories in a container: workspace, data, models."""

from dataclasses import dataclass

from ds01.domain.container import Mount
from ds01.domain.user import User
from ds01.errors import NotFoundError
from ds01.service.completion import complete
from ds01.service.order import CreateOrder
from ds01.service.ports import Directories, ResolvedDirectory
from ds01.service.undo import Undo

WORKSPACE_TARGET = "/workspace"
DATA_TARGET = "/data"
MODELS_TARGET = "/models"


@dataclass(frozen=True, slots=True)
class OpenedMounts:
    """Directories after they were resolved as the user.

    Attributes:
        mounts: All of them.
        workspace: Host directory at /workspace.
        data: Host directory at /data, or None.
        models: Host directory at /models, or None.
        is_workspace_writable: The user can write to it.
    """

    mounts: tuple[Mount, ...]
    workspace: str
    data: str | None
    models: str | None
    is_workspace_writable: bool = True


class MountService:
    """Resolves and makes directories, always as the user."""

    def __init__(self, directories: Directories) -> None:
        self._directories = directories

    async def open(self, user: User, order: CreateOrder, undo: Undo) -> OpenedMounts:
        """Return the directories of an order; a missing workspace is made, and unmade if the creation fails."""
        wanted = order.workspace or default_workspace(user, order.name)
        workspace = await complete(self._open_workspace(user, wanted, undo))
        return await self._with_folders(user, order, workspace)

    async def look(self, user: User, order: CreateOrder) -> OpenedMounts:
        """Return the directories as they are and change nothing; a workspace that would be made is as it was typed.

        Raises:
            Ds01Error: As `open`, but for a workspace that is missing: only the attempt tells whether it may be made.
        """
        wanted = order.workspace or default_workspace(user, order.name)
        try:
            workspace = await self._directories.resolve(user, wanted, create=False)
        except NotFoundError:
            workspace = ResolvedDirectory(wanted, was_created=False, is_writable=True)
        return await self._with_folders(user, order, workspace)

    async def _with_folders(self, user: User, order: CreateOrder, workspace: ResolvedDirectory) -> OpenedMounts:
        # root inside the container would write where its owner may not write outside
        mounts = [Mount(workspace.path, WORKSPACE_TARGET, is_read_only=not workspace.is_writable)]
        found: dict[str, str | None] = {DATA_TARGET: None, MODELS_TARGET: None}
        for target, path in ((DATA_TARGET, order.data), (MODELS_TARGET, order.models)):
            if path is not None:
                resolved = await self._directories.resolve(user, path, create=False)
                found[target] = resolved.path
                mounts.append(Mount(resolved.path, target, is_read_only=not resolved.is_writable))
        return OpenedMounts(
            tuple(mounts), workspace.path, found[DATA_TARGET], found[MODELS_TARGET], workspace.is_writable
        )

    async def _open_workspace(self, user: User, wanted: str, undo: Undo) -> ResolvedDirectory:
        workspace = await self._directories.resolve(user, wanted, create=True)
        if workspace.was_created:
            undo.add("remove the new workspace", lambda: self._directories.discard(user, workspace.path))
        return workspace


def default_workspace(user: User, name: str) -> str:
    """Return `~/workspace/<name>`."""
    return f"{user.home.rstrip('/')}/workspace/{name}"
