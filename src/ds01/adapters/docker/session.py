"""Calls to the engine: API version, deadlines, JSON, and errors in our words."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from ds01.adapters.docker.address import Query, with_query
from ds01.adapters.docker.document import Document, parse_json
from ds01.adapters.docker.http import Body, HttpClient, HttpLimits, HttpRequest, HttpResponse, UpgradedStream
from ds01.adapters.docker.translation import status_error, translated_socket_errors
from ds01.adapters.docker.version import ApiVersion, chosen_version, require_docker
from ds01.errors import BackendError
from ds01.service.completion import complete

NOT_MODIFIED = 304
_ERROR_BODY_BYTES = 1024**2
_RAW_TYPES = frozenset({"application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream"})


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the Engine API.

    Attributes:
        method: Such as GET.
        path: Path without the version, quoted.
        query: Query.
        body: JSON object, or bytes, or pieces of bytes.
        content_type: Type of a body that is not JSON.
        deadline: Longest wait for the head of the answer; None: the client's.
    """

    method: str
    path: str
    query: Query = field(default_factory=dict)
    body: Mapping[str, object] | Body | None = None
    content_type: str = "application/octet-stream"
    deadline: timedelta | None = None


class EngineSession:
    """The engine behind one socket. Its API version is asked for before the first call, and again after a failure."""

    def __init__(self, socket_path: str, *, limits: HttpLimits | None = None) -> None:
        self._path = socket_path
        self._http = HttpClient(socket_path, peer="The container engine", limits=limits)
        self._version: ApiVersion | None = None
        self._negotiation = asyncio.Lock()

    @asynccontextmanager
    async def open(self, call: Call, *, accepts: frozenset[int] = frozenset()) -> AsyncIterator[HttpResponse]:
        """Make a call and hand out its answer with the body unread.

        Args:
            call: The call.
            accepts: Statuses outside 200 to 299 that are no error.

        Raises:
            Ds01Error: As the table of `translation` says.
        """
        request = await self._request(call)
        with self._translated():
            async with self._http.open(request) as response:
                if not (200 <= response.status < 300 or response.status in accepts):
                    raise status_error(response.status, await response.read(limit_bytes=_ERROR_BODY_BYTES))
                yield response

    async def read(self, call: Call) -> Document:
        """Make a call and return the JSON document that it answers with."""
        async with self.open(call) as response:
            return parse_json(await response.read(), call.path)

    async def change(self, call: Call) -> None:
        """Make a call whose answer says nothing beyond its status; "it is so already" is fine.

        The engine goes on with a change whose caller has left: broken off, it would come after an undoing had looked.
        So a cancellation is passed on when the change has ended.
        """
        await complete(self.attend(call))

    async def attend(self, call: Call) -> None:
        """Make a change that lasts as long as a program or a sender wants: a cancellation leaves it at once."""
        async with self.open(call, accepts=frozenset({NOT_MODIFIED})) as response:
            await response.read()

    async def make(self, call: Call) -> Document:
        """Make a call that changes something and return its document; a cancellation is passed on when it has ended."""
        return await complete(self.read(call))

    async def upgrade(self, call: Call) -> UpgradedStream:
        """Make a call that turns the connection into a raw stream.

        Raises:
            Ds01Error: The engine did not switch; as the table of `translation` says.
        """
        request = await self._request(call)
        with self._translated():
            answer = await self._http.upgrade(request, protocol="tcp", raw_types=_RAW_TYPES)
        if isinstance(answer, UpgradedStream):
            return answer
        if 200 <= answer.status < 300:
            raise BackendError("The container engine did not open a stream, though it did not refuse either.")
        raise status_error(answer.status, answer.body)

    async def api_version(self) -> ApiVersion:
        """Return the version that calls use.

        Raises:
            BackendError: The engine is too old, or not Docker.
        """
        if self._version is None:
            async with self._negotiation:
                if self._version is None:
                    self._version = await self._negotiate()
        return self._version

    def close(self) -> None:
        """End every running call; streams that were handed out stay."""
        self._http.close()

    async def _negotiate(self) -> ApiVersion:
        with translated_socket_errors(self._path):
            async with self._http.open(HttpRequest("GET", "/_ping")) as response:
                body = await response.read(limit_bytes=_ERROR_BODY_BYTES)
                if response.status != 200:
                    raise status_error(response.status, body)
                require_docker(response.header("server"), response.header("libpod-api-version"))
                return chosen_version(response.header("api-version"))

    async def _request(self, call: Call) -> HttpRequest:
        major, minor = await self.api_version()
        headers: dict[str, str] = {}
        body: Body | None
        if isinstance(call.body, Mapping):
            headers["Content-Type"] = "application/json"
            body = json.dumps(call.body).encode()
        else:
            body = call.body
            if body is not None:
                headers["Content-Type"] = call.content_type
        return HttpRequest(
            call.method,
            with_query(f"/v{major}.{minor}{call.path}", call.query),
            headers=headers,
            body=body,
            head_deadline=call.deadline,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with translated_socket_errors(self._path):
                yield
        except BackendError:
            self._version = None  # the engine may come back as another version
            raise
