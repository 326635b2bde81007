"""Images that are made here: builds, commits, and images as archives."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import timedelta

from ds01.adapters.docker.address import container_path, require_reference, split_reference
from ds01.adapters.docker.build_trace import TRACE_ID, BuildTrace
from ds01.adapters.docker.calls import SLOW, EngineCalls
from ds01.adapters.docker.document import Document
from ds01.adapters.docker.session import Call
from ds01.adapters.docker.tar import without_padding
from ds01.adapters.docker.translation import printable
from ds01.domain.engine import BuildProgress, BuildSpec
from ds01.errors import BackendError, BuildStepError, InvalidRequestError

CPU_PERIOD_US = 100_000
BUILD_HEAD = timedelta(minutes=30)
"""Longest wait for the head of a build's answer: the classic builder sends it with its first line of output."""
TAR = "application/x-tar"


class BuildCalls(EngineCalls):
    """Makes images."""

    async def build_image(
        self, spec: BuildSpec, context: bytes | AsyncIterator[bytes]
    ) -> AsyncGenerator[BuildProgress, None]:
        """Build an image and yield its output. Source: Engine API 1.41, ImageBuild.

        Closing the iterator before its end ends the build.

        Raises:
            InvalidRequestError: The Dockerfile cannot be read.
            BuildStepError: A step failed; the words are the engine's.
            BackendError: The engine failed.
        """
        require_reference(spec.tag)
        query = {
            "t": spec.tag,
            "dockerfile": spec.dockerfile,
            "rm": "1",
            "forcerm": "1",
            "nocache": "1" if spec.ignores_cache else "0",
            "labels": json.dumps(dict(spec.labels)),
            "buildargs": json.dumps(dict(spec.arguments)),
            "networkmode": spec.network,
            "memory": str(spec.memory_bytes),
            "memswap": str(spec.memory_bytes),
            "cpuperiod": str(CPU_PERIOD_US if spec.nano_cpus else 0),
            "cpuquota": str(spec.nano_cpus * CPU_PERIOD_US // 10**9),
            "version": "2" if spec.uses_buildkit else "1",
        }
        if spec.cgroup_parent:
            query["cgroupparent"] = spec.cgroup_parent
        self.checkpoint(f"engine: build image {spec.tag}")
        call = Call("POST", "/build", query, body=without_padding(context), content_type=TAR, deadline=BUILD_HEAD)
        trace = BuildTrace()
        async with aclosing(self.stream_documents(call)) as documents:
            async for document in documents:
                if document.text("id", default="") == TRACE_ID:
                    for text in trace.texts(document.text("aux", default="")):
                        yield BuildProgress(text)
                    continue
                progress = _progress_of(document)
                if progress is not None:
                    yield progress

    async def commit_container(self, container: str, reference: str, *, pause: bool = True) -> str:
        """Make an image of a container's files and return its id. Source: Engine API 1.41, ImageCommit.

        Args:
            container: Id or name; running or not.
            reference: Name of the image.
            pause: Freeze a running one meanwhile, so that its files belong together.
        """
        container_path(container)
        repository, tag = split_reference(reference)
        query = {"container": container, "repo": repository, "tag": tag, "pause": "1" if pause else "0"}
        self.checkpoint(f"engine: commit container {container}")
        answer = await self.session.make(Call("POST", "/commit", query, body={}, deadline=SLOW))
        return answer.text("Id")

    async def save_images(self, references: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """Yield images with all their layers as one tar. Source: Engine API 1.41, ImageGetAll."""
        names = ",".join(require_reference(reference) for reference in references)
        async with aclosing(self.stream(Call("GET", "/images/get", {"names": names}, deadline=SLOW))) as pieces:
            async for piece in pieces:
                yield piece

    async def load_images(self, archive: AsyncIterator[bytes]) -> tuple[str, ...]:
        """Load a tar of images and return their names, or ids where they have none. Source: Engine API, ImageLoad.

        Raises:
            InvalidRequestError: A layer has one path twice.
            BackendError: It is no such archive, or a layer is broken.
        """
        self.checkpoint("engine: load images")
        call = Call("POST", "/images/load", {"quiet": "1"}, body=archive, content_type=TAR, deadline=SLOW)
        loaded: list[str] = []
        async with aclosing(self.stream_documents(call)) as documents:
            async for document in documents:
                _require_no_failure(document)
                progress = _progress_of(document)
                words = progress.text.strip() if progress is not None else ""
                for opening in ("Loaded image ID: ", "Loaded image: "):
                    if words.startswith(opening):
                        loaded.append(words.removeprefix(opening))
                        break
        return tuple(loaded)


def _error_of(document: Document) -> str:
    return document.child("errorDetail").text("message", default="") or document.text("error", default="")


def _require_no_failure(document: Document) -> None:
    """The engine's own store takes no layer that has a path twice: the file is to blame, not the engine."""
    words = _error_of(document)
    if "duplicates of file paths" in words:
        raise InvalidRequestError("A layer of the file has one path twice.", hint="Make the file again.")
    if words:
        raise BackendError(printable(words))


def _progress_of(document: Document) -> BuildProgress | None:
    words = _error_of(document)
    if words:
        raise BuildStepError(printable(words))
    identifier = document.child("aux").text("ID", default="")
    if identifier:
        return BuildProgress("", image_id=identifier)
    text = document.text("stream", default="") or _pulling(document)
    return BuildProgress(text) if text else None


def _pulling(document: Document) -> str:
    """Return a line about a layer of the base image; how many bytes it has is said far too often."""
    status, layer = document.text("status", default=""), document.text("id", default="")
    if not status or document.child("progressDetail").optional_number("current") is not None:
        return ""
    return f"{layer}: {status}\n" if layer else f"{status}\n"
