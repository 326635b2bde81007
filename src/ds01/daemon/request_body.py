"""The body of a request as it comes: how long it may take, and what is refused of it."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from aiohttp import ClientPayloadError, web

from ds01.api import codec
from ds01.errors import InvalidRequestError

PIECE_BYTES = 256 * 1024
_BROKEN_OFF = (ClientPayloadError, web.RequestPayloadError, ConnectionError)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client may take to send. Without an end, anybody could hold connections of the daemon for ever.

    Attributes:
        document_s: For a whole document, which is 1 MiB at most.
        archive_pause_s: Between two pieces of an archive; one that goes on may take as long as it likes.
    """

    document_s: float = 60.0
    archive_pause_s: float = 300.0


async def read_document(request: web.Request, patience: Patience) -> bytes:
    """Return the body.

    Raises:
        InvalidRequestError: It is too large, compressed, or did not come.
    """
    _require_plain(request)
    try:
        async with asyncio.timeout(patience.document_s):
            return await request.read()
    except TimeoutError as late:
        raise InvalidRequestError(f"The request did not come to its end within {patience.document_s:g} s.") from late
    except web.HTTPRequestEntityTooLarge as large:
        raise InvalidRequestError(f"The request is larger than {codec.MAX_BODY_BYTES} bytes.") from large
    except web.RequestPayloadError as broken:
        raise InvalidRequestError("The request is not HTTP.") from broken


async def read_archive(request: web.Request, patience: Patience) -> AsyncGenerator[bytes, None]:
    """Yield the body piece by piece.

    Raises:
        InvalidRequestError: It is compressed, the client has gone before its end, or sends nothing more.
    """
    _require_plain(request)
    try:
        while True:
            async with asyncio.timeout(patience.archive_pause_s):
                piece = await request.content.read(PIECE_BYTES)
            if not piece:
                return
            yield piece
    except TimeoutError as late:
        raise InvalidRequestError(
            f"The archive did not go on for {patience.archive_pause_s:g} s.", hint="Send it again as a whole."
        ) from late
    except _BROKEN_OFF as gone:
        raise InvalidRequestError("The archive was broken off by the client.") from gone


def _require_plain(request: web.Request) -> None:
    """Nothing is unpacked here: a few bytes could become any number, and a damaged body a bug of the daemon's."""
    coding = request.headers.get("Content-Encoding", "identity")
    if coding.lower() != "identity":
        raise InvalidRequestError(f"The body may not be compressed ({coding[:40]}).", hint="Send it as it is.")
