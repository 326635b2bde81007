"""Files of containers: what a path is, and archives in both directions."""

from contextlib import aclosing

from aiohttp import web

from ds01.api import schema
from ds01.daemon.call import Call
from ds01.daemon.documents import SCHEMA
from ds01.daemon.server import Handler
from ds01.daemon.stream_answer import BYTES
from ds01.service.copying import CopyService

WORKSPACE = "/workspace"


class FileHandlers:
    """Answers for files of containers."""

    def __init__(self, copying: CopyService) -> None:
        self._copying = copying

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {
            "find_path": self.find_path,
            "read_archive": self.read_archive,
            "write_archive": self.write_archive,
        }

    async def find_path(self, call: Call) -> schema.PathDocument:
        """What a path is."""
        stat = (await self._copying.find(call.uid, call.name, _path(call))).stat
        return schema.PathDocument(
            schema_version=SCHEMA,
            path=_path(call),
            exists=stat is not None,
            is_directory=stat is not None and stat.is_directory,
            is_regular=stat is not None and stat.is_regular,
            size_bytes=stat.size_bytes if stat else 0,
            link_target=stat.link_target if stat else "",
        )

    async def read_archive(self, call: Call) -> web.StreamResponse:
        """A file or folder, as it comes."""
        pieces = await self._copying.read(call.uid, call.name, _path(call))
        stream = await call.begin_stream(BYTES)
        async with aclosing(pieces):
            async for piece in pieces:
                await stream.write(piece)
        return await stream.end()

    async def write_archive(self, call: Call) -> schema.WrittenArchive:
        """Unpack what comes."""
        async with aclosing(call.pieces()) as pieces:
            await self._copying.write(call.caller, call.uid, call.name, _path(call), pieces)
        return schema.WrittenArchive(schema_version=SCHEMA, name=call.name, path=_path(call))


def _path(call: Call) -> str:
    return call.request.query.get("path", WORKSPACE)
