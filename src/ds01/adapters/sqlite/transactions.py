"""Every statement of the store: StoreTransaction over one connection."""

import sqlite3
from collections.abc import Collection, Mapping
from datetime import datetime

from ds01.adapters.sqlite.rows import (
    ALLOCATION_COLUMNS,
    CONSUMPTION_COLUMNS,
    CONTAINER_COLUMNS,
    EVENT_COLUMNS,
    QUEUE_COLUMNS,
    RESERVATION_COLUMNS,
    Row,
    allocation_values,
    consumption_values,
    container_values,
    event_values,
    make_allocation,
    make_consumption,
    make_container,
    make_entry,
    make_event,
    make_reservation,
    queue_values,
    reservation_values,
    to_microseconds,
)
from ds01.domain.allocation import Allocation
from ds01.domain.event import EVENTS, EVERY_EVENT, Event, EventFilter
from ds01.domain.rules.consumption import Consumption
from ds01.domain.scheduling.queue import QueueEntry, name_waits
from ds01.domain.scheduling.reservation import Reservation
from ds01.errors import ConflictError
from ds01.service.ports import ContainerRow

# The texts below are put together from constants of this package only; every value is a parameter.
_LIST_ALLOCATIONS = f"SELECT {ALLOCATION_COLUMNS} FROM allocations WHERE is_holding = 1 ORDER BY claimed_at_us, id"  # noqa: S608
_FIND_ALLOCATION = f"SELECT {ALLOCATION_COLUMNS} FROM allocations WHERE id = ?"  # noqa: S608
_HOLDER_OF = "SELECT allocation_id FROM held_gpus WHERE gpu_uuid = ? AND allocation_id <> ? ORDER BY place"
INSERT_ALLOCATION = f"""
    INSERT INTO allocations ({ALLOCATION_COLUMNS}, is_holding)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""  # noqa: S608
_SET_ALLOCATION = """
    UPDATE allocations SET
        uid = ?2, container_name = ?3, request_count = ?4, request_kind = ?5, request_memory_bytes = ?6,
        gpu_equivalents = ?7, state = ?8, changed_at_us = ?9, deadline_at_us = ?10, user_group = ?11,
        time_limit_us = ?12, ends_at_us = ?13, reservation = ?14
"""
# The usual step of an allocation, claimed to active to held, changes nothing that an index or a trigger looks at.
_UPDATE_ALLOCATION = f"""
    {_SET_ALLOCATION} WHERE id = ?1 AND claimed_at_us = ?15 AND gpu_uuids = ?16 AND shares = ?17 AND slices = ?18
        AND is_holding = ?19
"""
_UPDATE_INDEXED = f"""
    {_SET_ALLOCATION}, claimed_at_us = ?15, gpu_uuids = ?16, shares = ?17, slices = ?18, is_holding = ?19 WHERE id = ?1
"""
_LIST_CONTAINERS = f"SELECT {CONTAINER_COLUMNS} FROM containers ORDER BY created_at_us, uid, name"  # noqa: S608
_FIND_CONTAINER = f"SELECT {CONTAINER_COLUMNS} FROM containers WHERE uid = ? AND name = ?"  # noqa: S608
_FIND_NONCE = f"SELECT {CONTAINER_COLUMNS} FROM containers WHERE nonce = ?"  # noqa: S608
_INSERT_CONTAINER = f"INSERT INTO containers ({CONTAINER_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_SAVE_CONTAINER = f"""
    {_INSERT_CONTAINER} ON CONFLICT (uid, name) DO UPDATE SET
        nonce = excluded.nonce, engine_id = excluded.engine_id, allocation_id = excluded.allocation_id,
        image = excluded.image, created_at_us = excluded.created_at_us, spec = excluded.spec
