"""What a user orders: a new container, checked before anything is touched."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta

from ds01.domain.containers.container import PublishedPort
from ds01.domain.request import GpuRequest, format_request
from ds01.errors import InvalidRequestError
from ds01.service.images import ImageOrder

MAX_ENVIRONMENT = 256
MAX_VALUE_BYTES = 32 * 1024
MAX_PORTS = 32
LOWEST_PORT = 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_RESERVED_VARIABLES = re.compile(r"NVIDIA_(VISIBLE_DEVICES|IMEX_CHANNELS|MIG_.*)|CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True, slots=True)
class CreateOrder:
    """A new container, as its owner wants it.

    Attributes:
        name: Name.
        image: Framework or image.
        request: GPUs.
        workspace: Host directory for /workspace; None: `~/workspace/<name>`.
        data: Host directory for /data.
        models: Host directory for /models.
        wishes: Limits below the policy's, by limit name.
        cgroup_parent: Accepted when it is the one that is used anyway.
        environment: Further variables.
        ports: Ports on the loopback address.
        interface: Front end.
        time_limit: Running time of the grant; None: the policy's.
        not_before: It does not start before; None: at any time.
        reservation: Name or id of the reservation in which it starts; None: the one that fits, or outside of any.
        is_exclusive: It shares no device, also where the site shares devices.
        shares_display: Programs that are opened in it get their user's display.
    """

    name: str
    image: ImageOrder
    request: GpuRequest = field(default_factory=GpuRequest)
    workspace: str | None = None
    data: str | None = None
    models: str | None = None
    wishes: Mapping[str, float | None] = field(default_factory=dict)
    cgroup_parent: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PublishedPort, ...] = ()
    interface: str = "api"
    time_limit: timedelta | None = None
    not_before: datetime | None = None
    reservation: str | None = None
    is_exclusive: bool = False
    shares_display: bool = False

    def to_text(self) -> str:
        """Return the whole order as JSON: kept with the container's row, and with a request that waits."""
        document = asdict(replace(self, environment=dict(self.environment), wishes=dict(self.wishes)))
        document["time_limit"] = self.time_limit.total_seconds() if self.time_limit is not None else None
        document["not_before"] = self.not_before.astimezone(UTC).isoformat() if self.not_before else None
        return json.dumps({**document, "request_text": format_request(self.request)}, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> "CreateOrder":
        """Return the order that `to_text` wrote; what is missing has its default.

        Raises:
            InvalidRequestError: The text is none of ours.
        """
        try:
            document = json.loads(text)
            known = {name: document[name] for name in _FIELDS if name in document}
            known["image"] = ImageOrder(**document["image"])
            known["request"] = GpuRequest(**document["request"])
            known["ports"] = tuple(PublishedPort(**port) for port in document.get("ports", ()))
            if known.get("time_limit") is not None:
                known["time_limit"] = timedelta(seconds=known["time_limit"])
            if known.get("not_before") is not None:
                known["not_before"] = datetime.fromisoformat(known["not_before"])
            return cls(**known)
        except (ValueError, TypeError, KeyError) as broken:
            raise InvalidRequestError("The order that was kept cannot be read.", hint="Order it again.") from broken


_FIELDS = tuple(item.name for item in fields(CreateOrder))


def require_valid_order(order: CreateOrder) -> None:
    """Raise if the environment or the ports cannot be used.

    Raises:
        InvalidRequestError: The message names the entry and the reason.
    """
    require_valid_environment(order.environment)
    for name in order.environment:
        if _RESERVED_VARIABLES.fullmatch(name):
            raise InvalidRequestError(
                f"{name} is set by the grant and cannot be changed.", hint="Ask for GPUs with --gpus."
            )
    if len(order.ports) > MAX_PORTS:
        raise InvalidRequestError(f"{len(order.ports)} published ports are too many (at most {MAX_PORTS}).")
    for port in order.ports:
        if not 1 <= port.container_port <= 65535:
            raise InvalidRequestError(f"{port.container_port} is not a port.", hint="Ports are 1 to 65535.")
        if port.host_port and not LOWEST_PORT <= port.host_port <= 65535:
            raise InvalidRequestError(
                f"The host's port {port.host_port} cannot be published.",
                hint=f"Use one between {LOWEST_PORT} and 65535, or leave it out.",
            )
    fixed = [(port.host_port, port.protocol) for port in order.ports if port.host_port]
    if twice := next((number for number, protocol in fixed if fixed.count((number, protocol)) > 1), None):
        raise InvalidRequestError(
            f"The host's port {twice} is given twice.", hint="Give each port of the container one of its own."
        )


def require_valid_environment(environment: Mapping[str, str]) -> None:
    """Raise if variables cannot be set.

    Raises:
        InvalidRequestError: The message names the variable and the reason.
    """
    if len(environment) > MAX_ENVIRONMENT:
        raise InvalidRequestError(f"{len(environment)} variables are too many (at most {MAX_ENVIRONMENT}).")
    for name, value in environment.items():
        if not _VARIABLE.fullmatch(name):
            raise InvalidRequestError(
                f"{name[:80]!r} is not the name of a variable.", hint="Use letters, digits and _: -e NAME=value."
            )
        if "\0" in value or len(value.encode("utf-8", "surrogatepass")) > MAX_VALUE_BYTES:
            raise InvalidRequestError(f"The value of {name} is too long or holds a NUL.")
