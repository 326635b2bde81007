"""What the daemon does by itself: reconcile, follow the engine's events, leave when nobody needs it."""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import timedelta
from pathlib import Path

from ds01.daemon.server import ApiServer
from ds01.daemon.site_files import SiteFiles
from ds01.daemon.streams import StreamRelay
from ds01.domain.event import Event
from ds01.domain.rules.policy import Policy
from ds01.errors import Ds01Error
from ds01.service.bell import Bell
from ds01.service.limits import LimitService
from ds01.service.ports import Clock, Engine, StoreTransaction, World
from ds01.service.reconcile import Reconciler

log = logging.getLogger(__name__)
RECONCILE_PERIOD = timedelta(seconds=30)
"""Deadlines of claims and holds are looked at this often even when nothing happens."""
RETRY_AFTER = timedelta(seconds=2)
SETTLE = timedelta(milliseconds=50)
WATCH_PERIOD = timedelta(seconds=2)
IDLE_S = 30 * 60.0
MAX_UNRECORDED = 100
_RELEVANT_ACTIONS = frozenset({"create", "start", "die", "destroy", "rename", "pause", "unpause", "update"})


class ReconcileLoop:
    """Runs reconcile whenever something happened, and from time to time."""

    def __init__(self, reconciler: Reconciler, bell: Bell | None = None) -> None:
        self._reconciler = reconciler
        self._bell = bell or Bell()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something happened."""
        self._wake.set()

    async def run(self) -> None:
        """Go on for ever. An engine that does not answer is tried again; a bug ends the daemon."""
        is_woken = True
        while True:
            self._wake.clear()
            pause = RECONCILE_PERIOD
            try:
                for action in await self._reconciler.run():
                    log.info("reconcile: %s %s: %s", action.kind, action.engine_id or action.nonce, action.reason)
            except Ds01Error as failure:
                log.warning("reconcile: %s", failure)
                pause = RETRY_AFTER
            if is_woken:
                self._bell.ring()  # a container of others may have come or gone
            with suppress(TimeoutError):
                # not wait_for: before Python 3.12 it swallows a cancellation that comes together with the event
                async with asyncio.timeout(pause.total_seconds()):
                    await self._wake.wait()
            is_woken = self._wake.is_set()
            if is_woken:
                # what people do makes several events in a row: one look after them, and none in their way
                await asyncio.sleep(SETTLE.total_seconds())


class EventLoop:
    """Follows the engine's events. After a gap everything is looked at anew."""

    def __init__(
        self,
        engine: Engine,
        limits: LimitService,
        reconcile: ReconcileLoop,
        clock: Clock,
        *,
        session_ended: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._session_ended = session_ended
        self._engine = engine
        self._limits = limits
        self._reconcile = reconcile
        self._clock = clock

    async def run(self) -> None:
        """Go on for ever: reconnect from where it broke off, never take an event twice."""
        cursor: str | None = None
        seen: set[tuple[str, str, str]] = set()
        while True:
            try:
                async with aclosing(self._engine.watch_events(since=cursor)) as events:
                    async for event in events:
                        key = (event.cursor, event.actor_id, event.action)
                        if key in seen:
                            continue
                        seen = {key} if event.cursor != cursor else seen | {key}
                        cursor = event.cursor
                        if event.kind == "container" and event.action in _RELEVANT_ACTIONS:
                            self._reconcile.wake()
                        elif event.action == "exec_die":
                            self._session_ended(event.attributes.get("execID", ""))
            except Ds01Error as failure:
                log.warning("events: %s", failure)
            self._limits.forget_engine()
            self._reconcile.wake()
            await self._clock.sleep(RETRY_AFTER)


class WatchLoop:
    """Looks after the daemon's surroundings: its policy, catalogue and socket's path, and whether anybody needs it."""

    def __init__(
        self,
        files: SiteFiles,
        world: World,
        server: ApiServer,
        relay: StreamRelay,
        *,
        socket_path: Path,
        is_personal: bool,
        leave: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = files.policy
        self._catalogue = files.catalogue
        self._tiers = files.tiers
        self._store = world.store
        self._clock = world.clock
        self._server = server
        self._relay = relay
        self._socket_path = socket_path
        self._is_personal = is_personal
        self._leave = leave
        self._changed: Callable[[], None] = Bell().ring
        self._is_needed: Callable[[], bool] = lambda: False
        self._refresh: Callable[[Policy], Awaitable[bool]] | None = None
        self._not_refreshed: Policy | None = None
        self._unrecorded: deque[Event] = deque(maxlen=MAX_UNRECORDED)
        self._monotonic = monotonic
        self._inode: int | None = None

    def attend(
        self,
        *,
        changed: Callable[[], None],
        is_needed: Callable[[], bool],
        refresh: Callable[[Policy], Awaitable[bool]] | None = None,
    ) -> None:
        """Say whom a new policy concerns, and who knows whether somebody still needs the daemon.

        Args:
            changed: Rung when another policy is in force.
            is_needed: Tells whether somebody needs the daemon.
            refresh: Brings containers from this policy to the one in force; tells whether that is done.
        """
        self._changed, self._is_needed, self._refresh = changed, is_needed, refresh

    async def run(self) -> None:
        """Go on for ever."""
        self._inode = _inode(self._socket_path)
        while True:
            await self._clock.sleep(WATCH_PERIOD)
            try:
                await self._look_at_policy()
            except Ds01Error as failure:
                log.warning("watch: %s", failure)
            if self._catalogue.reload_if_changed():  # after the policy, which names a list of it
                log.info("catalogue: %d rows", len(self._catalogue.current))
            if self._tiers.reload_if_changed():
                log.info("package tiers: another table is in force")
            if self._is_personal:
                self._leave_if_unneeded()

    async def _look_at_policy(self) -> None:
        before, policy = self._policy.problem, self._policy.current
        if await asyncio.to_thread(self._policy.reload_if_changed):  # parsing takes a while
            self._changed()
            self._not_refreshed = self._not_refreshed or policy
            self._unrecorded.append(
                Event("policy.changed", self._clock.now(), details={"source": self._policy.current.source})
            )
        elif self._policy.problem is not None and self._policy.problem != before:
            details = {"source": self._policy.current.source, "reason": self._policy.problem}
            self._unrecorded.append(Event("policy.rejected", self._clock.now(), details=details))
        await self._record()
        if self._not_refreshed is not None and (self._refresh is None or await self._refresh(self._not_refreshed)):
            self._not_refreshed = None

    def _leave_if_unneeded(self) -> None:
        if _inode(self._socket_path) != self._inode:
            self._leave("its socket is gone")
        busy = self._server.requests_under_way or self._relay.open_streams or self._is_needed()
        if not busy and self._monotonic() - self._server.last_request > IDLE_S:
            self._leave("nobody asked for 30 minutes")

    async def _record(self) -> None:
        """Record what happened; what a store that fails did not take is tried again at the next look."""
        events = tuple(self._unrecorded)
        if not events:
            return

        def append(transaction: StoreTransaction) -> None:
            for event in events:
                transaction.append_event(event)

        await self._store.write(append)
        self._unrecorded.clear()


def _inode(path: Path) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


async def guard(name: str, loop: Callable[[], Awaitable[None]], leave: Callable[[str], None]) -> None:
    """Run a loop that must not end. If it does, that is an incident: it is logged and the daemon stops."""
    try:
        await loop()
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("the loop %s failed", name)
    leave(f"the loop {name} ended")