"""
_OPEN = "state IN ('waiting', 'granted')"
_LIST_WAITING = f"SELECT {QUEUE_COLUMNS} FROM queue WHERE {_OPEN} ORDER BY queued_at_us, id"  # noqa: S608
_LIST_ENDED = f"SELECT {QUEUE_COLUMNS} FROM queue WHERE NOT {_OPEN} ORDER BY changed_at_us DESC, id"  # noqa: S608
_FIND_WAITING = f"SELECT {QUEUE_COLUMNS} FROM queue WHERE id = ?"  # noqa: S608
_FIND_GRANTED = f"SELECT {QUEUE_COLUMNS} FROM queue WHERE allocation_id = ? AND state = 'granted'"  # noqa: S608
_LIST_RESERVATIONS = f"SELECT {RESERVATION_COLUMNS} FROM reservations"  # noqa: S608
_RESERVATION_ORDER = "ORDER BY start_at_us, id"
_LIST_CONSUMPTION = f"SELECT {CONSUMPTION_COLUMNS} FROM used ORDER BY uid, user_group"  # noqa: S608
_FIND_CONSUMPTION = f"SELECT {CONSUMPTION_COLUMNS} FROM used WHERE uid = ? AND user_group = ?"  # noqa: S608


def _upsert(table: str, columns: str, *, keys: int) -> str:
    """Return the statement that inserts a row or updates the one with the same key: the first columns."""
    names = columns.split(", ")
    changed = ", ".join(f"{name} = excluded.{name}" for name in names[keys:])
    return (
        f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(names))}) "  # noqa: S608
        f"ON CONFLICT ({', '.join(names[:keys])}) DO UPDATE SET {changed}"
    )


_SAVE_WAITING = _upsert("queue", QUEUE_COLUMNS, keys=1)
_SAVE_RESERVATION = _upsert("reservations", RESERVATION_COLUMNS, keys=1)
_SAVE_CONSUMPTION = _upsert("used", CONSUMPTION_COLUMNS, keys=2)
_APPEND_EVENT = "INSERT INTO events (name, at_us, uid, actor_uid, container, details) VALUES (?, ?, ?, ?, ?, ?)"
_PUBLIC_EVENTS = tuple(sorted(name for name, kind in EVENTS.items() if kind.is_public))
_LIST_EVENTS = f"SELECT {EVENT_COLUMNS} FROM events WHERE id > ?"  # noqa: S608


class SqliteTransaction:
    """StoreTransaction over a connection whose transaction somebody else has begun and will end."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def list_allocations(self) -> list[Allocation]:
        """Return every allocation that is not released, oldest first, of the same moment by id."""
        return [make_allocation(row) for row in self._all(_LIST_ALLOCATIONS)]

    def find_allocation(self, allocation_id: str) -> Allocation | None:
        """Return one allocation in whatever state."""
        row = self._one(_FIND_ALLOCATION, allocation_id)
        return None if row is None else make_allocation(row)

    def save_allocation(self, allocation: Allocation) -> None:
        """Insert or update: the row and its devices together, or neither.

        Raises:
            ConflictError: One of its devices is held by another allocation, or named twice.
        """
        values = (*allocation_values(allocation), int(allocation.is_holding))
        try:
            for statement in (_UPDATE_ALLOCATION, _UPDATE_INDEXED, INSERT_ALLOCATION):
                if self._connection.execute(statement, values).rowcount > 0:
                    return
        except sqlite3.IntegrityError as error:
            raise self._explain_allocation(allocation, error) from error

    def list_containers(self) -> list[ContainerRow]:
        """Return every row, oldest first, of the same moment by uid and name."""
        return [make_container(row) for row in self._all(_LIST_CONTAINERS)]

    def count_containers(self) -> dict[int, int]:
        """Return how many rows every user has who has any."""
        return {row[0]: row[1] for row in self._all("SELECT uid, count(*) FROM containers GROUP BY uid")}

    def find_container(self, uid: int, name: str) -> ContainerRow | None:
        """Return the row of a user's container."""
        row = self._one(_FIND_CONTAINER, uid, name)
        return None if row is None else make_container(row)

    def find_container_by_nonce(self, nonce: str) -> ContainerRow | None:
        """Return the row that carries this nonce."""
        row = self._one(_FIND_NONCE, nonce)
        return None if row is None else make_container(row)

    def insert_container(self, row: ContainerRow) -> None:
        """Insert.

        Raises:
            ConflictError: The user has a container of that name, the nonce is taken, or there is no such allocation.
        """
        self._write_container(_INSERT_CONTAINER, row)

    def save_container(self, row: ContainerRow) -> None:
        """Insert or update by (uid, name).

        Raises:
            ConflictError: The nonce is another container's, or there is no such allocation.
        """
        self._write_container(_SAVE_CONTAINER, row)

    def delete_container(self, uid: int, name: str) -> None:
        """Delete; none is fine."""
        self._connection.execute("DELETE FROM containers WHERE uid = ? AND name = ?", (uid, name))

    def list_waiting(self) -> list[QueueEntry]:
        """Return every open request, oldest first, of the same moment by id."""
        return [make_entry(row) for row in self._all(_LIST_WAITING)]

    def list_ended(self) -> list[QueueEntry]:
        """Return the requests that have ended and are still kept, newest end first."""
        return [make_entry(row) for row in self._all(_LIST_ENDED)]

    def find_waiting(self, request_id: str) -> QueueEntry | None:
        """Return one request in whatever state."""
        row = self._one(_FIND_WAITING, request_id)
        return None if row is None else make_entry(row)

    def find_granted(self, allocation_id: str) -> QueueEntry | None:
        """Return the request whose container is being made with this grant."""
        row = self._one(_FIND_GRANTED, allocation_id)
        return None if row is None else make_entry(row)

    def save_waiting(self, entry: QueueEntry) -> None:
        """Insert or update.

        Raises:
            ConflictError: The user has another open request of that name, or the grant is not there or another's.
        """
        try:
            self._connection.execute(_SAVE_WAITING, queue_values(entry))
        except sqlite3.IntegrityError as error:
            name = entry.waiting.container_name
            if "queue.container_name" in str(error):
                raise name_waits(name) from error
            raise ConflictError(f"The request {entry.id} for {name} is not possible: {error}.") from error

    def delete_ended(self, before: datetime) -> int:
        """Delete the requests that ended before a moment; return how many."""
        statement = f"DELETE FROM queue WHERE NOT {_OPEN} AND changed_at_us < ?"  # noqa: S608
        return self._connection.execute(statement, (to_microseconds(before),)).rowcount

    def list_reservations(self, *, with_over: bool = False) -> list[Reservation]:
        """Return the reservations that are not over, or all, by their begin, of the same moment by id."""
        condition = "" if with_over else "WHERE state IN ('planned', 'active')"
        return [make_reservation(row) for row in self._all(f"{_LIST_RESERVATIONS} {condition} {_RESERVATION_ORDER}")]

    def save_reservation(self, reservation: Reservation) -> None:
        """Insert or update.

        Raises:
            ConflictError: Another one that is not over has the name.
        """
        try:
            self._connection.execute(_SAVE_RESERVATION, reservation_values(reservation))
        except sqlite3.IntegrityError as error:
            if "reservations.name" in str(error):
                raise ConflictError(
                    f"There is a reservation {reservation.name} already.", hint="`ds01 reservation list` shows it."
                ) from error
            raise ConflictError(f"The reservation {reservation.name} is not possible: {error}.") from error

    def has_grant_in(self, reservation_id: str) -> bool:
        """Tell whether anything was ever granted in a reservation."""
        return self._one("SELECT 1 FROM allocations WHERE reservation = ? LIMIT 1", reservation_id) is not None

    def list_consumption(self) -> list[Consumption]:
        """Return what everybody used of grants that are released, by uid, then by group."""
        return [make_consumption(row) for row in self._all(_LIST_CONSUMPTION)]

    def find_consumption(self, uid: int, group: str) -> Consumption | None:
        """Return what a user used in a group."""
        row = self._one(_FIND_CONSUMPTION, uid, group)
        return None if row is None else make_consumption(row)

    def save_consumption(self, consumption: Consumption) -> None:
        """Insert or update by uid and group."""
        self._connection.execute(_SAVE_CONSUMPTION, consumption_values(consumption))

    def append_event(self, event: Event) -> int:
        """Append and return its number."""
        number = self._connection.execute(_APPEND_EVENT, event_values(event)).lastrowid
        assert number is not None, "an INSERT has a rowid"
        return number

    def list_events(
        self, wanted: EventFilter = EVERY_EVENT, *, after_id: int = 0, limit: int = 1000, from_end: bool = False
    ) -> list[Event]:
        """Return events in order, newest last: the first `limit` after a number, or with `from_end` the last."""
        conditions, values = _conditions(wanted)
        order = "DESC" if from_end else "ASC"
        statement = " AND ".join([_LIST_EVENTS, *conditions]) + f" ORDER BY id {order} LIMIT ?"
        limit = max(limit, 0)  # below 0 SQLite would take it for "all"
        rows = self._all(statement, after_id, *values, limit)
        return [make_event(row) for row in (reversed(rows) if from_end else rows)]

    def list_dynamic_cards(self) -> list[str]:
        """Return the cards whose MIG instances are made by grants, by UUID."""
        return [str(row[0]) for row in self._all("SELECT DISTINCT card_uuid FROM mig_places ORDER BY card_uuid")]

    def save_dynamic_card(self, card_uuid: str, places: Mapping[str, int]) -> None:
        """Remember where instances of a card are made by grants; without places: nowhere any more."""
        self._connection.execute("DELETE FROM mig_places WHERE card_uuid = ?", (card_uuid,))
        self._connection.executemany(
            "INSERT INTO mig_places (slice, card_uuid, bits) VALUES (?, ?, ?)",
            [(slice_, card_uuid, bits) for slice_, bits in places.items()],
        )

    def get_fact(self, key: str) -> str | None:
        """Return a remembered fact."""
        row = self._one("SELECT value FROM facts WHERE key = ?", key)
        return None if row is None else str(row[0])

    def set_fact(self, key: str, value: str) -> None:
        """Remember a fact."""
        self._connection.execute(
            "INSERT INTO facts (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, value),
        )

    def _all(self, statement: str, *values: object) -> list[Row]:
        return self._connection.execute(statement, values).fetchall()

    def _one(self, statement: str, *values: object) -> Row | None:
        # fetchall, not fetchone: an unfinished cursor would keep the snapshot of a reader open.
        rows = self._all(statement, *values)
        return rows[0] if rows else None

    def _explain_allocation(self, allocation: Allocation, error: sqlite3.IntegrityError) -> ConflictError:
        for gpu_uuid in (*allocation.gpu_uuids, *allocation.slices):
            holder = self._one(_HOLDER_OF, gpu_uuid, allocation.id)
            if holder is not None:
                return ConflictError(
                    f"{gpu_uuid} is held by the allocation {holder[0]}, {allocation.container_name} cannot have it.",
                    details={"gpu": gpu_uuid, "allocation": holder[0]},
                )
        return ConflictError(f"The allocation {allocation.id} of {allocation.container_name} is not possible: {error}.")

    def _write_container(self, statement: str, row: ContainerRow) -> None:
        try:
            self._connection.execute(statement, container_values(row))
        except sqlite3.IntegrityError as error:
            raise self._explain_container(row, error) from error

    def _explain_container(self, row: ContainerRow, error: sqlite3.IntegrityError) -> ConflictError:
        if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            return ConflictError(
                f"The container {row.name} cannot be recorded: there is no allocation {row.allocation_id}."
            )
        if "containers.nonce" in str(error):
            return ConflictError(f"The container {row.name} cannot be recorded: another container carries its nonce.")
        return ConflictError(
            f"There is a container {row.name} already.", hint=f"Choose another name, or open it: ds01 open {row.name}"
        )


def _conditions(wanted: EventFilter) -> tuple[list[str], list[object]]:
    """Return a filter as conditions and their values: texts of this module only, every value is a parameter."""
    found: list[tuple[str, tuple[object, ...]]] = []
    if wanted.viewer_uid is not None:
        found.append((f"(uid = ? OR name IN ({_places(_PUBLIC_EVENTS)}))", (wanted.viewer_uid, *_PUBLIC_EVENTS)))
    if wanted.uid is not None:
        found.append(("uid = ?", (wanted.uid,)))
    if wanted.since is not None:
        found.append(("at_us >= ?", (to_microseconds(wanted.since),)))
    if wanted.until is not None:
        found.append(("at_us < ?", (to_microseconds(wanted.until),)))
    if wanted.container is not None:
        found.append(("container = ?", (wanted.container,)))
    if wanted.names is not None:
        found.append((f"name IN ({_places(wanted.names)})", tuple(sorted(wanted.names))))
    return [condition for condition, _ in found], [value for _, values in found for value in values]


def _places(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))
