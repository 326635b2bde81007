"""Values of the limits as people write them: units demanded, null is unlimited where that has a meaning."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from difflib import get_close_matches

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from ds01.domain.rules.limit import LEAST_CPUS, LEAST_MEMORY, UNLIMITED_TEXT
from ds01.errors import InvalidRequestError
from ds01.units import format_size, parse_duration, parse_size

MAX_FIGURE = 2**31 - 1
LEAST_PIDS = 4096
_CHOICES = {"gpu_preference": ("any", "mig", "full"), "network": ("own", "host")}
_DEVICES = ("video", "sound", "render", "x11")
# Source: docker/go-units, ulimit.go.
_ULIMIT_SIZES = ("core", "data", "fsize", "memlock", "msgqueue", "rss", "stack")
_ULIMIT_COUNTS = ("cpu", "locks", "nice", "nofile", "nproc", "rtprio", "rttime", "sigpending")


def nearest(text: str, known: Sequence[str]) -> str:
    """Return the hint for a word that is none of the known ones."""
    found = get_close_matches(text, list(known), n=1)
    return f"Did you mean {found[0]!r}?" if found else f"Known: {', '.join(known)}."


def shown(raw: object) -> str:
    """Return a wrong value for a message. Lists and sets of keys are not shown: an alias can make them endless."""
    if isinstance(raw, Mapping):
        return "a set of keys"
    if isinstance(raw, Sequence) and not isinstance(raw, (str, bytes)):
        return "a list"
    if raw is None or isinstance(raw, bool):
        return {None: "null", True: "true", False: "false"}[raw]
    text = raw if isinstance(raw, (str, int, float)) else type(raw).__name__
    return repr(text)[:80] if not isinstance(text, int) or text.bit_length() < 256 else "a huge number"


def _whole(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 <= raw <= MAX_FIGURE:
        raise InvalidRequestError(f"{shown(raw)} is not a whole number of 0 or more.", hint="null means unlimited.")
    return int(raw)


def _figure(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)) or not 0 <= raw <= MAX_FIGURE:
        raise InvalidRequestError(f"{shown(raw)} is not a number of 0 or more.", hint="null means unlimited.")
    return float(raw)


def _cpus(raw: object) -> float:
    value = _figure(raw)
    if value < LEAST_CPUS:
        raise InvalidRequestError(f"{value:g} CPUs are too few.", hint="Write 0.01 or more; null means unlimited.")
    return value


def _shares(raw: object) -> float:
    value = _figure(raw)
    if value <= 0:
        raise InvalidRequestError(f"{shown(raw)} is not a share.", hint="Write a number above 0; groups start with 1.")
    return value


def _pids(raw: object) -> int:
    value = _whole(raw)
    if value < LEAST_PIDS:
        raise InvalidRequestError(
            f"{value} is too few: below {LEAST_PIDS}, OpenMP programs fail.", hint=f"Write {LEAST_PIDS} or more."
        )
    return value


def _priority(raw: object) -> int:
    value = _whole(raw)
    if value > 100:
        raise InvalidRequestError(f"{value} is not a priority.", hint="Priorities are 0 to 100.")
    return value


def _size(raw: object) -> int:
    return parse_size(_unit_text(raw, "a size with its unit, such as 8G"))


def _size_of(least: int) -> Callable[[object], int]:
    def read(raw: object) -> int:
        value = 0 if isinstance(raw, int) and not isinstance(raw, bool) and raw == 0 else _size(raw)
        if value < least:
            raise InvalidRequestError(
                f"{format_size(value)} is too little.",
                hint=f"Write {format_size(least)} or more; null means unlimited.",
            )
        return value

    return read


def _length(raw: object) -> timedelta:
    if isinstance(raw, int) and not isinstance(raw, bool) and raw == 0:
        return timedelta(0)
    return parse_duration(_unit_text(raw, "a duration with its unit, such as 30m"))


def _length_above_0(raw: object) -> timedelta:
    value = _length(raw)
    if value <= timedelta(0):
        raise InvalidRequestError(f"{shown(raw)} leaves no time at all.", hint="null means without end.")
    return value


def _unit_text(raw: object, what: str) -> str:
    """Only text and bare numbers: the latter get the parser's hint with the unit."""
    if isinstance(raw, (str, int, float)) and not isinstance(raw, bool):
        return str(raw) if isinstance(raw, str) or abs(raw) < MAX_FIGURE**2 else "a huge number"
    raise InvalidRequestError(f"{shown(raw)} is not {what}.", hint="null means unlimited.")


