"""The HTTP server on the Unix socket: identity, routing, errors. The only place where a bug becomes an answer."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ds01 import VERSION
from ds01.api import codec, problem
from ds01.api.route import Route
from ds01.api.routes import ROUTES
from ds01.daemon.audit import Audit
from ds01.daemon.call import Call
from ds01.daemon.identity import Identities, read_peer
from ds01.daemon.request_body import Patience, read_document
from ds01.daemon.stream_answer import VERSION_HEADER
from ds01.errors import Ds01Error, ForbiddenError, InvalidRequestError, NotFoundError

log = logging.getLogger(__name__)
JSON = "application/json"
KEEP_ALIVE_S = 5.0
"""How long a connection may be silent before a request; its head has to come in this time too."""
Handler = Callable[[Call], Awaitable[object]]
_PATHS = tuple((route.method, re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(route.path)))) for route in ROUTES)


class ApiServer:
    """Serves the routes. A handler returns a document, or a response of its own."""

    def __init__(
        self,
        identities: Identities,
        handlers: dict[str, Handler],
        audit: Audit,
        *,
        patience: Patience | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identities = identities
        self._handlers = handlers
        self._audit = audit
        self._patience = patience or Patience()
        self._monotonic = monotonic
        self.last_request = monotonic()
        self.requests_under_way = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def wait_until_idle(self) -> None:
        """Wait until no request is under way."""
        await self._is_idle.wait()

    def runner(self, shutdown_s: float) -> web.AppRunner:
        """Return what serves every route of the table, on sockets that are still to be given to it.

        Args:
            shutdown_s: How long requests may go on when it is told to end.
        """
        return web.AppRunner(
            self._application(),
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=shutdown_s,
            keepalive_timeout=KEEP_ALIVE_S,
            auto_decompress=False,  # a body that is compressed is refused
        )

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=codec.MAX_BODY_BYTES)
        for route in ROUTES:
            application.router.add_route(route.method, route.path, self._endpoint(route, self._handlers[route.name]))
        application.router.add_route("*", "/{tail:.*}", self._unknown)
        return application

    def _endpoint(self, route: Route, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.requests_under_way += 1
            self._is_idle.clear()
            self.last_request = self._monotonic()
            try:
                return await self._answer(route, handler, request)
            finally:
                self.requests_under_way -= 1
                if not self.requests_under_way:
                    self._is_idle.set()
                self.last_request = self._monotonic()

        return answer

    async def _answer(self, route: Route, handler: Handler, request: web.Request) -> web.StreamResponse:
        call: Call | None = None
        try:
            call = await self._call(route, request)
            call.require_known_parameters()
            answer = await handler(call)
            return answer if isinstance(answer, web.StreamResponse) else json_response(answer)
        except Ds01Error as error:
            failure = error
        except ConnectionError as gone:
            log.info("%s %s: the client is gone: %s", request.method, request.path, gone)
            failure = Ds01Error("The client is gone.")
        except Exception as bug:
            log.exception("%s %s", request.method, request.path)
            failure = Ds01Error(
                f"DS01 has a bug here ({type(bug).__name__}).",
                hint="Please report it; the daemon's log has the details.",
            )
        return await self._refuse(call, failure)

    async def _call(self, route: Route, request: web.Request) -> Call:
        if request.transport is None:
            raise ConnectionResetError("closed before it was read")
        peer = read_peer(request.transport.get_extra_info("socket"))
        try:
            caller = await self._identities.caller(peer)
        except ForbiddenError as refusal:
            await self._audit.refused(peer.uid, refusal)
            raise
        body = b"" if route.takes_archive else await read_document(request, self._patience)
        return Call(caller, route, request, body, self._patience)

    async def _refuse(self, call: Call | None, failure: Ds01Error) -> web.StreamResponse:
        if call is not None and isinstance(failure, ForbiddenError):
            await self._audit.refused(call.caller.uid, failure)
        if call is None or not call.streams:
            return problem_response(failure)
        try:
            return await call.streams[0].fail(failure)
        except ConnectionError:
            return call.streams[0].response

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        self.last_request = self._monotonic()
        hint = "GET /v1/openapi.json lists every route."
        taken = [method for method, path in _PATHS if path.fullmatch(request.path)]
        if taken:
            refusal = f"{request.path[:200]} does not take {request.method}, but {' and '.join(taken)}."
            return problem_response(InvalidRequestError(refusal, hint=hint))
        return problem_response(NotFoundError(f"There is no route {request.method} {request.path[:200]}.", hint=hint))


class MalformedRequests(logging.Filter):
    """Makes one line of what aiohttp logs about a request that is not HTTP: anybody could fill the log with traces."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, that of a malformed request without its trace."""
        failure = record.exc_info[1] if record.exc_info else None
        if isinstance(failure, HttpProcessingError):
            words = " ".join(failure.message.split())
            record.msg, record.args, record.exc_info = "malformed request: %s", (words[:200],), None
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        return True


def json_response(document: object) -> web.Response:
    """Return a document as the answer."""
    return web.Response(body=codec.encode(document), content_type=JSON, headers={VERSION_HEADER: VERSION})


def problem_response(error: Ds01Error) -> web.Response:
    """Return an error as a problem document."""
    document = problem.problem_of(error)
    return web.Response(
        body=codec.encode(document),
        status=document["status"],
        content_type=problem.CONTENT_TYPE,
        headers={VERSION_HEADER: VERSION},
    )
