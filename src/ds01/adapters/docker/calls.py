"""What the groups of engine calls share."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta

from ds01.adapters.docker.address import container_path
from ds01.adapters.docker.document import Document
from ds01.adapters.docker.framing import OutputKind, demultiplex, json_lines
from ds01.adapters.docker.parse import parse_details
from ds01.adapters.docker.session import Call, EngineSession
from ds01.domain.containers.container import ContainerDetails
from ds01.service.ports import Checkpoint

SLOW = timedelta(minutes=5)
"""For calls that unpack, mount or wait on disks, counted from the end of any wait that was asked for."""


class EngineCalls:
    """A group of calls on one session.

    Attributes:
        session: The engine.
        checkpoint: Passed before every call that changes something.
    """

    def __init__(self, session: EngineSession, checkpoint: Checkpoint) -> None:
        self.session = session
        self.checkpoint = checkpoint

    async def stream(self, call: Call) -> AsyncGenerator[bytes, None]:
        """Make a call and yield the body of its answer as it comes."""
        async with self.session.open(call) as response, aclosing(response.stream()) as pieces:
            async for piece in pieces:
                yield piece

    async def stream_output(self, call: Call) -> AsyncGenerator[tuple[OutputKind, bytes], None]:
        """Make a call that answers with a multiplexed stream, and yield its pieces."""
        async with aclosing(self.stream(call)) as stream, aclosing(demultiplex(stream)) as pieces:
            async for kind, piece in pieces:
                yield kind, piece

    async def stream_documents(self, call: Call) -> AsyncGenerator[Document, None]:
        """Make a call that answers with lines of JSON, and yield them."""
        async with aclosing(self.stream(call)) as stream, aclosing(json_lines(stream, call.path)) as lines:
            async for line in lines:
                yield line

    async def inspect(self, container: str) -> Document:
        """Return the engine's document on a container."""
        return await self.session.read(Call("GET", container_path(container, "json")))

    async def get_container(self, container: str) -> ContainerDetails:
        """Return one container by id or name."""
        return parse_details(await self.inspect(container))
