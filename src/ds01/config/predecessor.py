"""What the predecessors' files say, in the words of version 2. Every key that was renamed or dropped is a warning.

Source: `resource-limits.yaml` of the DS01 shell layer in its first (seeds) and its public form.
"""

import re
from collections.abc import Mapping

from ruamel.yaml.comments import CommentedMap

from ds01.config.document import Source
from ds01.config.sections import CONTAINER_KINDS, child
from ds01.config.values import shown

Target = tuple[str, ...]
RENAMED: Mapping[str, str] = {
    "max_mig_instances": "max_gpus",
    "max_gpu_slots": "max_gpus",
    "max_gpus_per_user": "max_gpus",
    "max_mig_per_container": "max_gpus_per_container",
    "max_gpu_slots_per_container": "max_gpus_per_container",
    "max_containers_per_user": "max_containers",
    "max_runtime": "time_limit",
}
_LENGTHS = ("idle_timeout", "max_runtime", "time_limit", "gpu_hold_after_stop", "container_hold_after_stop")
_SUFFIXED = re.compile(rf"({'|'.join(_LENGTHS)})_([hms])")
_SIZES = ("memory", "memory_swap", "shm_size", "storage")
_LOWER_SIZE = re.compile(r"[0-9.]+[kmgt]")
RESERVATION = {
    "reserved_gpus": "gpus",
    "reservation_start": "start",
    "reservation_end": "end",
    "reason": "reason",
}
_NOT_YET = "It was never enforced there, and is not here."
DROPPED: Mapping[str, str] = {
    "max_tasks": "All containers of a user together: `aggregate: {pids: 65536}`; one container: `pids_limit`.",
    "gpu_memory": "The memory of a GPU is the device's own: use MIG instances.",
    "io_read_bps": _NOT_YET,
    "io_write_bps": _NOT_YET,
    "ulimit_nofile": "Write `ulimits: {nofile: 65535}`.",
    "storage_workspace": "Use the file system's quotas.",
    "storage_data": "Use the file system's quotas.",
    "storage_tmp": "Use `storage`: the writable layer.",
    "default_mig_count": "Quotas count for every container; `max_gpus_per_container` for each.",
    "max_concurrent_jobs": "There is no job API.",
    "max_daily_submissions": "There is no job API.",
    "max_result_size_mb": "There is no job API.",
}
DROPPED_SECTIONS: Mapping[str, str] = {
    "enforcement": "Limits are always enforced; the engine says which cgroup driver it has.",
    "gpu_allocation": "Devices are read from the driver; `gpu_preference` says which kind is taken.",
    "monitoring": "Containers that ds01 did not create are left alone: see `lifecycle.unmanaged`.",
    "bare_metal_access": "See `lifecycle.unmanaged`.",
    "access_control": "Write `admin: true` in the group of the administrators.",
    "advanced": _NOT_YET,
    "wizard": "It held texts only.",
}
_POLICIES: Mapping[str, tuple[Target, str]] = {
    "high_demand_threshold": (("high_demand", "threshold"), "ratio"),
    "high_demand_idle_reduction": (("high_demand", "idle_factor"), ""),
    "gpu_idle_threshold": (("idle", "gpu_utilization"), "%"),
    "cpu_idle_threshold": (("idle", "cpu"), "%"),
    "network_idle_threshold": (("idle", "network"), "B"),
    "idle_detection_window": (("idle", "window"), ""),
    "grace_period_m": (("idle", "grace_after_start"), "m"),
    "keepalive_max_duration_h": (("keep_max",), "h"),
    "sigterm_grace_s": (("stop_grace", "default"), "s"),
    "created_container_timeout_m": (("created_timeout",), "m"),
}
_DROPPED_POLICIES: Mapping[str, str] = {
    "gpu_hold_after_manual_stop_m": "Use `gpu_hold_after_stop`: it counts for every stop.",
    **dict.fromkeys(
        (
            "auto_stop_idle",
            "checkpoint_warning",
            "require_workspace_mount",
            "enforce_storage_quotas",
            "soft_limit_threshold",
            "graceful_errors",
            "suggest_alternatives",
        ),
        _NOT_YET,
    ),
}
_AGGREGATE: Mapping[str, str] = {"cpu_quota": "max_cpus", "memory_max": "memory", "tasks_max": "pids"}
_DROPPED_AGGREGATE: Mapping[str, str] = {
    "memory_high": "`memory` is a hard limit.",
    "gpu_limit": "`max_gpus` and `max_gpu_equivalents` count all containers of a user.",
}


