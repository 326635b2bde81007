"""While the driver fails, the devices of a container are unknown, and unknown is never none."""

from pathlib import Path

import pytest

from ds01.domain.containers.container import ContainerState
from ds01.domain.devices.attachment import AttachmentFacts, DeviceRequest
from ds01.errors import BackendError
from tests.unit.daemon.house import open_house
from tests.unit.daemon.test_routes import ask
from tests.unit.service.docker_made import docker_made


@pytest.mark.parametrize("count", [-1, 1])
async def test_devices_asked_for_by_number_are_unknown_and_not_none_while_the_driver_fails(
    count: int, tmp_path: Path
) -> None:
    facts = AttachmentFacts(requests=(DeviceRequest("", count, (), ("gpu",)),), runtime="runc")
    async with open_house(tmp_path) as house:
        house.stage.engine.add_container(docker_made("many._.1001", state=ContainerState.RUNNING, facts=facts))
        house.stage.devices.failure = BackendError("NVML hangs.")
        details = await ask(house, "get_container", "/v1/containers/many")
        assert [(gpu["uuid"], gpu["kind"]) for gpu in details["gpus"]] == [("?", "unknown")]
        (reading,) = (await ask(house, "get_stats", "/v1/stats?name=many"))["containers"]
        assert [(gpu["uuid"], gpu["address"], gpu["memory_bytes"]) for gpu in reading["gpus"]] == [("?", "?", None)]
        assert reading["gpu_memory_used_bytes"] is None
        (row,) = (await ask(house, "list_containers", "/v1/containers"))["containers"]
        assert [(gpu["uuid"], gpu["kind"]) for gpu in row["gpus"]] == [("?", "unknown")]
