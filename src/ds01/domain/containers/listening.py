"""What listens inside a container, and which of its ports the host publishes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PROC_FILES = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTEN = "0A"
_WORDS_OF_LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class ListeningPort:
    """A TCP port of a container.

    Attributes:
        port: Its number inside.
        is_listening: A program listens on it now.
        is_local: Only programs in the container reach it: it listens on the loopback address alone.
        host_ports: Ports of the host's loopback address that lead to it.
    """

    port: int
    is_listening: bool
    is_local: bool
    host_ports: tuple[int, ...] = ()


def ports_of(proc_text: str, published: Mapping[int, Iterable[int]]) -> tuple[ListeningPort, ...]:
    """Return the ports on which something listens or that are published, by number.

    Args:
        proc_text: Lines of /proc/net/tcp and /proc/net/tcp6 in the container's network namespace.
            Source: Linux, Documentation/networking/proc_net_tcp.rst; state 0A is LISTEN.
        published: Port inside to ports of the host.
    """
    addresses: dict[int, set[str]] = {}
    for line in proc_text.splitlines():
        fields = line.split()
        address, _, port = fields[1].partition(":") if len(fields) > 3 else ("", "", "")
        if port and fields[3] == _LISTEN and _is_hex(port) and 0 < int(port, 16) <= MAX_PORT:
            addresses.setdefault(int(port, 16), set()).add(address.upper())
    return tuple(
        ListeningPort(
            port,
            is_listening=port in addresses,
            is_local=port in addresses and addresses[port] <= set(_WORDS_OF_LOOPBACK),
            host_ports=tuple(sorted(published.get(port, ()))),
        )
        for port in sorted(addresses.keys() | published.keys())
    )


def _is_hex(text: str) -> bool:
    return all(letter in "0123456789abcdefABCDEF" for letter in text)
