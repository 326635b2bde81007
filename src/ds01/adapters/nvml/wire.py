"""What the NVML child and the daemon say to each other: one JSON object on a line, in both directions.

A request is `{"id": 7, "ask": "inventory"}`. Its answer is `{"id": 7, "value": ...}`; or, when a call of the library
failed, `{"id": 7, "failure": {...}}`; or, when the child refuses a change, `{"id": 7, "refusal": {...}}`. A fault of
one card is said inside the value. After `"ask": "watch"`, lines `{"report": {...}}` come by themselves.
"""

from typing import Literal, NotRequired, TypedDict

Question = Literal["inventory", "samples", "processes", "watch", "set_mig_mode", "create_instance", "destroy_instance"]
Arguments = dict[str, str | int | bool]

LIBRARY_NOT_FOUND = 12
"""NVML_ERROR_LIBRARY_NOT_FOUND. Source: nvml.h, nvmlReturn_t."""


class Request(TypedDict):
    """What the daemon asks.

    Attributes:
        id: Comes back with the answer.
        ask: The question.
        arguments: Of a change: those of the port's function.
    """

    id: int
    ask: Question
    arguments: NotRequired[Arguments]


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


class Refusal(TypedDict):
    """A change that the child does not make.

    Attributes:
        kind: What class of error it is.
        text: Why, as a sentence.
        hint: What to do about it; empty without.
    """

    kind: Literal["not_found", "invalid", "conflict"]
    text: str
    hint: str


class InstanceAnswer(TypedDict):
    """A MIG device; fields as in the domain's MigInstance."""

    uuid: str
    profile: str
    memory_bytes: int
    compute_slices: int
    gpu_instance_id: int
    compute_instance_id: int
    index: int
    start: int | None
    memory_slices: int


class ProfileAnswer(TypedDict):
    """A kind of GPU instance; fields as in the domain's MigProfile."""

    name: str
    id: int
    compute_slices: int
    memory_slices: int
    memory_bytes: int
    placements: list[int]
    max_instances: int


class CardAnswer(TypedDict):
    """A card; what could not be read is left out, and `fault` says why.

    Fields as in the domain's PhysicalGpu; `illness` is what the card itself says is wrong with it, `links` are pairs of
    another card's UUID and a kind.
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
    mig_profiles: NotRequired[list[ProfileAnswer]]
    links: NotRequired[list[tuple[str, str]]]
    illness: NotRequired[str]
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
    sm_clock_mhz: int | None
    throttle_reasons: list[str]
    ecc_uncorrected: int | None


class ProcessAnswer(TypedDict):
    """A process on a device; fields as in the domain's GpuProcess."""

    pid: int
    gpu_uuid: str
    memory_bytes: int | None
    is_compute: bool
    utilization_ratio: float | None


class ProcessesAnswer(TypedDict):
    """The processes on all cards.

    Attributes:
        processes: Those that were found.
        failure: Why the processes of a card that is still there could not be read.
    """

    processes: list[ProcessAnswer]
    failure: NotRequired[Failure]


class ReportAnswer(TypedDict):
    """A report of the driver; fields as in the domain's DeviceEvent, or why there are none any more."""

    kind: NotRequired[str]
    gpu_uuid: NotRequired[str | None]
    code: NotRequired[int | None]
    gpu_instance_id: NotRequired[int | None]
    failure: NotRequired[Failure]


Value = InventoryAnswer | list[SampleAnswer] | ProcessesAnswer | InstanceAnswer | bool


class Answer(TypedDict):
    """What the child answers: one of `value`, `failure` and `refusal`."""

    id: int
    value: NotRequired[Value]
    failure: NotRequired[Failure]
    refusal: NotRequired[Refusal]


class Report(TypedDict):
    """What the child says by itself."""

    report: ReportAnswer