class Rewriter:
    """Copies sections of a file into the words of version 2; every entry keeps its line."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def document(self, document: CommentedMap) -> CommentedMap:
        """Return the whole file of version 1 as one of version 2."""
        fresh = _like(document)
        for key in document:
            if key in DROPPED_SECTIONS:
                self._source.warn(document, key, f"{key} is not used any more.", DROPPED_SECTIONS[key])
            elif key not in ("policies", "container_types"):
                _move(document, key, fresh, key, document[key])
        lifecycle = _like(document)
        if child(self._source, document, "policies"):
            self._source.warn(document, "policies", "policies is the old name of lifecycle.", "Write `lifecycle:`.")
            self._policies(document["policies"], lifecycle)
        if child(self._source, document, "container_types"):
            self._container_types(document, lifecycle)
        if lifecycle:
            _move(document, "policies", fresh, "lifecycle", lifecycle)
        return fresh

    def layer(self, section: CommentedMap) -> CommentedMap:
        """Return the keys of defaults, a group or a user under their names of today."""
        fresh = _like(section)
        reservation = _like(section)
        first = ""
        for key in section:
            value = section[key]
            if not isinstance(key, str):
                _move(section, key, fresh, key, value)
            elif key in RESERVATION:
                first = first or key
                self._note(section, key, f"reservation.{RESERVATION[key]}")
                _move(section, key, reservation, RESERVATION[key], _count(value) if key == "reserved_gpus" else value)
            elif not self._dropped(section, key, DROPPED):
                self._limit(section, key, fresh)
        if reservation:
            self._put(section, first, fresh, "reservation", reservation)
        return fresh

    def _limit(self, section: CommentedMap, key: str, fresh: CommentedMap) -> None:
        value = section[key]
        name = key
        suffixed = _SUFFIXED.fullmatch(key)
        if suffixed:
            name, value = suffixed[1], _with_unit(value, suffixed[2])
        name = RENAMED.get(name, name)
        if name == key:
            if key in _SIZES and isinstance(value, str) and _LOWER_SIZE.fullmatch(value):
                self._source.warn(section, key, f"{key}: {value} is the old form.", f"Write {value.upper()}.")
            if self._source.version == 1 and key == "aggregate" and isinstance(value, CommentedMap):
                value = self._aggregate(value)
            if self._source.version == 1 and key == "policies" and isinstance(value, CommentedMap):
                self._group_policies(section, value, fresh)
                return
        else:
            self._note(section, key, name)
        self._put(section, key, fresh, name, value)

    def _put(self, section: CommentedMap, key: str, fresh: CommentedMap, name: str, value: object) -> None:
        if name in fresh or (name != key and name in section):
            self._source.refuse(section, key, f"{name} is there twice: {key} means the same.", f"Remove {key}.")
        _move(section, key, fresh, name, value)

    def _note(self, section: CommentedMap, key: str, name: str) -> None:
        self._source.warn(section, key, f"{key} is the old name of {name}.", f"Write {name}.")

    def _dropped(self, section: CommentedMap, key: str, table: Mapping[str, str]) -> bool:
        """In a file of version 2 such a key is an error like every other that is unknown."""
        if self._source.version != 1 or key not in table:
            return False
        self._source.warn(section, key, f"{key} is not used any more.", table[key])
        return True

    def _aggregate(self, section: CommentedMap) -> CommentedMap:
        fresh = _like(section)
        for key in section:
            if key in _AGGREGATE:
                self._note(section, key, f"aggregate.{_AGGREGATE[key]}")
                value = _cpus(section[key]) if key == "cpu_quota" else section[key]
                self._put(section, key, fresh, _AGGREGATE[key], value)
            elif not self._dropped(section, key, _DROPPED_AGGREGATE):
                _move(section, key, fresh, key, section[key])
        return fresh

    def _group_policies(self, section: CommentedMap, policies: CommentedMap, fresh: CommentedMap) -> None:
        lifecycle = _like(policies)
        self._policies(policies, lifecycle)
        for key in lifecycle:
            if key == "idle":
                self._put(section, "policies", fresh, "idle", lifecycle["idle"])
            else:
                self._source.warn(section, "policies", f"{key} counts for everybody.", f"Write lifecycle.{key}.")

    def _policies(self, section: CommentedMap, lifecycle: CommentedMap) -> None:
        for key in section:
            known = _POLICIES.get(key) if isinstance(key, str) else None
            if known is None:
                if not (isinstance(key, str) and self._dropped(section, key, _DROPPED_POLICIES)):
                    self._source.refuse(section, key, f"the key {shown(key)} is unknown.", "Remove it.")
                continue
            target, unit = known
            self._note(section, key, ".".join(("lifecycle", *target)))
            _move(section, key, _inner(lifecycle, target[:-1], section), target[-1], _with_unit(section[key], unit))

    def _container_types(self, document: CommentedMap, lifecycle: CommentedMap) -> None:
        self._note(document, "container_types", "lifecycle.container_types")
        section = document["container_types"]
        kinds = _like(section)
        for kind in section:
            old = child(self._source, section, kind)
            settings = _like(old)
            for key in old:
                if key == "sigterm_grace_s" and kind in CONTAINER_KINDS:
                    self._note(old, key, f"lifecycle.stop_grace.{kind}")
                    _move(old, key, _inner(lifecycle, ("stop_grace",), old), kind, _with_unit(old[key], "s"))
                else:
                    _move(old, key, settings, key, old[key])
            _move(section, kind, kinds, kind, settings)
        _move(document, "container_types", lifecycle, "container_types", kinds)


def _like(section: CommentedMap) -> CommentedMap:
    fresh = CommentedMap()
    fresh._yaml_set_line_col(section.lc.line, section.lc.col)  # noqa: SLF001 - the library's only way to say a line
    return fresh


def _move(section: CommentedMap, key: object, fresh: CommentedMap, name: object, value: object) -> None:
    fresh[name] = value
    place = (section.lc.data or {}).get(key)
    if place is not None:
        fresh._yaml_set_kv_line_col(name, place)  # noqa: SLF001 - the library's only way to say a line


def _inner(parent: CommentedMap, path: Target, section: CommentedMap) -> CommentedMap:
    for key in path:
        if key not in parent:
            parent[key] = _like(section)
        parent = parent[key]
    return parent


def _with_unit(value: object, unit: str) -> object:
    """Return a bare number with the unit that its key's name had. What is no number is left to the reader."""
    if not unit or isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    if unit == "ratio":
        return f"{value * 100:g}%"
    return f"{value:f}".rstrip("0").rstrip(".") + unit if isinstance(value, float) else f"{value}{unit}"


def _count(value: object) -> object:
    return len(value) if isinstance(value, list) else value


def _cpus(value: object) -> object:
    """Return CPUs for a quota of systemd, in which 100% is one CPU."""
    match = re.fullmatch(r"([0-9]{1,9})%", value) if isinstance(value, str) else None
    return int(match[1]) / 100 if match else value
