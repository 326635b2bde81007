"""The transaction of the writer: what it has read or written stays in mind, and events are written together.

Nobody else writes, so what was read once still holds after the next commit. What is in mind is dropped when something
written is undone, and when the file was changed past us. A write always goes to SQLite at once, which refuses what must
not be; only events, which nothing refuses, wait for the commit.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from operator import attrgetter

from ds01.adapters.sqlite.rows import (
    EVENT_COLUMNS,
    Row,
    allocation_values,
    event_values,
    make_allocation,
    to_microseconds,
    to_optional,
)
from ds01.adapters.sqlite.transactions import INSERT_ALLOCATION, SqliteTransaction
from ds01.domain.allocation import Allocation
from ds01.domain.event import EVERY_EVENT, Event, EventFilter
from ds01.domain.rules.consumption import Consumption
from ds01.domain.scheduling.queue import QueueEntry, QueueState
from ds01.domain.scheduling.reservation import Reservation
from ds01.service.ports import ContainerRow

_NEWEST_EVENT = "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
_APPEND_EVENTS = f"INSERT INTO events ({EVENT_COLUMNS}) VALUES "  # noqa: S608
_ONE_EVENT = "(?, ?, ?, ?, ?, ?, ?)"
_MOST_EVENTS = 64
"""Events of one statement: as many texts are kept prepared by the binding."""
_MOVE_ALLOCATION = "UPDATE allocations SET state = ?, changed_at_us = ?, deadline_at_us = ? WHERE id = ?"
_RELEASE_ALLOCATION = (
    "UPDATE allocations SET state = ?, changed_at_us = ?, deadline_at_us = ?, is_holding = 0 WHERE id = ?"
)
_AGE = attrgetter("claimed_at", "id")
_SET_ENGINE_ID = "UPDATE containers SET engine_id = ? WHERE uid = ? AND name = ?"


class WritingTransaction(SqliteTransaction):
    """StoreTransaction over the only connection that writes, transaction after transaction.

    Whoever owns it calls `begin` behind BEGIN, `begin_one` and, where it was undone, `undo_one` for each savepoint,
    `finish` before COMMIT, and `undo_all` or, after several, `forget` behind a ROLLBACK.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._seen_version = -1
        self._events: list[Row] = []
        self._next_event: int | None = None
        self._first_event = 0
        self._first_number: int | None = None
        self._written_early: list[Row] = []
        self._has_written = False
        self.forget()

    def begin(self) -> None:
        """A transaction has begun: see whether another process has written to the file since the last one."""
        # Source: https://www.sqlite.org/pragma.html#pragma_data_version
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._seen_version:
            self._seen_version = version
            self.forget()
        self.begin_one()

    def begin_one(self) -> None:
        """The part of the next caller begins."""
        self._has_written = False
        self._first_event, self._first_number = len(self._events), self._next_event
        self._written_early = []

    def undo_one(self) -> None:
        """The part of this caller was undone."""
        events, number = self._written_early + self._events[: self._first_event], self._first_number
        if self._has_written:
            self.forget()
        self._events, self._next_event = events, number

    def undo_all(self) -> None:
        """The whole transaction was undone, and it was one caller's alone."""
        if self._has_written:
            self.forget()
        self._events, self._written_early = [], []
        self._next_event, self._first_event = None, 0

    def finish(self) -> None:
        """Write what waits for the commit."""
        waiting, self._events = self._events, []
        for first in range(0, len(waiting), _MOST_EVENTS):
            part = waiting[first : first + _MOST_EVENTS]
            statement = _APPEND_EVENTS + ", ".join([_ONE_EVENT] * len(part))
            self._connection.execute(statement, [value for row in part for value in row])
        self._first_event = 0

    def forget(self) -> None:
        """Drop what is in mind: it may not be so."""
        self._held: dict[str, Allocation] | None = None
        self._by_age: list[Allocation] | None = None
        self._rows: dict[tuple[int, str], ContainerRow] | None = None
        self._by_nonce: dict[str, ContainerRow] = {}
        self._counts: dict[int, int] = {}
        self._open: list[QueueEntry] | None = None
        self._kept: list[Reservation] | None = None
        self._used: dict[tuple[int, str], Consumption | None] = {}
        self._all_used: list[Consumption] | None = None
        self._facts: dict[str, str | None] = {}
        self._dynamic: list[str] | None = None
        self._events, self._written_early = [], []
        self._next_event = self._first_number = None
        self._first_event, self._has_written = 0, False

    # --- grants

    def list_allocations(self) -> list[Allocation]:
        """As the store says it."""
        if self._by_age is None:
            self._by_age = sorted(self._holding().values(), key=_AGE)
        return list(self._by_age)

    def find_allocation(self, allocation_id: str) -> Allocation | None:
        """As the store says it."""
        return self._holding().get(allocation_id) or super().find_allocation(allocation_id)

    def save_allocation(self, allocation: Allocation) -> None:
        """As the store does it, with the statement that is just enough."""
        self._has_written = True
        held = self._holding()
        known = held.get(allocation.id)
        if known is None:
            present = self._insert_allocation(allocation)
        elif _is_a_step(known, allocation):
            moved = (allocation.state.value, to_microseconds(allocation.changed_at))
            statement = _MOVE_ALLOCATION if allocation.is_holding else _RELEASE_ALLOCATION
            self._connection.execute(statement, (*moved, to_optional(allocation.deadline_at), allocation.id))
            present = _as_read(allocation)
        else:
            super().save_allocation(allocation)
            present = _as_read(allocation)
        self._by_age = None
        if present.is_holding:
            held[present.id] = present
        else:
            held.pop(present.id, None)

    def _insert_allocation(self, allocation: Allocation) -> Allocation:
        if not allocation.is_holding:
            super().save_allocation(allocation)
            return allocation
        values = (*allocation_values(allocation), 1)
        try:
            self._connection.execute(INSERT_ALLOCATION, values)
        except sqlite3.IntegrityError:
            super().save_allocation(allocation)  # it was released and comes back, or the reason is told
        return _as_read(allocation)

    def _holding(self) -> dict[str, Allocation]:
        if self._held is None:
            self._held = {found.id: found for found in super().list_allocations()}
        return self._held

    # --- containers

    def count_containers(self) -> dict[int, int]:
        """As the store says it."""
        self._containers()
        return dict(self._counts)

    def find_container(self, uid: int, name: str) -> ContainerRow | None:
        """As the store says it."""
        return self._containers().get((uid, name))

    def find_container_by_nonce(self, nonce: str) -> ContainerRow | None:
        """As the store says it."""
        self._containers()
        return self._by_nonce.get(nonce)

    def insert_container(self, row: ContainerRow) -> None:
        """As the store does it."""
        self._has_written = True
        self._containers()
        super().insert_container(row)
        self._remember(row)

    def save_container(self, row: ContainerRow) -> None:
        """As the store does it, with the statement that is just enough."""
        self._has_written = True
        known = self._containers().get((row.uid, row.name))
        if known is not None and _differs_in_engine_id(known, row):
            self._connection.execute(_SET_ENGINE_ID, (row.engine_id, row.uid, row.name))
        else:
            super().save_container(row)
        self._remember(row)

    def delete_container(self, uid: int, name: str) -> None:
        """As the store does it."""
        self._has_written = True
        rows = self._containers()
        super().delete_container(uid, name)
        known = rows.pop((uid, name), None)
        if known is not None:
            del self._by_nonce[known.nonce]
            self._counts[uid] -= 1
            if not self._counts[uid]:
                del self._counts[uid]

    def _remember(self, row: ContainerRow) -> None:
        rows = self._containers()
        if row.created_at.tzinfo is not UTC:
            self._rows = None  # as it is stored it looks different
            return
        known = rows.get((row.uid, row.name))
        if known is None:
            self._counts[row.uid] = self._counts.get(row.uid, 0) + 1
        elif known.nonce != row.nonce:
            del self._by_nonce[known.nonce]
        rows[row.uid, row.name] = self._by_nonce[row.nonce] = row

    def _containers(self) -> dict[tuple[int, str], ContainerRow]:
        if self._rows is None:
            found = super().list_containers()
            self._rows = {(row.uid, row.name): row for row in found}
            self._by_nonce = {row.nonce: row for row in found}
            self._counts = {}
            for row in found:
                self._counts[row.uid] = self._counts.get(row.uid, 0) + 1
        return self._rows

    # --- queue and reservations

    def list_waiting(self) -> list[QueueEntry]:
        """As the store says it."""
        if self._open is None:
            self._open = super().list_waiting()
        return list(self._open)

    def find_granted(self, allocation_id: str) -> QueueEntry | None:
        """As the store says it."""
        granted = (entry for entry in self.list_waiting() if entry.allocation_id == allocation_id)
        return next((entry for entry in granted if entry.state is QueueState.GRANTED), None)

    def save_waiting(self, entry: QueueEntry) -> None:
        """As the store does it."""
        self._has_written, self._open = True, None
        super().save_waiting(entry)

    def delete_ended(self, before: datetime) -> int:
        """As the store does it."""
        self._has_written = True
        return super().delete_ended(before)

    def list_reservations(self, *, with_over: bool = False) -> list[Reservation]:
        """As the store says it."""
        if with_over:
            return super().list_reservations(with_over=True)
        if self._kept is None:
            self._kept = super().list_reservations()
        return list(self._kept)

    def save_reservation(self, reservation: Reservation) -> None:
        """As the store does it."""
        self._has_written, self._kept = True, None
        super().save_reservation(reservation)

    # --- use, facts, MIG

    def list_consumption(self) -> list[Consumption]:
        """As the store says it."""
        if self._all_used is None:
            self._all_used = super().list_consumption()
        return list(self._all_used)

    def find_consumption(self, uid: int, group: str) -> Consumption | None:
        """As the store says it."""
        if (uid, group) not in self._used:
            self._used[uid, group] = super().find_consumption(uid, group)
        return self._used[uid, group]

    def save_consumption(self, consumption: Consumption) -> None:
        """As the store does it."""
        self._has_written, self._all_used = True, None
        super().save_consumption(consumption)
        key = (consumption.uid, consumption.group)
        self._used.pop(key, None)
        if consumption.at.tzinfo is UTC and type(consumption.used_s) is float:
            self._used[key] = consumption

    def get_fact(self, key: str) -> str | None:
        """As the store says it."""
        if key not in self._facts:
            self._facts[key] = super().get_fact(key)
        return self._facts[key]

    def set_fact(self, key: str, value: str) -> None:
        """As the store does it."""
        self._has_written = True
        self._facts.pop(key, None)
        super().set_fact(key, value)

    def list_dynamic_cards(self) -> list[str]:
        """As the store says it."""
        if self._dynamic is None:
            self._dynamic = super().list_dynamic_cards()
        return list(self._dynamic)

    def save_dynamic_card(self, card_uuid: str, places: Mapping[str, int]) -> None:
        """As the store does it."""
        self._has_written, self._dynamic = True, None
        super().save_dynamic_card(card_uuid, places)

    # --- events

    def append_event(self, event: Event) -> int:
        """As the store does it; the row is written with the others of this commit, under this number."""
        values = event_values(event)
        if self._next_event is None:
            newest = self._connection.execute(_NEWEST_EVENT).fetchall()
            self._next_event = 1 + int(newest[0][0] if newest else 0)
        number: int = self._next_event
        self._events.append((number, *values))
        self._next_event = number + 1
        return number

    def list_events(
        self, wanted: EventFilter = EVERY_EVENT, *, after_id: int = 0, limit: int = 1000, from_end: bool = False
    ) -> list[Event]:
        """As the store says it."""
        if self._events:
            # who is undone takes none of those with it that came before in this commit
            self._written_early += self._events[: self._first_event]
            self._has_written = True
            self.finish()
        return super().list_events(wanted, after_id=after_id, limit=limit, from_end=from_end)