def _truth(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise InvalidRequestError(f"{shown(raw)} is neither true nor false.", hint="Write true or false.")
    return raw


def _one_of(*choices: str) -> Callable[[object], str]:
    def read(raw: object) -> str:
        if not isinstance(raw, str) or raw not in choices:
            near = nearest(raw, choices) if isinstance(raw, str) else f"Known: {', '.join(choices)}."
            raise InvalidRequestError(f"{shown(raw)} is not one of {', '.join(choices)}.", hint=near)
        return str(raw)

    return read


def _device_kinds(raw: object) -> tuple[str, ...]:
    read = _one_of(*_DEVICES)
    if not isinstance(raw, CommentedSeq):
        raise InvalidRequestError(f"{shown(raw)} is not a list.", hint=f"Write some of [{', '.join(_DEVICES)}].")
    return tuple(dict.fromkeys(read(item) for item in raw))


def _ulimits(raw: object) -> Mapping[str, int]:
    if not isinstance(raw, CommentedMap):
        raise InvalidRequestError(f"{shown(raw)} is not a set of keys.", hint="Write {memlock: unlimited, stack: 64M}.")
    read = _one_of(*_ULIMIT_SIZES, *_ULIMIT_COUNTS)
    return {
        read(name): -1 if value is None or value == UNLIMITED_TEXT else _ulimit(name, value)
        for name, value in raw.items()
    }


def _ulimit(name: str, value: object) -> int:
    return _size_of(0)(value) if name in _ULIMIT_SIZES else _whole(value)


def _mounts(raw: object) -> Mapping[str, str | None]:
    if not isinstance(raw, CommentedMap):
        raise InvalidRequestError(f"{shown(raw)} is not a set of keys.", hint="Write {data: /srv/data, models: null}.")
    read = _one_of("data", "models")
    return {read(name): None if value is None else _folder(value) for name, value in raw.items()}


def _folder(raw: object) -> str:
    if not isinstance(raw, str) or not raw.startswith("/") or "\0" in raw:
        raise InvalidRequestError(f"{shown(raw)} is not a folder.", hint="Write its whole path, such as /srv/data.")
    return str(raw)


@dataclass(frozen=True, slots=True)
class Kind:
    """What may stand for a key: how it is read, and how an editor is told.

    Attributes:
        read: Returns the value, or raises InvalidRequestError with the fix.
        schema: The same as JSON Schema.
        is_nullable: `null` has a meaning.
    """

    read: Callable[[object], object]
    schema: Mapping[str, object]
    is_nullable: bool = False

    def or_null(self) -> "Kind":
        """Return the kind where null is allowed too."""
        return replace(self, is_nullable=True)

    def json_schema(self) -> Mapping[str, object]:
        """Return the JSON Schema, with null where it is allowed."""
        return {"anyOf": [self.schema, {"type": "null"}]} if self.is_nullable else self.schema


def one_of(*choices: str) -> Kind:
    """Return the kind for one of some words."""
    return Kind(_one_of(*choices), {"enum": list(choices)})


_WHOLE_SCHEMA = {"type": "integer", "minimum": 0, "maximum": MAX_FIGURE}
_FOLDER_SCHEMA = {"type": "string", "pattern": "^/"}
_SIZE_SCHEMA = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*([bB]|[kmgtKMGT]i?)\s*$"}
_LENGTH_SCHEMA = {"type": "string", "pattern": r"^\s*([0-9]+(\.[0-9]+)?[smhdwSMHDW])+\s*$"}
_LENGTH_OR_0_SCHEMA = {"anyOf": [_LENGTH_SCHEMA, {"const": 0}]}
_ULIMIT_SCHEMA = {
    "type": "object",
    "properties": {
        **{name: {"anyOf": [_SIZE_SCHEMA, {"enum": [UNLIMITED_TEXT, 0, None]}]} for name in _ULIMIT_SIZES},
        **{name: {"anyOf": [_WHOLE_SCHEMA, {"enum": [UNLIMITED_TEXT, None]}]} for name in _ULIMIT_COUNTS},
    },
    "additionalProperties": False,
}
_MOUNTS_SCHEMA = {
    "type": "object",
    "properties": {name: {"anyOf": [_FOLDER_SCHEMA, {"type": "null"}]} for name in ("data", "models")},
    "additionalProperties": False,
}
_DEVICES_SCHEMA = {"type": "array", "items": {"enum": list(_DEVICES)}}

WHOLE = Kind(_whole, _WHOLE_SCHEMA)
SHARES = Kind(_shares, {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_FIGURE})
FIGURE = Kind(_figure, {"type": "number", "minimum": 0, "maximum": MAX_FIGURE})
CPUS = Kind(_cpus, {"type": "number", "minimum": LEAST_CPUS, "maximum": MAX_FIGURE})
# 0 means "unlimited" to the engine, which is the last thing that a 0 here means
MEMORY = Kind(_size_of(LEAST_MEMORY), _SIZE_SCHEMA)
SPACE = Kind(_size_of(1024**2), _SIZE_SCHEMA)
SIZE = Kind(_size_of(0), {"anyOf": [_SIZE_SCHEMA, {"const": 0}]})
LENGTH = Kind(_length, _LENGTH_OR_0_SCHEMA)
LENGTH_ABOVE_0 = Kind(_length_above_0, _LENGTH_SCHEMA)
TRUTH = Kind(_truth, {"type": "boolean"})
FOLDER = Kind(_folder, _FOLDER_SCHEMA)
PIDS = Kind(_pids, {"type": "integer", "minimum": LEAST_PIDS, "maximum": MAX_FIGURE})

READERS: Mapping[str, Kind] = {
    **dict.fromkeys(("max_gpus", "max_gpus_per_container", "max_containers"), WHOLE.or_null()),
    "max_gpu_equivalents": FIGURE.or_null(),
    "max_cpus": CPUS.or_null(),
    **dict.fromkeys(("memory", "memory_swap"), MEMORY.or_null()),
    **dict.fromkeys(("shm_size", "storage"), SPACE.or_null()),
    **dict.fromkeys(("time_limit", "idle_timeout"), LENGTH_ABOVE_0.or_null()),
    **dict.fromkeys(("gpu_hold_after_stop", "container_hold_after_stop"), LENGTH.or_null()),
    **dict.fromkeys(("allow_full_gpu", "sudo", "stop_on_last_exit"), TRUTH),
    **{name: one_of(*choices) for name, choices in _CHOICES.items()},
    "pids_limit": PIDS.or_null(),
    "priority": Kind(_priority, {"type": "integer", "minimum": 0, "maximum": 100}),
    "devices": Kind(_device_kinds, _DEVICES_SCHEMA),
    "ulimits": Kind(_ulimits, _ULIMIT_SCHEMA),
    "mounts": Kind(_mounts, _MOUNTS_SCHEMA),
}
AGGREGATE: Mapping[str, Kind] = {"max_cpus": CPUS.or_null(), "memory": MEMORY.or_null(), "pids": PIDS.or_null()}
QUOTA: Mapping[str, Kind] = {"gpus": WHOLE.or_null(), "gpu_equivalents": FIGURE.or_null()}
