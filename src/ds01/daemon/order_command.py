"""An order as the command that asks for it: what would help is said as something to copy."""

import shlex
from collections.abc import Iterable, Sequence

from ds01.service.order import CreateOrder
from ds01.units import format_cpus, format_size_exact

_SIZES = (("memory", "--memory"), ("memory_swap", "--memory-swap"), ("shm_size", "--shm-size"))


def create_command(order: CreateOrder, options: Sequence[str]) -> str:
    """Return `ds01 create ...` for an order with other wishes about GPUs and time."""
    return shlex.join(["ds01", "create", order.name, *_image(order), *options, *_rest(order)])


def _image(order: CreateOrder) -> Iterable[str]:
    image = order.image
    if image.framework is not None:
        yield image.framework
        if image.version is not None:
            yield image.version
    if image.image is not None:
        yield from ("--image", image.image)
    if image.architecture is not None:
        yield from ("--arch", image.architecture)


def _rest(order: CreateOrder) -> Iterable[str]:
    for option, folder in (("-w", order.workspace), ("-d", order.data), ("-m", order.models)):
        if folder is not None:
            yield from (option, folder)
    cpus = order.wishes.get("max_cpus")
    if cpus is not None:
        yield from ("--cpus", format_cpus(cpus))
    for limit, option in _SIZES:
        size = order.wishes.get(limit)
        if size is not None:
            yield from (option, format_size_exact(int(size)).upper())
    pids = order.wishes.get("pids_limit")
    if pids is not None:
        yield from ("--pids-limit", str(int(pids)))
    for name, value in order.environment.items():
        yield from ("-e", f"{name}={value}")
    for port in order.ports:
        host = f"{port.host_port}:" if port.host_port else ""
        protocol = "" if port.protocol == "tcp" else f"/{port.protocol}"
        yield from ("-p", f"{host}{port.container_port}{protocol}")
