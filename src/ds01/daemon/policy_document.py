"""The policy as the documents of the wire: each value as people write it, with its origin."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta

from ds01.api import schema
from ds01.domain.containers.display import X11
from ds01.domain.rules.limit import BUILT_IN_ORIGIN, LIMIT_NAMES, UNLIMITED_TEXT, EffectiveLimits
from ds01.domain.rules.policy import LimitLayer, Policy, PolicyGroup, PolicyWarning, UserOverride
from ds01.domain.rules.site import ENFORCE, Site, Step
from ds01.errors import Ds01Error
from ds01.units import format_cpus, format_duration, format_size

NOT_ENFORCED_KEYS = (
    "access.ports",
    "notices",
    "report",
    "cache",
    "lifecycle.unmanaged",
    "lifecycle.idle",
    "lifecycle.steps",
    "lifecycle.min_notice",
    "lifecycle.on_idle",
    "lifecycle.keep_max",
    "lifecycle.high_demand",
    "lifecycle.time_limit_steps",
    "lifecycle.quiet_hours",
    "lifecycle.exempt",
    "lifecycle.container_types",
    "aggregate",
)
"""Keys about the site that are read and kept, and that nothing obeys yet."""
NOT_ENFORCED_LIMITS = ("storage", "devices", "idle_timeout", "container_hold_after_stop")
"""Limits that are read and kept, and that nothing obeys yet."""
OBSERVED_LIMITS = ("time_limit",)
"""Limits at whose end a container is stopped in `lifecycle.mode: enforce`, and an event is recorded in `observe`."""
_SIZES = frozenset({"memory", "memory_swap", "shm_size", "storage", "network"})
_RATIOS = frozenset({"gpu_utilization", "cpu", "threshold"})
_ULIMIT_SIZES = frozenset({"core", "data", "fsize", "memlock", "msgqueue", "rss", "stack"})


def config_document(policy: Policy, problem: str | None) -> schema.ConfigDocument:
    """Return the policy in force."""
    return schema.ConfigDocument(
        schema_version=schema.SCHEMA_VERSION,
        source=policy.source,
        version=policy.version,
        ok=problem is None,
        message=problem or "",
        values=list(_values(policy)),
        warnings=[remark(warning) for warning in policy.warnings],
        not_enforced=[*NOT_ENFORCED_KEYS, *_not_enforced_limits(policy)],
    )


def remark(warning: PolicyWarning) -> schema.ConfigRemark:
    """Return a warning."""
    return schema.ConfigRemark(where=warning.where, message=warning.message, hint=warning.hint)


def error_remark(error: Ds01Error) -> schema.ConfigRemark:
    """Return what is wrong with a file."""
    return schema.ConfigRemark(
        where=str(error.details.get("where", "")),
        message=str(error.details.get("problem", error.message)),
        hint=error.hint or "",
    )


def not_enforced(policy: Policy, limits: EffectiveLimits, aggregate: LimitLayer, *, always: list[str]) -> list[str]:
    """Return the names of what the policy promises here and nothing obeys yet, or only observes."""
    named = [name for name in _not_enforced_limits(policy) if _promises(limits, name)]
    promised = ["aggregate"] if any(value is not None for value in aggregate.values.values()) else []
    return list(dict.fromkeys([*always, *named, *promised]))


def _promises(limits: EffectiveLimits, name: str) -> bool:
    value = getattr(limits.values, name)
    return any(device != X11 for device in value) if name == "devices" else bool(value)


def _not_enforced_limits(policy: Policy) -> tuple[str, ...]:
    return NOT_ENFORCED_LIMITS + (() if policy.site.lifecycle.mode == ENFORCE else OBSERVED_LIMITS)


def _values(policy: Policy) -> Iterator[schema.ConfigValue]:
    origin = policy.origins.get("version", policy.source)
    yield schema.ConfigValue(key="version", value=str(policy.version), origin=origin)
    for name in LIMIT_NAMES:
        value = policy.defaults.values.get(name, getattr(policy.base, name))
        where = policy.defaults.origins.get(name, BUILT_IN_ORIGIN)
        yield schema.ConfigValue(key=f"defaults.{name}", value=text_of(name, value), origin=where)
    yield from _layer("defaults.aggregate", policy.aggregate)
    origin = policy.origins.get("default_group", BUILT_IN_ORIGIN)
    yield schema.ConfigValue(key="default_group", value=policy.default_group, origin=origin)
    for group in policy.groups:
        yield from _group(group)
    for name, override in policy.overrides.items():
        yield from _override(f"user_overrides.{name}", override)
    yield from _site(policy.site)
    for kind, layer in policy.container_types.items():
        yield from _layer(f"lifecycle.container_types.{kind}", layer)


def _group(group: PolicyGroup) -> Iterator[schema.ConfigValue]:
    path = f"groups.{group.name}"
    for member in dict.fromkeys((*group.members, *group.file_members)):
        where = group.member_origins.get(member, group.origin)
        yield schema.ConfigValue(key=f"{path}.members", value=member, origin=where)
    yield schema.ConfigValue(key=f"{path}.admin", value=text_of("admin", group.is_admin), origin=group.origin)
    yield schema.ConfigValue(key=f"{path}.shares", value=text_of("shares", group.shares), origin=group.origin)
    yield from _layer(path, group.layer)
    yield from _layer(f"{path}.aggregate", group.aggregate)
    yield from _layer(f"{path}.group_quota", group.quota)
    yield from _layer(f"{path}.idle", group.idle)


def _override(path: str, override: UserOverride) -> Iterator[schema.ConfigValue]:
    if override.group is not None:
        yield schema.ConfigValue(key=f"{path}.group", value=override.group, origin=override.origin)
    yield from _layer(path, override.layer)
    yield from _layer(f"{path}.aggregate", override.aggregate)
    if override.reservation is not None:
        for item in fields(override.reservation):
            value = text_of(item.name, getattr(override.reservation, item.name))
            yield schema.ConfigValue(key=f"{path}.reservation.{item.name}", value=value, origin=override.origin)


def _layer(path: str, layer: LimitLayer) -> Iterator[schema.ConfigValue]:
    for name, value in layer.values.items():
        where = layer.origins.get(name, BUILT_IN_ORIGIN)
        yield schema.ConfigValue(key=f"{path}.{name}", value=text_of(name, value), origin=where)


def _site(site: Site) -> Iterator[schema.ConfigValue]:
    for item in fields(site):
        if item.name != "origins":
            yield from _section(item.name, getattr(site, item.name), site.origins)


def _section(path: str, section: object, origins: Mapping[str, str]) -> Iterator[schema.ConfigValue]:
    if not is_dataclass(section) or isinstance(section, type):
        name = path.rpartition(".")[2]
        where = origins.get(path, BUILT_IN_ORIGIN)
        yield schema.ConfigValue(key=path, value=text_of(name, section), origin=where)
        return
    for item in fields(section):
        yield from _section(f"{path}.{item.name}", getattr(section, item.name), origins)


def text_of(name: str, value: object) -> str:
    """Return a value as people write it in the file.

    Args:
        name: Its key: it says whether a number is a size or a ratio.
        value: The value.
    """
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return _number(name, value)
    if isinstance(value, tuple):
        return _list(name, value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_entry(key, item)}" for key, item in value.items()) + "}"
    return _word(value)


def _word(value: object) -> str:
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return f"{value.action} at {_percent(value.at)}" if isinstance(value, Step) else str(value)


def _number(name: str, value: float) -> str:
    if name in _SIZES:
        return format_size(int(value))
    return _percent(value) if name in _RATIOS else format_cpus(value)


def _percent(ratio: float) -> str:
    return f"{ratio * 100:g}%"


def _list(name: str, items: tuple[object, ...]) -> str:
    if name == "ports":
        return "-".join(map(str, items))
    return "[" + ", ".join(text_of("", item) for item in items) + "]"


def _entry(name: object, value: object) -> str:
    if value == -1:
        return UNLIMITED_TEXT
    return format_size(value) if name in _ULIMIT_SIZES and isinstance(value, int) else text_of("", value)
