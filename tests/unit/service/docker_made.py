"""Containers that plain docker made, not we."""

from dataclasses import replace

from ds01.domain.containers.container import ContainerDetails, ContainerSpec, ContainerState
from ds01.domain.containers.pid1 import ENTRYPOINT
from ds01.domain.devices.attachment import AttachmentFacts, DeviceRequest
from ds01.domain.name import EngineName
from ds01.service.ports import ImageDetails
from tests.fake_engine.state import details_of
from tests.fakes import BEGINNING


def docker_made(
    name: str,
    *,
    state: ContainerState = ContainerState.EXITED,
    uuid: str = "GPU-0",
    facts: AttachmentFacts | None = None,
) -> ContainerDetails:
    """Return a container with one device, or attached as the facts say."""
    spec = ContainerSpec(EngineName("x", 0), "image", 0, 0)
    details = details_of(spec, container_id=f"{name:f<64}", image=ImageDetails("sha256:1"), now=BEGINNING)
    attachment = AttachmentFacts(requests=(DeviceRequest("", 0, (uuid,), ("gpu",)),), runtime="runc")
    return replace(
        details,
        name=name,
        state=state,
        entrypoint=ENTRYPOINT,
        started_at=None if state is ContainerState.CREATED else BEGINNING,
        attachment=facts or attachment,
    )
