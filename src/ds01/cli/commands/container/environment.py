"""Variables and ports as people type them."""

import re
from collections.abc import Iterable, Mapping

from ds01.api.schema import PortBody
from ds01.errors import InvalidRequestError

MAX_PORT = 65535
_NAME = re.compile(r"[^=\0]+")
_PORT = re.compile(r"(?:(?P<host>\d{1,5}):)?(?P<container>\d{1,5})(?:/(?P<protocol>tcp|udp))?")


def parse_environment(texts: Iterable[str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `NAME=VALUE`; a bare `NAME` takes our own value, and is left out if we have none.

    Raises:
        InvalidRequestError: No name.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, has_value, value = text.partition("=")
        if not _NAME.fullmatch(name):
            raise InvalidRequestError(
                f"{text!r} names no variable.", hint="Write -e NAME=VALUE, or -e NAME to pass yours on."
            )
        if has_value:
            found[name] = value
        elif name in own:
            found[name] = own[name]
    return found


def parse_port(text: str) -> PortBody:
    """Return the port that `CONTAINER`, `HOST:CONTAINER` or either with `/udp` says.

    Raises:
        InvalidRequestError: Not a port; addresses are refused because only loopback is published.
    """
    match = _PORT.fullmatch(text)
    if match is None:
        raise InvalidRequestError(
            f"{text!r} is not a port to publish.",
            hint="Write -p 8888, or -p 9000:8888 for port 9000 here; it is published on 127.0.0.1 only.",
        )
    body: PortBody = {"container_port": _number(match["container"], text)}
    if match["host"]:
        body["host_port"] = _number(match["host"], text)
    if match["protocol"] == "udp":
        body["protocol"] = "udp"
    return body


def _number(digits: str, text: str) -> int:
    number = int(digits)
    if not 1 <= number <= MAX_PORT:
        raise InvalidRequestError(f"{text!r}: there is no port {number}.", hint=f"Ports are 1 to {MAX_PORT}.")
    return number
