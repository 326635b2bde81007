"""Who works on which container in this process: one at a time, and which creations are still alive."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


class Presence:
    """Locks by container, and the nonces of creations that this process carries out.

    Locks order what people and reconcile do to one container; they protect nothing across a crash: that is the store's
    part. A row without an engine id whose nonce is not here belongs to a process that is dead.
    """

    def __init__(self) -> None:
        self._locks: dict[tuple[int, str], asyncio.Lock] = {}
        self._users: dict[tuple[int, str], int] = {}
        self._nonces: set[str] = set()

    @asynccontextmanager
    async def working_on(self, uid: int, name: str) -> AsyncIterator[None]:
        """Wait until nobody else works on this container, then keep it for the block."""
        key = (uid, name)
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._users[key] = self._users.get(key, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
                del self._locks[key]

    def is_busy(self, uid: int, name: str) -> bool:
        """Tell whether somebody works on it now."""
        lock = self._locks.get((uid, name))
        return lock is not None and lock.locked()

    @contextmanager
    def in_flight(self, nonce: str) -> Iterator[None]:
        """Keep a creation's nonce known for the block."""
        self._nonces.add(nonce)
        try:
            yield
        finally:
            self._nonces.discard(nonce)

    def is_in_flight(self, nonce: str) -> bool:
        """Tell whether this process still carries out the creation."""
        return nonce in self._nonces
