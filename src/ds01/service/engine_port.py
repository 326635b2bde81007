"""The port of the container engine. A part of ds01.service.ports, from where everybody imports it."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from ds01.domain.containers.container import (
    ContainerDetails,
    ContainerSpec,
    ContainerStats,
    ContainerSummary,
    ResourceLimits,
)
from ds01.domain.engine import (
    BuildProgress,
    BuildSpec,
    EngineEvent,
    EngineInfo,
    ExecResult,
    ExecSpec,
    ExecState,
    FileChange,
    FileEntry,
    ImageDetails,
    PathStat,
    PullProgress,
)


class RawStream(Protocol):
    """A connected byte stream to the engine after its upgrade, with the socket at hand so that it can be passed on."""

    @property
    def initial(self) -> bytes:
        """Bytes that came together with the engine's answer, to be delivered first."""
        ...

    def detach_fd(self) -> int:
        """Give the descriptor away: from now on the caller owns and closes it."""
        ...

    def close(self) -> None:
        """Close it; twice is allowed."""
        ...


class Engine(Protocol):
    """The Docker Engine. Every method raises BackendError when the engine fails or cannot be reached.

    "Not found" is NotFoundError, "the state forbids it" or "the name is taken" is ConflictError, both with the engine's
    reason. Ids and names are passed as one path segment each. A change that has begun comes to its end before a
    cancellation is passed on: whoever undoes it then sees what there is. A stop and an upload are left at once.
    """

    async def get_info(self) -> EngineInfo:
        """Return what the engine says of itself; refuses podman and API versions below 1.41 (BackendError)."""
        ...

    async def list_containers(self) -> list[ContainerSummary]:
        """Return every container, whoever's and in whatever state. Never asks for sizes."""
        ...

    async def get_container(self, container: str) -> ContainerDetails:
        """Return one container by id or name."""
        ...

    async def find_container(self, container: str) -> ContainerDetails | None:
        """Return one container by id or name, or None if there is none."""
        ...

    async def create_container(self, spec: ContainerSpec) -> str:
        """Create a container and return its full id."""
        ...

    async def start_container(self, container: str) -> None:
        """Start it; one that runs already is fine."""
        ...

    async def stop_container(self, container: str, *, grace: timedelta) -> None:
        """Stop it: its stop signal, then after `grace` SIGKILL; one that is stopped already is fine."""
        ...

    async def kill_container(self, container: str, *, signal: str) -> None:
        """Send a signal to PID 1."""
        ...

    async def pause_container(self, container: str) -> None:
        """Freeze its programs where they are; one that is paused already is fine."""
        ...

    async def unpause_container(self, container: str) -> None:
        """Let its programs go on; one that is not paused is fine."""
        ...

    async def rename_container(self, container: str, name: str) -> None:
        """Give it another name; ConflictError when that is taken. Its own name again is fine."""
        ...

    async def remove_container(self, container: str, *, force: bool = False) -> None:
        """Remove it and its anonymous volumes; one that is gone already is fine."""
        ...

    async def update_container(self, container: str, limits: ResourceLimits) -> None:
        """Change what an engine can change of a container that exists: cpus, memory, memory and swap, pids.

        Args:
            container: Id or name; it may run.
            limits: 0 leaves a limit as it is. What is not one of the four is not looked at.
        """
        ...

    async def measure_container(self, container: str) -> int:
        """Return the bytes that it has written outside of its mounts. Takes its time: the engine walks the files."""
        ...

    async def list_changes(self, container: str) -> list[FileChange]:
        """Return what differs between a container, running or not, and its image, mounts left out, by path.

        Takes its time: the engine walks the files.
        """
        ...

    async def put_files(self, container: str, entries: Sequence[FileEntry]) -> None:
        """Write files into a container, running or not, as one uncompressed tar."""
        ...

    async def find_path(self, container: str, path: str) -> PathStat | None:
        """Return what a path of a container is (a link itself, not its target), or None if there is nothing."""
        ...

    async def put_archive(self, container: str, path: str, archive: AsyncIterator[bytes]) -> None:
        """Unpack a plain tar, as it comes, below a directory of a container, running or not.

        The engine resolves links inside the container; a file never takes the place of a directory.

        Raises:
            NotFoundError: There is no such container or directory.
            InvalidRequestError: It is no directory, or no tar.
        """
        ...

    def stream_archive(self, container: str, path: str) -> AsyncGenerator[bytes, None]:
        """Yield a file or folder of a container as a plain tar whose entries begin with its last segment.

        Raises:
            NotFoundError: There is nothing at this path.
        """
        ...

    async def read_file(self, container: str, path: str, *, limit_bytes: int = 4 * 1024**2) -> bytes | None:
        """Return a regular file of a container (links followed inside), or None if there is none."""
        ...

    async def path_exists(self, container: str, path: str) -> bool:
        """Tell whether a path exists in a container."""
        ...

    async def get_stats(self, container: str) -> ContainerStats:
        """Return one reading with the one before it."""
        ...

    async def list_processes(self, container: str) -> list[Mapping[str, str]]:
        """Return the processes of a running container: column title to text."""
        ...

    def stream_logs(
        self, container: str, *, follow: bool = False, tail: int | None = None, timestamps: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """Yield the output of PID 1 as chunks, stdout and stderr merged."""
        ...

    async def create_exec(self, container: str, spec: ExecSpec) -> str:
        """Prepare a program in a running container and return the exec's id."""
        ...

    async def start_exec(self, exec_id: str, *, has_terminal: bool) -> RawStream:
        """Start it and return its stream, after the engine's 101."""
        ...

    async def resize_exec(self, exec_id: str, *, rows: int, columns: int) -> None:
        """Set the size of its terminal."""
        ...

    async def get_exec(self, exec_id: str) -> ExecState:
        """Return its state."""
        ...

    async def run_exec(self, container: str, spec: ExecSpec, *, deadline: timedelta) -> ExecResult:
        """Run a program to its end without stdin or terminal.

        Raises:
            BackendTimeoutError: It did not end in time.
        """
        ...

    async def attach_container(self, container: str, *, has_stdin: bool = True) -> RawStream:
        """Return the stream of PID 1: raw where it has a terminal, else in frames. No key leaves it."""
        ...

    async def resize_container(self, container: str, *, rows: int, columns: int) -> None:
        """Set the size of PID 1's terminal."""
        ...

    async def find_image(self, reference: str) -> ImageDetails | None:
        """Return an image that the engine has, or None."""
        ...

    async def list_images(self, *, measures_shared: bool = False) -> list[ImageDetails]:
        """Return the images that the engine has (configuration fields are left empty).

        With `measures_shared` also what they share, which takes a while, where the engine can say it.
        """
        ...

    def pull_image(self, reference: str) -> AsyncGenerator[PullProgress, None]:
        """Pull an image and yield its progress; NotFoundError where the registry has none."""
        ...

    async def tag_image(self, image: str, reference: str) -> None:
        """Give an image a further name."""
        ...

    async def remove_image(self, reference: str) -> None:
        """Remove a tag, and the image when it was the last; one that is gone already is fine."""
        ...

    def build_image(
        self, spec: BuildSpec, context: bytes | AsyncIterator[bytes]
    ) -> AsyncGenerator[BuildProgress, None]:
        """Build an image of a tar with its Dockerfile and yield its output; the last message has the image's id.

        Closing the iterator before its end ends the build.

        Raises:
            BackendError: A step failed; the words are the engine's.
        """
        ...

    async def commit_container(self, container: str, reference: str, *, pause: bool = True) -> str:
        """Make an image of a container's files and return its id; a running one is frozen meanwhile."""
        ...

    def save_images(self, references: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """Yield images with all their layers as one tar."""
        ...

    async def load_images(self, archive: AsyncIterator[bytes]) -> tuple[str, ...]:
        """Load a tar of images and return their names, or ids where they have none.

        Raises:
            BackendError: It is no such archive, or a layer of it is broken.
        """
        ...

    def watch_events(self, *, since: str | None = None) -> AsyncGenerator[EngineEvent, None]:
        """Yield the engine's events from the cursor on, without end; ends or raises when the connection breaks."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...
