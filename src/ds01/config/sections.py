"""The sections about the site, declared once: the reader, the reference and the JSON Schema all come from here."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from ds01.config import values
from ds01.config.document import Source
from ds01.config.values import Kind, nearest, one_of, shown
from ds01.domain.rules import site
from ds01.errors import Ds01Error, InvalidRequestError
from ds01.units import parse_ratio

_PORTS = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_STEP = re.compile(r"(warn|final|stop) at ([0-9]+(?:\.[0-9]+)?%)")
_HOURS = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?")
_FILE_MODE = re.compile(r"0?6[04][04]")
_CDI_FOLDER = re.compile(r"/(etc|run|var/run)(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+")
_USER = re.compile(r"[^\s:@]([^:\r\n\t\0]*[^\s:])?|uid:[0-9]{1,10}")
LEAST_PORT = 1024


@dataclass(frozen=True, slots=True)
class Section:
    """A set of keys.

    Attributes:
        build: Makes the section's value of its keys; what is left out has its default.
        keys: Key to what may stand there.
    """

    build: Callable[..., object]
    keys: "Mapping[str, Kind | Section]"


def _ports(raw: object) -> tuple[int, int]:
    match = _PORTS.fullmatch(raw) if isinstance(raw, str) else None
    lowest, highest = (int(match[1]), int(match[2])) if match else (0, 0)
    if not LEAST_PORT <= lowest <= highest < 2**16:
        raise InvalidRequestError(f"{shown(raw)} is not a range of ports.", hint="Write 20000-29999.")
    return lowest, highest


def _ratio(raw: object) -> float:
    if isinstance(raw, str):
        return parse_ratio(raw)
    is_number = isinstance(raw, (int, float)) and not isinstance(raw, bool)
    raise InvalidRequestError(
        f"{shown(raw)} is not a percentage.", hint=f"Write {raw}%." if is_number else "Write one such as 5%."
    )


def _factor(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)) or not 0 < raw <= 1:
        raise InvalidRequestError(f"{shown(raw)} is not a factor.", hint="Write a number above 0, up to 1.")
    return float(raw)


def _count(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or not 1 <= raw <= 1000:
        raise InvalidRequestError(f"{shown(raw)} is not a count.", hint="Write a whole number from 1 to 1000.")
    return int(raw)


def _list_of(read: Callable[[object], object], example: str) -> Callable[[object], object]:
    def read_list(raw: object) -> tuple[object, ...]:
        if not isinstance(raw, CommentedSeq):
            raise InvalidRequestError(f"{shown(raw)} is not a list.", hint=f"Write {example}.")
        return tuple(read(item) for item in raw)

    return read_list


def _matching(pattern: re.Pattern[str], what: str, hint: str) -> Callable[[object], str]:
    def read(raw: object) -> str:
        text = str(raw) if isinstance(raw, (str, int)) and not isinstance(raw, bool) else ""
        if not pattern.fullmatch(text):
            raise InvalidRequestError(f"{shown(raw)} is not {what}.", hint=hint)
        return text

    return read


def _step(raw: object) -> site.Step:
    match = _STEP.fullmatch(raw) if isinstance(raw, str) else None
    if match is None:
        raise InvalidRequestError(
            f"{shown(raw)} is not a step.", hint="Write [warn at 80%, final at 95%, stop at 100%]."
        )
    return site.Step(match[1], parse_ratio(match[2]))


def _steps(raw: object) -> tuple[site.Step, ...]:
    found = _list_of(_step, "[warn at 80%, final at 95%, stop at 100%]")(raw)
    assert isinstance(found, tuple)
    if [step.at for step in found] != sorted({step.at for step in found}):
        raise InvalidRequestError("the steps do not follow each other.", hint="Write the earliest first, each once.")
    if [step.action for step in found].count("stop") > 1 or (found and "stop" in {step.action for step in found[:-1]}):
        raise InvalidRequestError("a step comes after the stop.", hint="Make the stop the last step.")
    return found


def _moment(raw: object) -> datetime:
    moment = raw
    if isinstance(raw, str):
        try:
            moment = datetime.fromisoformat(raw)
        except ValueError:
            moment = None
    if not isinstance(moment, datetime):
        raise InvalidRequestError(f"{shown(raw)} is not a time.", hint="Write 2026-12-01T00:00:00+01:00.")
    if moment.tzinfo is None:
        raise InvalidRequestError(f"{moment} has no time zone.", hint=f"Write {moment.isoformat()}+01:00 or ...Z.")
    return datetime.fromisoformat(moment.isoformat())


def _words(raw: object) -> str:
    if not isinstance(raw, str) or len(raw) > 200 or not raw.isprintable():
        raise InvalidRequestError(f"{shown(raw)} is not a line of text.", hint="Write up to 200 letters, in quotes.")
    return str(raw)


def _text_schema(pattern: re.Pattern[str]) -> Mapping[str, object]:
    return {"type": "string", "pattern": f"^({pattern.pattern})$"}


RATIO = Kind(_ratio, {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*%\s*$"})
COUNT = Kind(_count, {"type": "integer", "minimum": 1, "maximum": 1000})
FACTOR = Kind(_factor, {"type": "number", "exclusiveMinimum": 0, "maximum": 1})
STEPS = Kind(_steps, {"type": "array", "items": _text_schema(_STEP)})
_HOSTS = Kind(
    _list_of(_matching(_HOST, "a registry", "Write its host, such as ghcr.io."), "[docker.io, ghcr.io]"),
    {"type": "array", "items": _text_schema(_HOST)},
)
_USERS = Kind(
    _list_of(_matching(_USER, "a user", "Write a login name or uid:1234."), "[alice, bob]"),
    {"type": "array", "items": {"type": ["string", "integer"]}},
)
_QUIET = Kind(_matching(_HOURS, "a time of day", 'Write "22:00-07:00".'), _text_schema(_HOURS)).or_null()

IDLE = Section(
    site.IdleRule,
    {
        "gpu_utilization": RATIO,
        "cpu": RATIO,
        "network": values.SIZE,
        "window": COUNT,
        "grace_after_start": values.LENGTH,
    },
)
GRACE_KINDS = ("default", "devcontainer", "compose", "docker", "api", "unknown")
CONTAINER_KINDS = GRACE_KINDS[1:]
LIFECYCLE = Section(
    site.Lifecycle,
    {
        "mode": one_of("observe", "enforce"),
        "unmanaged": one_of("report", "notify", "stop"),
        "idle": IDLE,
        "steps": STEPS,
        "min_notice": values.LENGTH,
        "on_idle": one_of("stop", "release_gpu", "mark"),
        "keep_max": values.LENGTH.or_null(),
        "high_demand": Section(site.HighDemand, {"threshold": RATIO, "idle_factor": FACTOR}),
        "time_limit_steps": STEPS,
        "stop_grace": Section(
            site.StopGrace,
            {name: values.LENGTH if name == "default" else values.LENGTH.or_null() for name in GRACE_KINDS},
        ),
        "created_timeout": values.LENGTH_ABOVE_0.or_null(),
        "quiet_hours": _QUIET,
        "exempt": Section(site.Exempt, {"users": _USERS}),
    },
)
SITE: Mapping[str, Section] = {
    "access": Section(
        site.Access,
        {
            "registries": _HOSTS.or_null(),
            "ports": Kind(_ports, _text_schema(_PORTS)),
            "show_holders": one_of("users", "groups", "none"),
        },
    ),
    "scheduling": Section(
        site.Scheduling,
        {
            "weights": Section(
                site.Weights, {"priority": values.FIGURE, "age_per_hour": values.FIGURE, "fair_share": values.FIGURE}
            ),
            "fair_share_half_life": values.LENGTH_ABOVE_0,
            "age_guard": values.LENGTH_ABOVE_0,
            "no_show": values.LENGTH_ABOVE_0,
            "assumed_duration": values.LENGTH_ABOVE_0,
        },
    ),
    "notices": Section(
        site.Notices,
        {
            "terminal": values.TRUTH,
            "workspace_file": values.TRUTH,
            "sendmail": values.FOLDER.or_null(),
            "webhook_url_file": values.FOLDER.or_null(),
        },
    ),
    "report": Section(site.Report, {"co2_g_per_kwh": values.FIGURE.or_null()}),
    "cache": Section(site.Cache, {"shared": values.FOLDER.or_null()}),
    "builds": Section(
        site.Builds,
        {
            "time_limit": values.LENGTH_ABOVE_0.or_null(),
            "proxy_file": values.FOLDER.or_null(),
            "pip_config_file": values.FOLDER.or_null(),
        },
    ),
    "catalogue": Section(site.CatalogueSettings, {"aime_dir": values.FOLDER.or_null()}),
    "sharing": Section(site.Sharing, {"max_containers_per_gpu": COUNT}),
    "late_binding": Section(
        site.LateBinding,
        {
            "enabled": values.TRUTH,
            # what lies there decides what runs as root: only where no container can have it mounted
            "directory": Kind(
                _matching(_CDI_FOLDER, "a folder for device specs", "Write one below /etc, /run or /var/run."),
                _text_schema(_CDI_FOLDER),
            ),
            "file_mode": Kind(
                _matching(_FILE_MODE, "a mode for these files", 'Write "0600", "0640" or "0644".'),
                {"anyOf": [_text_schema(_FILE_MODE), {"type": "integer", "enum": [600, 604, 640, 644]}]},
            ),
        },
    ),
    "lifecycle": LIFECYCLE,
}
MOMENT_SCHEMA = {"type": "string", "format": "date-time"}
RESERVATION = Section(
    site.Reservation,
    {
        "gpus": COUNT,
        "kind": one_of("any", "mig", "full"),
        "start": Kind(_moment, MOMENT_SCHEMA),
        "end": Kind(_moment, MOMENT_SCHEMA),
        "reason": Kind(_words, {"type": "string", "maxLength": 200}),
    },
)


def require_known(
    source: Source,
    section: CommentedMap,
    known: Sequence[str],
    why: Mapping[str, str],
    *,
    proposed: Sequence[str] | None = None,
) -> None:
    """Raise if a section has a key that is none of these.

    Args:
        source: The file.
        section: The section.
        known: Its keys.
        why: What to say about keys that were there once.
        proposed: Keys of which the nearest is proposed; None: the known ones.

    Raises:
        InvalidRequestError: The message holds the line, the hint the nearest key.
    """
    for key in section:
        if key not in known:
            near = nearest(key, proposed or known) if isinstance(key, str) else f"Known: {', '.join(known)}."
            hint = why.get(key, near) if isinstance(key, str) else near
            source.refuse(section, key, f"the key {shown(key)} is unknown.", hint)


def child(source: Source, parent: CommentedMap, key: str) -> CommentedMap:
    """Return a section below another; an empty one when it is missing or holds only comments."""
    section = parent.get(key)
    if section is None:
        return CommentedMap()
    if not isinstance(section, CommentedMap):
        hint = "Write `key: value` lines below it, indented."
        source.refuse(parent, key, f"{shown(key)} is {shown(section)}, not a set of keys.", hint)
    return section


def read_value(source: Source, section: CommentedMap, key: str, kind: Kind) -> object:
    """Return the value of a key.

    Raises:
        InvalidRequestError: It does not fit; the message holds line, key and fix.
    """
    raw = section[key]
    if raw is None:
        if not kind.is_nullable:
            source.refuse(section, key, f"{key} cannot be null.", "Leave it out to inherit the value.")
        return None
    try:
        return kind.read(raw)
    except Ds01Error as failure:
        source.refuse(section, key, f"{key}: {failure.message}", failure.hint)


def read_keys(
    source: Source, section: CommentedMap, declared: Section, path: str = ""
) -> tuple[dict[str, object], dict[str, str]]:
    """Return what a section sets, and where: the values by key, the origins by dotted key."""
    require_known(source, section, tuple(declared.keys), {})
    found: dict[str, object] = {}
    origins: dict[str, str] = {}
    for key in section:
        kind = declared.keys[key]
        if isinstance(kind, Kind):
            found[key] = read_value(source, section, key, kind)
            origins[path + key] = source.line(section, key)
        else:
            inner, inner_origins = read_keys(source, child(source, section, key), kind, f"{path}{key}.")
            found[key] = kind.build(**inner)
            origins.update(inner_origins)
    return found, origins
