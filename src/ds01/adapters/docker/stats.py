"""The engine's readings of a container, computed as the docker command line does."""

from ds01.adapters.docker.document import Document
from ds01.domain.containers.container import ContainerStats


def is_reading(document: Document) -> bool:
    """Tell whether the container ran when it was read: of others the engine sends zeros at the time zero."""
    return document.optional_moment("read") is not None


def parse_stats(document: Document) -> ContainerStats:
    """Return one reading. Source: Engine API 1.41, ContainerStats."""
    cpu, previous, memory = document.child("cpu_stats"), document.child("precpu_stats"), document.child("memory_stats")
    return ContainerStats(
        cpu_total_ns=cpu.child("cpu_usage").number("total_usage"),
        system_cpu_ns=cpu.number("system_cpu_usage", default=0),
        online_cpus=cpu.number("online_cpus", default=0) or len(cpu.child("cpu_usage").items("percpu_usage")),
        previous_cpu_total_ns=previous.child("cpu_usage").number("total_usage", default=0),
        previous_system_cpu_ns=previous.number("system_cpu_usage", default=0),
        memory_used_bytes=_memory_used(memory),
        memory_limit_bytes=memory.number("limit", default=0),
        network_rx_bytes=_network(document, "rx_bytes"),
        network_tx_bytes=_network(document, "tx_bytes"),
        block_read_bytes=_block(document, "read"),
        block_write_bytes=_block(document, "write"),
        pids=document.child("pids_stats").number("current", default=0),
    )


def _memory_used(memory: Document) -> int:
    """Usage without the page cache that is given back at once: `total_inactive_file` on cgroup 1, else `inactive_file`.

    Source: docker/cli, cli/command/container/stats_helpers.go, calculateMemUsageUnixNoCache.
    """
    usage, details = memory.number("usage", default=0), memory.child("stats")
    cache = details.number("total_inactive_file", default=-1)
    if not 0 <= cache < usage:
        cache = details.number("inactive_file", default=0)
    return usage - cache if cache < usage else usage


def _network(document: Document, key: str) -> int | None:
    networks = document.child("networks")  # missing with the host's network
    names = list(networks.mapping())
    return sum(networks.child(name).number(key) for name in names) if names else None


def _block(document: Document, operation: str) -> int:
    entries = document.child("blkio_stats").items("io_service_bytes_recursive")
    return sum(entry.number("value") for entry in entries if entry.text("op").lower() == operation)
