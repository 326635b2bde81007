"""Answers that come bit by bit: lines of progress, or plain bytes."""

import json
from collections.abc import Mapping

from aiohttp import web

from ds01 import VERSION
from ds01.api import problem
from ds01.errors import Ds01Error

VERSION_HEADER = "DS01-Version"
LINES = "application/x-ndjson"
BYTES = "application/octet-stream"


class StreamAnswer:
    """An answer whose head has been sent. What fails later can only be said in its body, or by breaking it off."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self.response = response

    @classmethod
    async def begin(cls, request: web.Request, content_type: str) -> "StreamAnswer":
        """Send the head.

        Args:
            request: What is answered.
            content_type: LINES or BYTES.
        """
        response = web.StreamResponse(headers={"Content-Type": content_type, VERSION_HEADER: VERSION})
        await response.prepare(request)
        return cls(request, response)

    async def write(self, data: bytes) -> None:
        """Send some bytes."""
        await self.response.write(data)

    async def send(self, message: Mapping[str, object]) -> None:
        """Send one line of JSON."""
        await self.write(json.dumps(message).encode() + b"\n")

    async def end(self) -> web.StreamResponse:
        """Send the end; return what a handler returns."""
        await self.response.write_eof()
        return self.response

    async def fail(self, error: Ds01Error) -> web.StreamResponse:
        """Say the error as the last line. Bytes are broken off: whole, they would look like success."""
        if self.response.content_type == LINES:
            await self.send({"kind": "problem", "problem": problem.problem_of(error)})
            return await self.end()
        if self._request.transport is not None:
            self._request.transport.abort()
        return self.response
