"""Devices that the machine does not say are shown as unknown, and not as none."""

from tests.unit.cli.conftest import Ds01, container, details, gpu_reading, stats_reading
from tests.unit.scripted_daemon import ScriptedDaemon, ok

UNKNOWN = {"uuid": "?", "address": "?", "kind": "unknown", "profile": "", "memory_bytes": 0, "gpu_equivalents": 0.0}


def test_inspect_and_list_say_that_devices_are_unknown(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers/a"] = ok(details("a", gpus=[UNKNOWN]))
    (line,) = [line for line in ds01("inspect", "a").out.splitlines() if line.startswith("GPUs")]
    assert line.split() == ["GPUs", "unknown", "(active)"]
    daemon.answers["GET /v1/containers"] = ok({"schema_version": 1, "containers": [container("a", gpus=[UNKNOWN])]})
    assert ds01("list").out.splitlines()[1].split()[:3] == ["a", "running", "unknown"]


def test_stats_says_that_devices_are_unknown_and_where_the_reason_is(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    reading = stats_reading(gpu_reading("?", "?", None), gpu_memory_used_bytes=None)
    daemon.answers["GET /v1/stats"] = ok({"schema_version": 1, "containers": [reading]})
    outcome = ds01("stats")
    assert outcome.out.splitlines()[1].split()[5:9] == ["unknown", "-", "/", "-"]
    assert "`ds01 status` says" in outcome.err
