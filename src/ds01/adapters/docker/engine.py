"""The Docker Engine behind the port `Engine`."""

from ds01.adapters.docker.builds import BuildCalls
from ds01.adapters.docker.containers import ContainerCalls
from ds01.adapters.docker.events import EventCalls
from ds01.adapters.docker.execs import ExecCalls
from ds01.adapters.docker.files import FileCalls
from ds01.adapters.docker.http import HttpLimits
from ds01.adapters.docker.images import ImageCalls
from ds01.adapters.docker.location import parse_location
from ds01.adapters.docker.parse import parse_info
from ds01.adapters.docker.session import Call, EngineSession
from ds01.adapters.docker.version import parse_api_version, require_supported_engine
from ds01.service.ports import Checkpoint, Engine, EngineInfo


class DockerEngine(ContainerCalls, FileCalls, ExecCalls, ImageCalls, BuildCalls, EventCalls):
    """A Docker Engine on a local Unix socket. Every call has a connection of its own, so any number may run at once.

    Iterators (`stream_logs`, `pull_image`, `watch_events`) hold a connection until they end: whoever leaves one early
    closes it with `contextlib.aclosing`.
    """

    def __init__(self, docker_host: str | None, *, checkpoint: Checkpoint, limits: HttpLimits | None = None) -> None:
        """Prepare; nothing is opened.

        Args:
            docker_host: Value of `DOCKER_HOST`; None or empty: the default socket.
            checkpoint: Passed before every call that changes something.
            limits: Sizes and deadlines.

        Raises:
            BackendError: Not a local Unix socket.
        """
        super().__init__(EngineSession(parse_location(docker_host), limits=limits), checkpoint)

    async def get_info(self) -> EngineInfo:
        """Return what the engine says of itself; refuses podman and API versions below 1.41 (BackendError)."""
        version = await self.session.read(Call("GET", "/version"))
        require_supported_engine(version)
        info = await self.session.read(Call("GET", "/info"))
        return parse_info(info, parse_api_version(version.text("ApiVersion")))

    async def close(self) -> None:
        """End every running call; streams that were handed out are their owners'."""
        self.session.close()


def as_port(engine: DockerEngine) -> Engine:
    """Return the engine as the services know it; the type checker proves that it has all that the port asks for."""
    return engine
