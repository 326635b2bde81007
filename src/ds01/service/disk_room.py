"""How much the engine's disk can still take."""

import logging
from collections.abc import Callable

from ds01.domain.engine import EngineInfo
from ds01.errors import BackendError, ConflictError
from ds01.service.ports import Engine
from ds01.units import format_size

log = logging.getLogger(__name__)
COPIES = 2
"""The engine keeps an image that it loads twice for a moment: as it came, and as layers."""

ReadFreeBytes = Callable[[str], int | None]
"""Returns the bytes that are free where a folder is; None where this machine has no such folder."""


class DiskRoom:
    """The disk that the engine keeps its images on."""

    def __init__(self, engine: Engine, read_free_bytes: ReadFreeBytes) -> None:
        self._engine = engine
        self._read_free_bytes = read_free_bytes

    async def free_bytes(self) -> int | None:
        """Return what is free; None: unknown.

        Raises:
            BackendError: The engine does not answer.
        """
        return self.free_in(await self._engine.get_info())

    def free_in(self, info: EngineInfo) -> int | None:
        """Return what is free; None: the engine does not say where, it is on another machine, or the kernel fails."""
        try:
            return self._read_free_bytes(info.data_root) if info.data_root else None
        except BackendError as failure:
            log.warning("the room on the engine's disk is unknown: %s", failure)
            return None


def require_room(size_bytes: int, free_bytes: int | None) -> None:
    """Raise if an image of this size cannot be loaded. Unknown room is no reason to refuse: the engine says it then.

    Raises:
        ConflictError: There is not enough room.
    """
    needed = size_bytes * COPIES
    if free_bytes is not None and needed > free_bytes:
        raise ConflictError(
            f"An import of {format_size(size_bytes)} needs {format_size(needed)} on the engine's disk for a moment, "
            f"and {format_size(free_bytes)} is free there.",
            hint="Free some: `ds01 container cleanup`, or ask your administrator.",
        )
