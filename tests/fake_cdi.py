"""CDI of a host in memory: spec files, and what an engine that reads them gives to processes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ds01.domain.devices.attachment import MANAGED_CDI_KIND
from ds01.domain.devices.cdi import NVIDIA_KIND, CdiSpec
from ds01.domain.devices.gpu import Inventory, all_gpus, find_card
from ds01.errors import BackendError
from ds01.service.ports import HostCdi
from tests.fake_engine import FakeEngine

SITE_FOLDER = "/etc/cdi"
OWN_FOLDER = "/var/run/cdi"


class FakeCdi:
    """Spec files by device id, and the variables of processes.

    Attributes:
        specs: What NVIDIA's toolkit has written.
        write_anew: Returns the specs as they are now, where somebody writes them after every change of the layout.
        problems: What is wrong with other files.
        own: Documents of the daemon's own files by device id.
        variables: Of processes, by pid.
        failure: Raised when a file is written or removed.
        lateness: So many starts the engine still has its old files.
        modes: Of the files that were written.
    """

    def __init__(self, specs: Sequence[CdiSpec] = ()) -> None:
        self.specs = list(specs)
        self.write_anew: Callable[[], list[CdiSpec]] | None = None
        self.problems: list[str] = []
        self.own: dict[str, Mapping[str, object]] = {}
        self.variables: dict[int, dict[str, str]] = {}
        self.failure: BackendError | None = None
        self.lateness = 0
        self.modes: dict[str, int] = {}
        self._seen: dict[str, Mapping[str, object]] = {}

    def serve(self, engine: FakeEngine) -> None:
        """Let an engine read these files at every start of a container."""
        engine.inject_device = self._inject

    def gpus_of(self, device_id: str) -> list[str]:
        """Return the GPUs that an own file gives."""
        return self._environment(self.own[device_id])["DS01_BOUND_GPUS"].split(";")

    def _inject(self, name: str, pid: int) -> None:
        if self.lateness:
            self.lateness -= 1
        else:
            self._seen = dict(self.own)
        document = self._seen.get(name.removeprefix(MANAGED_CDI_KIND))
        if document is None:
            raise BackendError(f"The fake engine answered: unresolvable CDI devices {name}")
        self.variables[pid] = self._environment(document)

    @staticmethod
    def _environment(document: Mapping[str, Any]) -> dict[str, str]:
        return dict(line.split("=", 1) for line in document["devices"][0]["containerEdits"]["env"])

    async def read_specs(self, folders: Sequence[str]) -> tuple[list[CdiSpec], list[str]]:
        assert SITE_FOLDER in folders
        specs = self.write_anew() if self.write_anew is not None else self.specs
        return list(specs), list(self.problems)

    async def list_own(self, folder: str) -> list[str]:
        assert folder == OWN_FOLDER
        return sorted(self.own)

    async def read_own(self, folder: str, device_id: str) -> Mapping[str, object] | None:
        assert folder == OWN_FOLDER
        return self.own.get(device_id)

    async def write_own(self, folder: str, device_id: str, document: Mapping[str, object], *, mode: int) -> None:
        assert folder == OWN_FOLDER
        if self.failure is not None:
            raise self.failure
        self.own[device_id] = document
        self.modes[device_id] = mode

    async def remove_own(self, folder: str, device_id: str) -> None:
        assert folder == OWN_FOLDER
        if self.failure is not None:
            raise self.failure
        self.own.pop(device_id, None)

    async def read_variable(self, pid: int, name: str) -> str | None:
        return self.variables.get(pid, {}).get(name)


def nvidia_spec(inventory: Inventory, *, source: str = "/etc/cdi/nvidia.yaml", rank: int = 0) -> CdiSpec:
    """Return what NVIDIA's toolkit would write for these devices, by UUID."""
    devices = {}
    for gpu in all_gpus(inventory):
        card = find_card(inventory, gpu.uuid)
        assert card is not None
        nodes = [{"path": f"/dev/nvidia{card.minor}"}]
        if gpu.uuid != card.uuid:
            nodes.append({"path": f"/dev/nvidia-caps/nvidia-cap-{gpu.uuid}"})
        devices[gpu.uuid] = {"deviceNodes": nodes}
    common = {"env": ["NVIDIA_VISIBLE_DEVICES=void"], "deviceNodes": [{"path": "/dev/nvidiactl"}]}
    return CdiSpec(source, "0.5.0", NVIDIA_KIND, devices, common, rank)


def as_port(cdi: FakeCdi) -> HostCdi:
    """Return the fake as the services know it; the type checker proves that it has all that the port asks for."""
    return cdi
