"""The API on a real Unix socket in front of a world of fakes."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from ds01.daemon.catalogue_files import CatalogueFiles
from ds01.daemon.export import EventExport
from ds01.daemon.feed import AnnouncingStore, EventFeed
from ds01.daemon.front import Trail, build_server
from ds01.daemon.policy_file import PolicyFile
from ds01.daemon.request_body import Patience
from ds01.daemon.server import ApiServer
from ds01.daemon.site_files import SiteFiles
from ds01.daemon.streams import StreamRelay
from ds01.daemon.tiers_file import TiersFile
from ds01.domain.event import Event
from ds01.domain.user import User
from ds01.errors import NotFoundError
from tests.fakes import ALICE, FakeAccounts
from tests.unit.service.stage import Stage

ME = os.getuid()


class DressedAccounts(FakeAccounts):
    """The account database in which the user who runs the tests is somebody else."""

    def __init__(self, user: User | None) -> None:
        super().__init__()
        self.me = user
        self.lookups = 0

    def get_user(self, uid: int) -> User:
        self.lookups += 1
        if uid != ME or self.me is None:
            if uid == ME:
                raise NotFoundError(f"The uid {uid} has no account.")
            return super().get_user(uid)
        return self.me


@dataclass
class Answer:
    """An answer of the API."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


@dataclass
class House:
    """A running server, and a client of its own.

    Attributes:
        stage: The world.
        path: The socket.
        server: The API.
        relay: Open streams.
        accounts: Says who the tests' own user is.
        left: Reasons with which the daemon was told to leave.
    """

    stage: Stage
    path: Path
    server: ApiServer
    relay: StreamRelay
    accounts: DressedAccounts
    left: list[str] = field(default_factory=list)

    async def ask(
        self, method: str, target: str, body: object = None, *, raw: bytes | None = None, accept: str = ""
    ) -> Answer:
        """Send one request on a connection of its own."""
        reader, writer = await asyncio.open_unix_connection(str(self.path), limit=2**24)
        data = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
        head = f"{method} {target} HTTP/1.1\r\nHost: ds01\r\nConnection: close\r\nContent-Length: {len(data)}\r\n"
        if accept:
            head += f"Accept: {accept}\r\n"
        writer.write(head.encode() + b"\r\n" + data)
        try:
            return await read_answer(reader)
        finally:
            writer.close()


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one answer to its end."""
    status = int((await reader.readline()).split()[1])
    headers: dict[str, str] = {}
    while line := (await reader.readline()).strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    if status == 101:
        return Answer(status, headers, b"")
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        return Answer(status, headers, body)
    return Answer(status, headers, await reader.readexactly(int(headers["content-length"])))


async def name_nobody(events: Sequence[Event]) -> dict[int, str]:
    assert events
    return {}


def pass_on(step: str) -> None:
    assert step


@asynccontextmanager
async def open_house(
    folder: Path,
    *,
    stage: Stage | None = None,
    user: User | None = ALICE,
    personal: bool = False,
    aime_dir: Path | None = None,
    patience: Patience | None = None,
) -> AsyncIterator[House]:
    """Serve the API for the block.

    Args:
        folder: For the socket.
        stage: The world; None: a new one with an image.
        user: Who the tests' own user is; None: nobody.
        personal: A personal daemon of that user.
        aime_dir: Folder of a live AIME installation.
        patience: How long clients may take to send; None: as the daemon.
    """
    if stage is None:
        stage = Stage()
        stage.add_image()
    accounts = DressedAccounts(user)
    stage.accounts = accounts
    stage.only_uid = ME if personal else None
    services = stage.boot()
    relay = StreamRelay()
    left: list[str] = []
    files = SiteFiles(
        PolicyFile(folder, stage.policy),
        CatalogueFiles(folder, lambda: str(aime_dir) if aime_dir else None),
        TiersFile(folder),
    )
    world, feed = stage.world(), EventFeed()
    export = EventExport(folder, world.store, feed, name_nobody, clock=world.clock, checkpoint=pass_on)
    world = replace(world, store=AnnouncingStore(world.store, feed))
    trail = Trail(feed, export)
    server = build_server(
        world, services, files, trail, relay, only_uid=stage.only_uid, leave=left.append, patience=patience
    )
    runner = server.runner(1)
    await runner.setup()
    path = folder / "api.sock"
    await web.UnixSite(runner, str(path)).start()
    house = House(stage, path, server, relay, accounts, left)
    try:
        yield house
    finally:
        await relay.close()
        await runner.cleanup()
        await stage.engine.close()
