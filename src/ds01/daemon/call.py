"""One request as the handlers see it: who asks, with which parameters and which document."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from aiohttp import web

from ds01.api import codec
from ds01.api.route import Route
from ds01.daemon.request_body import Patience, read_archive
from ds01.daemon.stream_answer import StreamAnswer
from ds01.domain.rules.access import Caller, acting_uid
from ds01.errors import InvalidRequestError

Document = TypeVar("Document")
_TRUE = frozenset({"1", "true", "yes"})
_FALSE = frozenset({"0", "false", "no", ""})


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        caller: Who asks.
        route: What is asked.
        request: The HTTP request.
        body: Its body.
        patience: How long an archive may take to come.
        streams: The stream that answers it, once its head has been sent.
    """

    caller: Caller
    route: Route
    request: web.Request
    body: bytes
    patience: Patience = field(default_factory=Patience)
    streams: list[StreamAnswer] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The container in the path."""
        return self.request.match_info["name"]

    @property
    def uid(self) -> int:
        """Whose container is meant: the caller's, or with `uid` another's for administrators.

        Raises:
            ForbiddenError: A user named somebody else.
        """
        return acting_uid(self.caller, self.integer("uid"))

    def flag(self, name: str) -> bool:
        """Return a boolean query parameter; missing is false.

        Raises:
            InvalidRequestError: Neither yes nor no.
        """
        text = self.request.query.get(name, "").lower()
        if text not in _TRUE | _FALSE:
            raise InvalidRequestError(
                f"{name}={text} is neither true nor false.", hint=f"Use {name}=1 or leave it out."
            )
        return text in _TRUE

    def integer(self, name: str) -> int | None:
        """Return a whole number of the query, or None.

        Raises:
            InvalidRequestError: It is none, or below 0.
        """
        text = self.request.query.get(name)
        if text is None:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 10:
            raise InvalidRequestError(f"{name}={text[:40]} is not a whole number.")
        return int(text)

    def document(self, kind: type[Document]) -> Document:
        """Return the body as a document.

        Raises:
            InvalidRequestError: It does not fit.
        """
        return codec.decode(self.body or b"{}", kind)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes, for a route that takes an archive.

        Raises:
            InvalidRequestError: It did not come to its end.
        """
        async with aclosing(read_archive(self.request, self.patience)) as pieces:
            async for piece in pieces:
                yield piece

    async def begin_stream(self, content_type: str) -> StreamAnswer:
        """Send the head of an answer that comes bit by bit. From now on an error is said in the stream."""
        stream = await StreamAnswer.begin(self.request, content_type)
        self.streams.append(stream)
        return stream

    def require_known_parameters(self) -> None:
        """Raise if the query has a parameter that the route does not know, or one twice.

        Raises:
            InvalidRequestError: The message names it.
        """
        known = {parameter.name for parameter in self.route.parameters}
        for name in self.request.query:
            if name not in known:
                raise InvalidRequestError(
                    f"The parameter {name!r} is unknown.", hint=f"Known: {', '.join(sorted(known)) or 'none'}."
                )
            if len(self.request.query.getall(name)) > 1:
                raise InvalidRequestError(f"The parameter {name!r} is repeated.")


def moment_of(name: str, text: str) -> datetime:
    """Return a moment of a query or a document.

    Raises:
        InvalidRequestError: It is none, or has no zone.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError) as failure:
        raise InvalidRequestError(f"{name}={text[:60]} is not a time.", hint="Write 2026-01-31T12:00:00Z.") from failure
    raise InvalidRequestError(f"{name}={text[:60]} has no time zone.", hint=f"Write {text[:60]}Z for UTC.")
