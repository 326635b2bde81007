"""How the client asks: one connection for each request, answers as documents, streams as lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ds01.client.transport import READING_TIMEOUT_S, Request, Transport, error_from, parse_document
from ds01.client.wire import broken, quote

TYPE_CHECKING = False  # the name that checkers know, without the import of typing that costs 5 ms
if TYPE_CHECKING:
    from typing import Any

    from ds01.api import schema
    from ds01.api.location import Location
    from ds01.api.place import Place

LINES_TYPE = "application/x-ndjson"
ACTING_TIMEOUT_S = 3600.0 + 900.0
"""Seconds for a request that changes something: a stop waits for the programs' grace, an hour at most, and a creation
for a pull. A daemon that ends is known at once; this is for one that hangs."""


class Calls:
    """Asks the daemon of one place. Every request has its own connection; nothing is kept open in between."""

    def __init__(
        self,
        location: Location | Place,
        *,
        may_start: bool = True,
        timeout_s: float = READING_TIMEOUT_S,
        launcher: Callable[[Location | Place], None] | None = None,
    ) -> None:
        """Ask the daemon of `location`.

        Args:
            location: Where it is.
            may_start: A personal one that is not there is started.
            timeout_s: How long reading requests may take.
            launcher: Starts a personal daemon; `client.launch.launch` if not given.
        """
        self._transport = Transport(location, may_start=may_start, launcher=launcher)
        self._timeout_s = timeout_s

    def _stream(self, target: str, body: Mapping[str, object], what: str) -> Iterator[schema.ProgressMessage]:
        return self._lines(Request("POST", target, body, timeout_s=None, accept=LINES_TYPE), what)

    def _lines(self, request: Request, what: str) -> Iterator[schema.ProgressMessage]:
        answer = self._transport.ask(request)
        try:
            for line in answer.lines():
                message: schema.ProgressMessage = parse_document(line, self._transport.path)
                if message.get("kind") == "problem":
                    raise error_from(message.get("problem") or {})
                yield message
                if message.get("kind") == "result":
                    return
            raise broken(self._transport.path, f"closed the connection before it had said how {what} ended")
        finally:
            answer.connection.close()

    def _get(self, target: str) -> Any:  # noqa: ANN401 - the caller names the document
        return self._transport.read(Request("GET", target, timeout_s=self._timeout_s))

    def _act(self, method: str, target: str, body: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401
        return self._transport.read(Request(method, target, body, timeout_s=ACTING_TIMEOUT_S))


def query_of(**values: str | int | bool | None) -> str:
    """Return a query; what is None or False is the default and stays away."""
    pairs = [
        f"{name}={'true' if value is True else quote(str(value))}"
        for name, value in values.items()
        if value is not None and value is not False
    ]
    return "?" + "&".join(pairs) if pairs else ""
