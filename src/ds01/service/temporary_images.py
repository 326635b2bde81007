"""Images that exist only while a container is exported or imported. Their name alone says what they are."""

import logging
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from ds01.domain.name import EngineName
from ds01.errors import ConflictError, Ds01Error
from ds01.service.completion import complete
from ds01.service.ports import Engine

log = logging.getLogger(__name__)
_NAME = re.compile(r"ds01\.invalid/(?:export|import)-[0-9a-f]{16}:.+\._\.(\d+)")
"""`.invalid` is nobody's registry (RFC 2606); the tag has the form of a private one, so no list of images shows it."""


def is_temporary(reference: str) -> bool:
    """Tell whether a name is one of ours that goes with the export or import it was made for."""
    return _NAME.fullmatch(reference) is not None


class TemporaryImages:
    """Gives them names, and removes them whatever happens; what a crash left behind goes after the next start."""

    def __init__(self, engine: Engine, *, only_uid: int | None) -> None:
        """Look after the images of one daemon.

        Args:
            engine: The engine.
            only_uid: A personal daemon's user, whose images alone it removes; None: a server, everybody's.
        """
        self._engine = engine
        self._only_uid = only_uid
        self._in_use: set[str] = set()
        self._is_clear = False

    @asynccontextmanager
    async def named(self, kind: Literal["export", "import"], name: EngineName) -> AsyncIterator[str]:
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
            self._is_clear = False
        finally:
            self._in_use.discard(reference)

    async def clear(self) -> None:
        """Remove what was left behind. Asks the engine for nothing once all is gone.

        Raises:
            BackendError: The engine does not answer.
        """
        if self._is_clear:
            return
        is_clear = True
        for image in await self._engine.list_images():
            for tag in image.tags:
                found = _NAME.fullmatch(tag)
                if found is None or tag in self._in_use or self._only_uid not in {None, int(found[1])}:
                    continue
                try:
                    await self._engine.remove_image(tag)
                    log.info("the temporary image %s was left behind and is gone", tag)
                except ConflictError as refusal:
                    is_clear = False
                    log.warning("the temporary image %s stays: %s", tag, refusal)
        self._is_clear = is_clear
