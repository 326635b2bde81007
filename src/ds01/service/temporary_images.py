"""Images that exist only while something is exported, imported or built. Their name alone says what they are."""

import logging
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Literal

from ds01.domain.images.image import is_moved_tag
from ds01.domain.name import EngineName, parse_engine_name
from ds01.errors import ConflictError, Ds01Error
from ds01.service.completion import complete
from ds01.service.move_repair import list_moves
from ds01.service.ports import World

log = logging.getLogger(__name__)
AFTERLIFE = timedelta(minutes=10)
"""The engine goes on with what a dead daemon has asked for: a copy of many files can appear after the next start."""
EARLY_PERIOD, LOOK_PERIOD = timedelta(seconds=15), timedelta(minutes=10)
_NAME = re.compile(r"ds01\.invalid/(?:export|import|pip)-[0-9a-f]{16}:.+\._\.(\d+)")
"""`.invalid` is nobody's registry (RFC 2606); the tag has the form of a private one, so no list of images shows it."""


def is_temporary(reference: str) -> bool:
    """Tell whether a name is one of ours that goes with the work it was made for."""
    return _NAME.fullmatch(reference) is not None


class TemporaryImages:
    """Gives them names, and removes them whatever happens; what a crash left behind goes after the next start.

    A copy of a container's files that `start --move` has made belongs here too, when nobody came to use it.
    """

    def __init__(self, world: World, *, only_uid: int | None) -> None:
        """Look after the images of one daemon.

        Args:
            world: The engine, and the store, which knows the copies that are used.
            only_uid: A personal daemon's user, whose images alone it removes; None: a server, everybody's.
        """
        self._engine = world.engine
        self._store = world.store
        self._clock = world.clock
        self._only_uid = only_uid
        self._in_use: set[str] = set()
        self._begun_at = self._next_look_at = world.clock.now()

    @asynccontextmanager
    async def named(self, kind: Literal["export", "import", "pip"], name: EngineName) -> AsyncIterator[str]:
        """Keep a name for the block. An image that has it afterwards loses it, and is gone if it has no other."""
        reference = f"ds01.invalid/{kind}-{secrets.token_hex(8)}:{name}"
        self._in_use.add(reference)
        try:
            yield reference
        finally:
            await complete(self._drop(reference))

    def is_in_use(self, reference: str) -> bool:
        """Tell whether an export or import under way needs the name."""
        return reference in self._in_use

    async def _drop(self, reference: str) -> None:
        try:
            await self._engine.remove_image(reference)
        except Ds01Error as failure:  # the next run of reconcile removes it
            log.warning("the temporary image %s is left behind: %s", reference, failure)
            self._next_look_at = self._clock.now()
        finally:
            self._in_use.discard(reference)

    async def clear(self) -> None:
        """Remove what was left behind. Once all is gone the engine is asked seldom.

        Raises:
            BackendError: Engine or store do not answer.
        """
        now = self._clock.now()
        if now < self._next_look_at:
            return
        tags = [tag for image in await self._engine.list_images() for tag in image.tags if self._is_mine(tag)]
        wanted = await self._wanted() if tags else set()
        is_clear = True
        for tag in tags:
            if tag not in wanted:
                is_clear &= await self._remove(tag)
        pause = LOOK_PERIOD if now - self._begun_at >= AFTERLIFE else EARLY_PERIOD
        self._next_look_at = now + pause if is_clear else now

    def _is_mine(self, tag: str) -> bool:
        if not is_temporary(tag) and not is_moved_tag(tag):
            return False
        owner = parse_engine_name(tag.rpartition(":")[2])
        return owner is not None and self._only_uid in {None, owner.uid}

    async def _wanted(self) -> set[str]:
        """Read after the images: a copy is written down before it is made."""
        rows, moves = await self._store.read(
            lambda transaction: (transaction.list_containers(), list_moves(transaction))
        )
        containers = await self._engine.list_containers()
        return {
            *self._in_use,
            *(row.image for row in rows),
            *(move.new_image for move in moves.values()),
            *(container.image for container in containers),
        }

    async def _remove(self, tag: str) -> bool:
        try:
            await self._engine.remove_image(tag)
        except ConflictError as refusal:
            log.warning("the image %s stays: %s", tag, refusal)
            return False
        log.info("the image %s was left behind and is gone", tag)
        return True
