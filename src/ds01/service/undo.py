"""Undo: what a transaction over several systems does when it fails half-way."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ds01.errors import Ds01Error
from ds01.service.completion import complete

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Step:
    what: str
    take_back: Callable[[], Awaitable[object]]
    only_if_clean: bool


class Undo:
    """Steps to take back, newest first, when the block ends by whatever exception.

        async with Undo() as undo:
            undo.add("remove the tag", lambda: engine.remove_image(tag))
            await engine.tag_image(image, tag)

    A step is added before its deed: one whose answer was lost is taken back too, so every step must be harmless where
    nothing was done. A step that fails does not stop the others: reconcile repairs what is left.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.failure: BaseException | None = None
        self._steps: list[_Step] = []

    def add(self, what: str, take_back: Callable[[], Awaitable[object]], *, only_if_clean: bool = False) -> None:
        """Remember how to take something back.

        Args:
            what: What is taken back, for the log.
            take_back: Does it.
            only_if_clean: Not when a newer step could not be taken back: what is kept then leads reconcile to the rest.
        """
        self._steps.append(_Step(what, take_back, only_if_clean))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        if failure is None:
            self._steps.clear()
            return
        self.failure = failure
        self.reason = failure.message if isinstance(failure, Ds01Error) else "it was broken off"
        left = await complete(self._run())
        if left and isinstance(failure, Ds01Error):
            failure.details["not_undone"] = left

    async def _run(self) -> list[str]:
        """Take everything back and return what could not be."""
        failed: list[str] = []
        while self._steps:
            step = self._steps.pop()
            if failed and step.only_if_clean:
                failed.append(step.what)
                continue
            try:
                await step.take_back()
            except Ds01Error as failure:
                log.warning("undo: %s failed: %s", step.what, failure)
                failed.append(step.what)
        return failed
