"""What a user asks for in GPUs."""

from dataclasses import dataclass

from ds01.errors import InvalidRequestError

ANY_KIND = "any"
FULL_KIND = "full"
MIG_KIND = "mig"
MAX_GPUS = 1024


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """A request for GPUs of one container.

    Attributes:
        count: Devices; 0 means none.
        kind: `any`, `full`, `mig`, a MIG profile (`1g.5gb`) or part of a model name (`a100`), in lower case.
        memory_bytes: Least memory of each device; None means any.
    """

    count: int = 1
    kind: str = ANY_KIND
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.count <= MAX_GPUS:
            raise InvalidRequestError(
                f"{self.count} GPUs cannot be asked for.", hint="Use --gpus 1, or --cpu-only for none."
            )
        if not self.kind or self.kind != self.kind.strip().lower():
            raise InvalidRequestError(
                f"{self.kind!r} is not a kind of GPU.", hint="Use any, full, mig or a profile such as 1g.5gb."
            )
        if self.memory_bytes is not None and self.memory_bytes <= 0:
            raise InvalidRequestError(
                "The least GPU memory must be above 0.", hint="Use --gpu-memory 20G, or leave it out."
            )


def format_request(request: GpuRequest) -> str:
    """Return the request as one short text (`2 x full >= 20480 MiB`), as it is kept in labels and events."""
    if request.count == 0:
        return "0"
    text = str(request.count)
    if request.kind != ANY_KIND:
        text += f" x {request.kind}"
    if request.memory_bytes is not None:
        text += f" >= {request.memory_bytes // 1024**2} MiB"
    return text
