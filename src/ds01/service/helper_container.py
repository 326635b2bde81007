"""Short-lived containers of our own: to read an image's files, to learn what the engine can set.

They have no GPU, no network, no user's files and none of the labels by which containers are listed. Their name alone
says what they are and which installation made them, so that one that a crash left behind is found and removed: by the
next daemon of that installation at once, by any other when it is old.
"""

import asyncio
import hashlib
import logging
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import timedelta

from ds01.domain.containers.container import ContainerSpec, ContainerSummary
from ds01.domain.name import EngineName
from ds01.errors import BackendTimeoutError, Ds01Error
from ds01.service.completion import complete
from ds01.service.ports import Clock, ContainerRow, Engine, ExecResult

log = logging.getLogger(__name__)
NAME_PREFIX = "ds01-helper-"
LEFT_BEHIND_AFTER = timedelta(minutes=10)
_NAME = re.compile(NAME_PREFIX + r"[0-9a-f]{16}\._\.\d+")


def is_helper_name(name: str) -> bool:
    """Tell whether an engine name is one of our short-lived containers."""
    return _NAME.fullmatch(name) is not None


def without_helpers(containers: list[ContainerSummary], by_id: Mapping[str, ContainerRow]) -> list[ContainerSummary]:
    """Leave out our short-lived containers, and one whose place another has that has not its name yet."""
    waits = [row for found in containers if is_helper_name(found.name) and (row := by_id.get(found.id)) is not None]
    left = {str(EngineName(row.name, row.uid)) for row in waits}
    return [
        found for found in containers if found.id in by_id or not (is_helper_name(found.name) or found.name in left)
    ]


class HelperContainers:
    """Makes them, and removes them whatever happens."""

    def __init__(self, engine: Engine, clock: Clock, *, key: bytes) -> None:
        """Make them.

        Args:
            engine: The engine.
            clock: The time.
            key: The installation's own: several may share an engine, and each removes only its own at once.
        """
        self._engine = engine
        self._clock = clock
        self._prefix = NAME_PREFIX + hashlib.sha256(b"helper:" + key).hexdigest()[:8]
        self._in_use: set[str] = set()
        self._is_clear = False

    async def clear(self) -> None:
        """Remove what an earlier daemon of this installation left behind; done once, the engine is not asked again.

        Raises:
            BackendError: The engine does not answer.
        """
        if self._is_clear:
            return
        for container in await self._engine.list_containers():
            is_own = is_helper_name(container.name) and container.name.startswith(self._prefix)
            if is_own and container.name not in self._in_use:
                await self._engine.remove_container(container.id, force=True)
                log.info("the helper container %s was left behind and is gone", container.name)
        self._is_clear = True

    async def run(self, spec: ContainerSpec, *, deadline: timedelta) -> ExecResult:
        """Run a container to its end and return its output.

        Raises:
            BackendTimeoutError: It did not end in time.
            BackendError: The engine failed or refused to start it.
        """
        try:
            async with self._made(spec) as container, asyncio.timeout(deadline.total_seconds()):
                await self._engine.start_container(container)
                async with aclosing(self._engine.stream_logs(container, follow=True)) as chunks:
                    output = b"".join([chunk async for chunk in chunks])
                while (details := await self._engine.get_container(container)).state.has_processes:
                    await self._clock.sleep(timedelta(milliseconds=50))
                return ExecResult(details.exit_code or 0, output.decode("utf-8", "replace"), "")
        except TimeoutError as late:
            raise BackendTimeoutError(f"A helper container of {spec.image} did not end within {deadline}.") from late

    async def read_files(
        self, image: str, paths: Sequence[str], checks: Sequence[str]
    ) -> tuple[dict[str, bytes], set[str]]:
        """Return files of an image and which of some paths exist, without running anything.

        Args:
            image: Id or reference.
            paths: Files to read; those that do not exist are left out of the answer.
            checks: Paths whose existence is asked.
        """
        spec = ContainerSpec(
            EngineName("read", 0), image, 0, 0, entrypoint=("sh",), has_terminal=False, network="none", working_dir="/"
        )
        contents: dict[str, bytes] = {}
        async with self._made(spec) as container:
            for path in paths:
                content = await self._engine.read_file(container, path)
                if content is not None:
                    contents[path] = content
            return contents, {path for path in checks if await self._engine.path_exists(container, path)}

    @asynccontextmanager
    async def _made(self, spec: ContainerSpec) -> AsyncIterator[str]:
        """Make a container for the block. Its name is known before, so one whose making had no answer goes too."""
        name = EngineName(self._prefix + secrets.token_hex(4), 0)
        self._in_use.add(str(name))
        try:
            # broken off in the middle, the engine would make it after it was looked for to be removed
            yield await complete(self._engine.create_container(replace(spec, engine_name=name)))
        finally:
            await complete(self._remove(str(name)))
            self._in_use.discard(str(name))

    async def _remove(self, name: str) -> None:
        try:
            await self._engine.remove_container(name, force=True)
        except Ds01Error as failure:  # reconcile finds it by its name
            log.warning("the helper container %s is left behind: %s", name, failure)
