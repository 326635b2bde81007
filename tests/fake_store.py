"""A Store in memory with the rules of the real one; tests/contract/test_store.py runs one suite on both."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import TypeVar

from ds01.domain.allocation import Allocation
from ds01.domain.event import EVERY_EVENT, Event, EventFilter
from ds01.domain.rules.consumption import Consumption
from ds01.domain.scheduling.queue import QueueEntry, QueueState, name_waits
from ds01.domain.scheduling.reservation import Reservation
from ds01.errors import BackendError, ConflictError
from ds01.service.ports import ContainerRow, StoreTransaction

Result = TypeVar("Result")


@dataclass
class _Tables:
    """What is stored. The values are frozen, so a copy of the collections is a snapshot."""

    allocations: dict[str, Allocation] = field(default_factory=dict)
    containers: dict[tuple[int, str], ContainerRow] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    queue: dict[str, QueueEntry] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    consumption: dict[tuple[int, str], Consumption] = field(default_factory=dict)
    places: dict[str, dict[str, int]] = field(default_factory=dict)

    def snapshot(self) -> "_Tables":
        return _Tables(*(copy(getattr(self, item.name)) for item in fields(self)))


class _MemoryTransaction:
    def __init__(self, tables: _Tables, *, is_read_only: bool = False) -> None:
        self._tables = tables
        self._is_read_only = is_read_only

    def list_allocations(self) -> list[Allocation]:
        holding = [allocation for allocation in self._tables.allocations.values() if allocation.is_holding]
        return sorted(holding, key=lambda allocation: (allocation.claimed_at, allocation.id))

    def find_allocation(self, allocation_id: str) -> Allocation | None:
        return self._tables.allocations.get(allocation_id)

    def save_allocation(self, allocation: Allocation) -> None:
        self._require_writable()
        if allocation.is_holding:
            self._require_free(allocation)
        self._tables.allocations[allocation.id] = allocation

    def list_containers(self) -> list[ContainerRow]:
        return sorted(self._tables.containers.values(), key=lambda row: (row.created_at, row.uid, row.name))

    def count_containers(self) -> Counter[int]:
        return Counter(uid for uid, _ in self._tables.containers)

    def find_container(self, uid: int, name: str) -> ContainerRow | None:
        return self._tables.containers.get((uid, name))

    def find_container_by_nonce(self, nonce: str) -> ContainerRow | None:
        return next((row for row in self._tables.containers.values() if row.nonce == nonce), None)

    def insert_container(self, row: ContainerRow) -> None:
        self._require_writable()
        if (row.uid, row.name) in self._tables.containers:
            raise ConflictError(f"There is a container {row.name} already.")
        self.save_container(row)

    def save_container(self, row: ContainerRow) -> None:
        self._require_writable()
        carrier = self.find_container_by_nonce(row.nonce)
        if carrier is not None and (carrier.uid, carrier.name) != (row.uid, row.name):
            raise ConflictError(f"The container {row.name} cannot be recorded: another container carries its nonce.")
        if row.allocation_id not in self._tables.allocations:
            raise ConflictError(f"The container {row.name} cannot be recorded: there is no {row.allocation_id}.")
        self._tables.containers[row.uid, row.name] = row

    def delete_container(self, uid: int, name: str) -> None:
        self._require_writable()
        self._tables.containers.pop((uid, name), None)

    def list_waiting(self) -> list[QueueEntry]:
        found = [entry for entry in self._tables.queue.values() if entry.state.is_open]
        return sorted(found, key=lambda entry: (entry.waiting.queued_at, entry.id))

    def list_ended(self) -> list[QueueEntry]:
        found = [entry for entry in self._tables.queue.values() if not entry.state.is_open]
        return sorted(sorted(found, key=lambda entry: entry.id), key=lambda entry: entry.changed_at, reverse=True)

    def find_waiting(self, request_id: str) -> QueueEntry | None:
        return self._tables.queue.get(request_id)

    def find_granted(self, allocation_id: str) -> QueueEntry | None:
        found = (entry for entry in self._tables.queue.values() if entry.state is QueueState.GRANTED)
        return next((entry for entry in found if entry.allocation_id == allocation_id), None)

    def save_waiting(self, entry: QueueEntry) -> None:
        self._require_writable()
        key = (entry.uid, entry.waiting.container_name)
        if entry.state.is_open:
            for other in self.list_waiting():
                if other.id != entry.id and (other.uid, other.waiting.container_name) == key:
                    raise name_waits(entry.waiting.container_name)
        is_granted = entry.state is QueueState.GRANTED
        has_grant = entry.allocation_id is not None
        if entry.state.is_open and is_granted != has_grant:
            raise ConflictError(f"The request {entry.id} is {entry.state} and has the grant {entry.allocation_id}.")
        if entry.allocation_id is not None and entry.allocation_id not in self._tables.allocations:
            raise ConflictError(f"The request {entry.id} is not possible: there is no {entry.allocation_id}.")
        granted = self.find_granted(entry.allocation_id) if is_granted and entry.allocation_id else None
        if granted is not None and granted.id != entry.id:
            raise ConflictError(f"The request {entry.id} is not possible: its grant is that of {granted.id}.")
        self._tables.queue[entry.id] = entry

    def delete_ended(self, before: datetime) -> int:
        self._require_writable()
        ended = [entry.id for entry in self.list_ended() if entry.changed_at < before]
        for request_id in ended:
            del self._tables.queue[request_id]
        return len(ended)

    def list_reservations(self, *, with_over: bool = False) -> list[Reservation]:
        found = [item for item in self._tables.reservations.values() if with_over or not item.state.is_over]
        return sorted(found, key=lambda item: (item.start_at, item.id))

    def save_reservation(self, reservation: Reservation) -> None:
        self._require_writable()
        others = [item for item in self.list_reservations() if item.id != reservation.id]
        if not reservation.state.is_over and any(item.name == reservation.name for item in others):
            raise ConflictError(f"There is a reservation {reservation.name} already.")
        if reservation.end_at <= reservation.start_at or (reservation.uid is None) == (reservation.group is None):
            raise ConflictError(f"The reservation {reservation.name} is not possible.")
        self._tables.reservations[reservation.id] = reservation

    def has_grant_in(self, reservation_id: str) -> bool:
        return any(grant.reservation == reservation_id for grant in self._tables.allocations.values())

    def list_consumption(self) -> list[Consumption]:
        return sorted(self._tables.consumption.values(), key=lambda found: (found.uid, found.group))

    def find_consumption(self, uid: int, group: str) -> Consumption | None:
        return self._tables.consumption.get((uid, group))

    def save_consumption(self, consumption: Consumption) -> None:
        self._require_writable()
        self._tables.consumption[consumption.uid, consumption.group] = consumption

    def append_event(self, event: Event) -> int:
        self._require_writable()
        number = len(self._tables.events) + 1
        details = json.loads(json.dumps(dict(event.details), allow_nan=False))
        self._tables.events.append(replace(event, id=number, details=details))
        return number

    def list_events(
        self, wanted: EventFilter = EVERY_EVENT, *, after_id: int = 0, limit: int = 1000, from_end: bool = False
    ) -> list[Event]:
        found = [event for event in self._tables.events if event.id > after_id and wanted.matches(event)]
        if from_end:
            return found[max(len(found) - max(limit, 0), 0) :]
        return found[: max(limit, 0)]

    def list_dynamic_cards(self) -> list[str]:
        return sorted(card for card, places in self._tables.places.items() if places)

    def save_dynamic_card(self, card_uuid: str, places: Mapping[str, int]) -> None:
        self._require_writable()
        self._tables.places[card_uuid] = dict(places)

    def get_fact(self, key: str) -> str | None:
        return self._tables.facts.get(key)

    def set_fact(self, key: str, value: str) -> None:
        self._require_writable()
        self._tables.facts[key] = value

    def _require_writable(self) -> None:
        if self._is_read_only:
            raise BackendError("The store failed: a query tried to write.")

    def _require_free(self, allocation: Allocation) -> None:
        wanted = (*allocation.gpu_uuids, *allocation.slices)
        if len(set(wanted)) < len(wanted):
            raise ConflictError(f"The allocation {allocation.id} names a device twice.")
        others = [other for other in self.list_allocations() if other.id != allocation.id]
        self._require_places_free(allocation, others)
        for device in wanted:
            shares = 1 if device in allocation.slices else allocation.shares
            holders = [
                (1 if device in other.slices else other.shares, other.id)
                for other in others
                if device in (*other.gpu_uuids, *other.slices)
            ]
            most = min([shares, *(held for held, _ in holders)])
            if len(holders) >= most:
                raise ConflictError(f"{device} is held by the allocation {holders[0][1]}.")

    def _require_places_free(self, allocation: Allocation, others: list[Allocation]) -> None:
        taken: dict[str, int] = {}
        for other in others:
            for slice_ in other.slices:
                card = slice_.partition("/")[0]
                taken[card] = taken.get(card, 0) | self._tables.places.get(card, {}).get(slice_, 0)
        held = {uuid for other in others for uuid in other.gpu_uuids}
        for slice_ in allocation.slices:
            card = slice_.partition("/")[0]
            places = self._tables.places.get(card)
            if not places:
                continue
            if slice_ not in places or places[slice_] & taken.get(card, 0) or card in held:
                raise ConflictError(f"The place {slice_} is held, or does not exist.")
            taken[card] = taken.get(card, 0) | places[slice_]
        if any(taken.get(uuid) for uuid in allocation.gpu_uuids):
            raise ConflictError("An instance on the card is held.")


class MemoryStore:
    """Store port without a file: for tests of what stands above it."""

    def __init__(self) -> None:
        self._tables = _Tables()
        self._is_open = True

    async def write(self, decide: Callable[[StoreTransaction], Result]) -> Result:
        await self._turn()
        before = self._tables.snapshot()
        try:
            return decide(_MemoryTransaction(self._tables))
        except BaseException:
            self._tables = before
            raise

    async def read(self, query: Callable[[StoreTransaction], Result]) -> Result:
        await self._turn()
        return query(_MemoryTransaction(self._tables, is_read_only=True))

    async def close(self) -> None:
        self._is_open = False

    async def _turn(self) -> None:
        if not self._is_open:
            raise BackendError("The store is closed.")
        # The real one gives other tasks their turn too: a service that forgets this shows here.
        await asyncio.sleep(0)
