"""The port of CDI on the host. A part of ds01.service.ports, from where everybody imports it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from ds01.domain.devices.cdi import CdiSpec


class HostCdi(Protocol):
    """Spec files: those of the site, which are only read, and this daemon's own, one for each container.

    An own file is named by this daemon and by the device id in it; whatever has another name is never touched.
    """

    async def read_specs(self, folders: Sequence[str]) -> tuple[list[CdiSpec], list[str]]:
        """Return the specs of folders, the later folders ranking higher, and what is wrong with those left out.

        A folder that does not exist has none; this daemon's own files are left out.

        Raises:
            BackendError: A folder cannot be read.
        """
        ...

    async def list_own(self, folder: str) -> list[str]:
        """Return the device ids of the own files in a folder; none where it does not exist.

        Raises:
            BackendError: It cannot be read.
        """
        ...

    async def read_own(self, folder: str, device_id: str) -> Mapping[str, object] | None:
        """Return an own file's document, or None if there is none or it cannot be understood.

        Raises:
            BackendError: It cannot be read.
        """
        ...

    async def write_own(self, folder: str, device_id: str, document: Mapping[str, object], *, mode: int) -> None:
        """Write an own file as a whole: at any moment there is the old one or the new one.

        The folder is made if it is missing.

        Raises:
            BackendError: It cannot be written, or others than root may change the folder; the old file stays.
        """
        ...

    async def remove_own(self, folder: str, device_id: str) -> None:
        """Remove an own file; one that is gone already is fine.

        Raises:
            BackendError: It cannot be removed.
        """
        ...

    async def read_variable(self, pid: int, name: str) -> str | None:
        """Return a variable that a process was started with; None if it had none, or the process is gone.

        Raises:
            BackendError: The daemon may not look.
        """
        ...
