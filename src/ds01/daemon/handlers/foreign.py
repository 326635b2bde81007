"""Adoption of containers that others made, and leftovers."""

from collections.abc import Sequence
from datetime import timedelta

from ds01.api import schema
from ds01.daemon import documents
from ds01.daemon.call import Call
from ds01.daemon.documents import SCHEMA, time_text
from ds01.daemon.identity import Identities
from ds01.daemon.server import Handler
from ds01.domain.containers.container import ResourceLimits
from ds01.domain.devices.gpu import Gpu
from ds01.errors import InvalidRequestError
from ds01.service.containers import ContainerService
from ds01.service.leftovers import Cleared, Leftover, LeftoverService
from ds01.service.takeover import Takeover, TakeoverService

MAX_AGE_S = 10 * 365 * 86400.0
_MIB = 1024**2


class ForeignHandlers:
    """Answers about what DS01 did not make, and about what nobody uses."""

    def __init__(
        self,
        takeover: TakeoverService,
        leftovers: LeftoverService,
        containers: ContainerService,
        identities: Identities,
    ) -> None:
        self._takeover = takeover
        self._leftovers = leftovers
        self._containers = containers
        self._identities = identities

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {
            "adopt_container": self.adopt_container,
            "list_leftovers": self.list_leftovers,
            "clear_leftovers": self.clear_leftovers,
        }

    async def adopt_container(self, call: Call) -> schema.AdoptedContainer:
        """Take a container under management, or say what that would do."""
        is_dry = call.document(schema.AdoptBody).get("dry_run", False)
        adopted = await self._takeover.adopt(call.caller, call.uid, call.name, dry_run=is_dry)
        row = await self._containers.find_row(adopted.details)
        container = documents.details_document(
            adopted.details,
            uid=call.uid,
            owner=await self._identities.name(call.uid),
            allocation=await self._containers.find_allocation(row),
            is_managed=row is not None,
            devices=adopted.devices,
        )
        return schema.AdoptedContainer(
            schema_version=SCHEMA,
            container=container,
            was_managed=adopted.was_managed,
            dry_run=is_dry,
            docker_command=update_command(adopted.limits, adopted.details.name),
            reasons=_reasons(adopted),
            warnings=list(adopted.warnings),
        )

    async def list_leftovers(self, call: Call) -> schema.LeftoverList:
        """What could go."""
        seconds = call.integer("older_than_s")
        found = await self._leftovers.find(call.uid, older_than=_age(seconds))
        return schema.LeftoverList(schema_version=SCHEMA, leftovers=[_leftover(item) for item in found])

    async def clear_leftovers(self, call: Call) -> schema.ClearedList:
        """Remove what was chosen."""
        body = call.document(schema.ClearBody)
        older_than = _age(body.get("older_than_s"))
        outcomes = await self._leftovers.clear(call.caller, call.uid, body["items"], older_than=older_than)
        freed = sum(outcome.leftover.size_bytes or 0 for outcome in outcomes if outcome.problem is None)
        return schema.ClearedList(schema_version=SCHEMA, results=[_cleared(it) for it in outcomes], freed_bytes=freed)


def _age(seconds: float | None) -> timedelta | None:
    if seconds is None:
        return None
    if not 0 <= seconds <= MAX_AGE_S:
        raise InvalidRequestError("An age is 0 seconds to 10 years.", hint="Use --older-than 2d.")
    return timedelta(seconds=seconds)


def update_command(limits: ResourceLimits, engine_name: str) -> str:
    """Return the docker command that sets the limits; empty if none is set."""
    words: list[str] = []
    if limits.nano_cpus:
        words.append(f"--cpus {limits.nano_cpus / 1e9:g}")
    if limits.memory_bytes:
        swap = f"{limits.memory_swap_bytes // _MIB}m" if limits.memory_swap_bytes else "-1"
        words.append(f"--memory {limits.memory_bytes // _MIB}m --memory-swap {swap}")
    if limits.pids_limit:
        words.append(f"--pids-limit {limits.pids_limit}")
    return f"docker update {' '.join(words)} {engine_name}" if words else ""


def _reasons(adopted: Takeover) -> list[str]:
    names = _addresses(adopted.devices)
    runs = adopted.details.state.has_processes
    held = f"it has GPU {names}" if names else "it has no GPU"
    if names and not runs:
        held += ", granted anew when it starts"
    limits = "its limits are those of its owner" if adopted.limits != ResourceLimits() else "its limits stay"
    return [f"it was made by {adopted.origin.value}", held, limits, "its clocks start now"]


def _addresses(devices: Sequence[Gpu | str]) -> str:
    return ", ".join(device if isinstance(device, str) else device.address for device in devices)


def _leftover(item: Leftover) -> schema.LeftoverDocument:
    return schema.LeftoverDocument(
        id=item.id,
        kind=item.kind.value,
        name=item.name,
        since=time_text(item.since),
        size_bytes=item.size_bytes,
        gpus=list(item.gpu_uuids),
    )


def _cleared(outcome: Cleared) -> schema.ClearedLeftover:
    item = outcome.leftover
    document = schema.ClearedLeftover(
        id=item.id,
        name=item.name,
        kind=item.kind.value,
        removed=outcome.problem is None,
        size_bytes=item.size_bytes,
        gpus=list(item.gpu_uuids),
    )
    if outcome.problem is not None:
        document["problem"] = outcome.problem.message
    return document
