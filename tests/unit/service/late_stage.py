"""A stage whose site binds GPUs late, on an engine with CDI."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from ds01.domain.containers.container import ContainerDetails
from ds01.domain.devices.cdi import CdiSpec
from ds01.domain.rules.policy import Policy
from ds01.domain.rules.site import LateBinding
from tests.fake_cdi import OWN_FOLDER, SITE_FOLDER, FakeCdi, nvidia_spec
from tests.fake_devices import whole_gpu
from tests.fakes import DEFAULT_LIMITS
from tests.unit.service.stage import Stage, Trap

NO_HOLD = replace(DEFAULT_LIMITS, gpu_hold_after_stop=timedelta(0))
FOLDERS = (SITE_FOLDER, OWN_FOLDER)


class TrappedCdi(FakeCdi):
    """Every change is a step before and a step after."""

    def __init__(self, trap: Trap, specs: Sequence[CdiSpec]) -> None:
        super().__init__(specs)
        self._trap = trap

    async def write_own(self, folder: str, device_id: str, document: Mapping[str, object], *, mode: int) -> None:
        self._trap.pass_("cdi write")
        await super().write_own(folder, device_id, document, mode=mode)
        self._trap.pass_("cdi write done")

    async def remove_own(self, folder: str, device_id: str) -> None:
        self._trap.pass_("cdi remove")
        await super().remove_own(folder, device_id)
        self._trap.pass_("cdi remove done")


class LateStage(Stage):
    """The host's CDI is `files`; `switch` turns late binding on and off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.files = TrappedCdi(self.trap, [nvidia_spec(self.devices.inventory)])
        self.files.serve(self.engine)
        self.cdi = self.files
        self.engine.info = replace(self.engine.info, cdi_folders=FOLDERS)
        self.switch(is_on=True)
        self.boot()
        self.add_image()

    def switch(self, *, is_on: bool) -> None:
        site = replace(self.policy.site, late_binding=LateBinding(enabled=is_on))
        self.policy: Policy = replace(self.policy, site=site)

    def details(self, container: str) -> ContainerDetails:
        return self.engine.containers[container].details

    def device_of(self, container: str) -> str:
        """Return the device id that a container is made with."""
        name = self.details(container).attachment.managed_device
        assert name is not None
        return name.partition("=")[2]

    def inside(self, container: str) -> list[str]:
        """Return the GPUs that a running container was started with."""
        return self.files.variables[self.details(container).pid]["DS01_BOUND_GPUS"].split(";")

    async def require_files_as_granted(self) -> None:
        """There is a file for each holding grant of a container that is bound late, with its GPUs, and no other."""
        rows, grants = await self.store.read(
            lambda transaction: (transaction.list_containers(), transaction.list_allocations())
        )
        by_id = {grant.id: grant for grant in grants}
        wanted = {
            self.device_of(row.engine_id): list(by_id[row.allocation_id].gpu_uuids)
            for row in rows
            if row.engine_id is not None and row.allocation_id in by_id
        }
        assert {name: self.files.gpus_of(name) for name in self.files.own} == wanted


def two_cards(stage: LateStage) -> LateStage:
    """Return the stage with two whole cards."""
    stage.devices.inventory = replace(stage.devices.inventory, devices=(whole_gpu(0), whole_gpu(1)))
    stage.files.specs = [nvidia_spec(stage.devices.inventory)]
    return stage
