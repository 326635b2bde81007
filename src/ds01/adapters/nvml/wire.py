"""What the NVML child and the daemon say to each other: one JSON object on a line, in both directions.

A request is `{"id": 7, "read": "inventory"}`. Its answer is `{"id": 7, "value": ...}` or, when the library as a whole
failed, `{"id": 7, "failure": {...}}`. A fault of one card is said inside the value.
"""

from typing import Literal, NotRequired, TypedDict

Reading = Literal["inventory", "samples", "processes"]

LIBRARY_NOT_FOUND = 12
"""NVML_ERROR_LIBRARY_NOT_FOUND. Source: nvml.h, nvmlReturn_t."""


class Request(TypedDict):
    """What the daemon asks."""

    id: int
    read: Reading


class Failure(TypedDict):
    """An NVML call that failed.

    Attributes:
        call: Name of the function in the binding.
        code: nvmlReturn_t.
        text: The library's words.
    """

    call: str
    code: int
    text: str


class InstanceAnswer(TypedDict):
    """A MIG device; fields as in the domain's MigInstance."""

    uuid: str
    profile: str
    memory_bytes: int
    compute_slices: int
    gpu_instance_id: int
    compute_instance_id: int
    index: int


class CardAnswer(TypedDict):
    """A card; what could not be read is left out, and `fault` says why.

    Fields as in the domain's PhysicalGpu.
    """

    index: int
    uuid: NotRequired[str]
    model: NotRequired[str]
    memory_bytes: NotRequired[int]
    compute_capability: NotRequired[tuple[int, int]]
    bus_id: NotRequired[str]
    minor: NotRequired[int | None]
    slices_total: NotRequired[int]
    mig_enabled: NotRequired[bool]
    mig_pending: NotRequired[bool]
    instances: NotRequired[list[InstanceAnswer]]
    fault: NotRequired[Failure]


class InventoryAnswer(TypedDict):
    """All cards, in the driver's order."""

    driver_version: str
    cuda_version: tuple[int, int]
    cards: list[CardAnswer]


class SampleAnswer(TypedDict):
    """One reading of a card or a MIG device; fields as in the domain's DeviceSample."""

    uuid: str
    utilization_ratio: float | None
    memory_used_bytes: int | None
    power_w: float | None
    energy_j: float | None
    temperature_c: int | None


class ProcessAnswer(TypedDict):
    """A process on a device; fields as in the domain's GpuProcess."""

    pid: int
    gpu_uuid: str
    memory_bytes: int | None


class ProcessesAnswer(TypedDict):
    """The processes on all cards.

    Attributes:
        processes: Those that were found.
        failure: Why the processes of a card that is still there could not be read.
    """

    processes: list[ProcessAnswer]
    failure: NotRequired[Failure]


Value = InventoryAnswer | list[SampleAnswer] | ProcessesAnswer


class Answer(TypedDict):
    """What the child answers: either `value` or `failure`."""

    id: int
    value: NotRequired[Value]
    failure: NotRequired[Failure]
