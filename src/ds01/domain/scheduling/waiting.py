"""Requests that wait for their GPUs."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ds01.domain.request import GpuRequest


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits, or one that is asked for right now.

    Attributes:
        id: Name of the request, 16 hex digits.
        uid: Who asks.
        group: The user's group when it was asked for.
        container_name: Container that gets the GPUs.
        request: What is asked for.
        priority: The policy's, 0 to 100.
        time_limit: Running time of the grant; None: without end.
        queued_at: When it was asked for.
        gives_up_at: It leaves the queue then; None: never.
        not_before: It does not start before; None: at any time.
        gpu_uuids: The very devices it needs, because a container that exists already has them fixed; empty: any.
        reservation: Id of the reservation in which it starts; None: outside of any.
        is_exclusive: It shares no device, also where the site shares devices.
        promised_at: Latest start that it was promised; None: nothing is promised.
        moved_to: Place that an administrator gave it, lower first; None: by the order of the rules.
        has_container: Its container exists already.
    """

    id: str
    uid: int
    group: str
    container_name: str
    request: GpuRequest
    priority: int
    time_limit: timedelta | None
    queued_at: datetime
    gives_up_at: datetime | None = None
    not_before: datetime | None = None
    gpu_uuids: tuple[str, ...] = ()
    reservation: str | None = None
    is_exclusive: bool = False
    promised_at: datetime | None = None
    moved_to: int | None = None
    has_container: bool = False

    @property
    def is_restart(self) -> bool:
        """A container that exists is to be started: it does not count as one more."""
        return self.has_container or bool(self.gpu_uuids)