def _as_read(allocation: Allocation) -> Allocation:
    """Return what will be read back: weights are real numbers there, and moments in UTC."""
    moments: Sequence[datetime | None] = (
        allocation.claimed_at,
        allocation.changed_at,
        allocation.deadline_at,
        allocation.ends_at,
    )
    is_plain = all(moment is None or moment.tzinfo is UTC for moment in moments)
    if is_plain and type(allocation.gpu_equivalents) is float:
        return allocation
    values = allocation_values(replace(allocation, gpu_equivalents=float(allocation.gpu_equivalents)))
    return make_allocation(values)


def _is_a_step(known: Allocation, allocation: Allocation) -> bool:
    """Tell whether nothing but the state and its times is different."""
    return (
        known.gpu_uuids == allocation.gpu_uuids
        and known.slices == allocation.slices
        and known.claimed_at == allocation.claimed_at
        and known.shares == allocation.shares
        and known.uid == allocation.uid
        and known.container_name == allocation.container_name
        and known.request == allocation.request
        and known.gpu_equivalents == allocation.gpu_equivalents
        and known.group == allocation.group
        and known.time_limit == allocation.time_limit
        and known.ends_at == allocation.ends_at
        and known.reservation == allocation.reservation
    )


def _differs_in_engine_id(known: ContainerRow, row: ContainerRow) -> bool:
    return (
        known.nonce == row.nonce
        and known.allocation_id == row.allocation_id
        and known.image == row.image
        and known.created_at == row.created_at
        and known.spec == row.spec
    )
