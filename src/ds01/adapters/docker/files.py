"""Files of a container, by the archive endpoint. Source: Engine API 1.41, ContainerArchive, PutContainerArchive."""

import base64
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from ds01.adapters.docker.address import container_path
from ds01.adapters.docker.calls import SLOW, EngineCalls
from ds01.adapters.docker.document import Document, parse_json
from ds01.adapters.docker.http import HttpResponse
from ds01.adapters.docker.session import Call
from ds01.adapters.docker.tar import pack, require_plain_path, unpack_file, without_padding
from ds01.domain.engine import FileChange, FileChangeKind
from ds01.errors import BackendError, ConflictError, NotFoundError
from ds01.service.ports import FileEntry, PathStat
from ds01.units import format_size

_STAT_HEADER = "X-Docker-Container-Path-Stat"
_MAX_LINKS = 8
_MAX_TAR_OVERHEAD_BYTES = 64 * 1024
# Go's fs.FileMode, not the system's. Source: https://pkg.go.dev/io/fs#FileMode
_GO_DIRECTORY = 1 << 31
_GO_LINK = 1 << 27
_GO_TYPE = (1 << 31) | _GO_LINK | (1 << 26) | (1 << 25) | (1 << 24) | (1 << 21) | (1 << 19)
_KINDS = {0: FileChangeKind.CHANGED, 1: FileChangeKind.ADDED, 2: FileChangeKind.REMOVED}
_NOTHING_THERE = (": not a directory", "evalSymlinksInScope: too many links", "too many levels of symbolic links")


class FileCalls(EngineCalls):
    """The files of containers. Links are resolved by the engine inside the container, so none leads out of it."""

    async def put_files(self, container: str, entries: Sequence[FileEntry]) -> None:
        """Write files into a container, running or not, as one uncompressed tar."""
        path = container_path(container, "archive")
        body = pack(entries)
        self.checkpoint(f"engine: put {len(entries)} files into container {container}")
        call = Call(
            "PUT",
            path,
            # a file never takes the place of a directory
            {"path": "/", "noOverwriteDirNonDir": "1"},
            body=body,
            content_type="application/x-tar",
            deadline=SLOW,
        )
        await self.session.change(call)

    async def list_changes(self, container: str) -> list[FileChange]:
        """Return what differs between a container and its image. Source: Engine API 1.41, ContainerChanges."""
        call = Call("GET", container_path(container, "changes"), deadline=SLOW)
        rows = (await self.session.read(call)).entries()
        found = (FileChange(row.text("Path"), _kind_of(row.number("Kind"), row)) for row in rows)
        return sorted(found, key=lambda change: change.path)

    async def find_path(self, container: str, path: str) -> PathStat | None:
        """Return what a path of a container is (a link itself, not its target), or None if there is nothing."""
        try:
            async with self._archive(container, require_plain_path(path) if path != "/" else path) as (stat, _response):
                return stat
        except NotFoundError:
            await self.inspect(container)  # raises if it is the container that is missing
            return None

    async def put_archive(self, container: str, path: str, archive: AsyncIterator[bytes]) -> None:
        """Unpack a plain tar, as it comes, below a directory of a container."""
        query = {"path": require_plain_path(path) if path != "/" else path, "noOverwriteDirNonDir": "1"}
        target = container_path(container, "archive")
        self.checkpoint(f"engine: put an archive into container {container}")
        call = Call(
            "PUT", target, query, body=without_padding(archive), content_type="application/x-tar", deadline=SLOW
        )
        await self.session.attend(call)

    async def stream_archive(self, container: str, path: str) -> AsyncGenerator[bytes, None]:
        """Yield a file or folder of a container as a plain tar."""
        here = require_plain_path(path) if path != "/" else path
        async with self._archive(container, here) as (_stat, response), aclosing(response.stream()) as pieces:
            async for piece in pieces:
                yield piece

    async def read_file(self, container: str, path: str, *, limit_bytes: int = 4 * 1024**2) -> bytes | None:
        """Return a regular file of a container (links followed inside), or None if there is none.

        Raises:
            ConflictError: The file is larger than `limit_bytes`.
        """
        target = await self._resolve(container, path)
        if target is None:
            return None
        try:
            async with self._archive(container, target) as (stat, response):
                if not stat.is_regular:
                    return None
                if stat.size_bytes > limit_bytes:
                    raise ConflictError(f"The file {path} of {container} is larger than {format_size(limit_bytes)}.")
                data = await response.read(limit_bytes=limit_bytes + _MAX_TAR_OVERHEAD_BYTES)
        except NotFoundError:
            return None  # it has gone since
        return unpack_file(data, limit_bytes=limit_bytes)

    async def path_exists(self, container: str, path: str) -> bool:
        """Tell whether a path exists in a container; a link counts if its target exists."""
        return await self._resolve(container, path) is not None

    async def _resolve(self, container: str, path: str) -> str | None:
        """Return the path behind all links, or None if nothing is there."""
        here = require_plain_path(path) if path != "/" else path
        for _ in range(_MAX_LINKS):
            try:
                async with self._archive(container, here) as (stat, _response):
                    if not stat.link_target:
                        return here
                    here = stat.link_target
            except NotFoundError:
                await self.inspect(container)  # raises if it is the container that is missing
                return None
            except BackendError as error:
                if any(words in error.message for words in _NOTHING_THERE):
                    return None
                raise
        return None

    @asynccontextmanager
    async def _archive(self, container: str, path: str) -> AsyncIterator[tuple[PathStat, HttpResponse]]:
        """The tar of a path, unread. GET and not HEAD, because an error of HEAD comes without words."""
        call = Call("GET", container_path(container, "archive"), {"path": path}, deadline=SLOW)
        async with self.session.open(call) as response:
            yield parse_path_stat(response.header(_STAT_HEADER)), response


def _kind_of(number: int, row: Document) -> FileChangeKind:
    if number not in _KINDS:
        raise row.wrong("a change of a file")
    return _KINDS[number]


def parse_path_stat(header: str) -> PathStat:
    """Return what the header of the archive endpoint says.

    Raises:
        BackendError: It is not what the engine sends.
    """
    try:
        text = base64.b64decode(header, validate=True)
    except ValueError as error:
        raise BackendError(f"The engine's header {_STAT_HEADER} is not base64.") from error
    document = parse_json(text, _STAT_HEADER)
    mode = document.number("mode")
    return PathStat(
        name=document.text("name", default=""),
        is_directory=mode & _GO_DIRECTORY != 0,
        is_regular=mode & _GO_TYPE == 0,
        size_bytes=document.number("size"),
        link_target=document.text("linkTarget", default="") if mode & _GO_LINK else "",
    )
