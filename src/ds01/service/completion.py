"""Work that is not broken off half-way: a cancellation waits until the work has ended."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

Result = TypeVar("Result")


async def complete(work: Coroutine[object, object, Result]) -> Result:
    """Carry out work to its end, and only then pass a cancellation on.

    A transaction whose waiting caller is cancelled may commit all the same. Whoever has to know what became of it, to
    take it back or to go on, waits for it here.

    Args:
        work: Something that ends by itself within a bounded time.

    Raises:
        CancelledError: The caller was cancelled meanwhile; the work has ended, well or not.
    """
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as later:
            cancellation = later
    if cancellation is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # looked at, so that the loop does not complain: the cancellation is what the caller hears
    raise cancellation
