"""A Store in memory with the rules of the real one; tests/contract/test_store.py runs one suite on both."""

import asyncio
import json
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ds01.domain.allocation import Allocation
from ds01.domain.event import EVERY_EVENT, Event, EventFilter
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

    def snapshot(self) -> "_Tables":
        return _Tables(copy(self.allocations), copy(self.containers), copy(self.events), copy(self.facts))


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

    def get_fact(self, key: str) -> str | None:
        return self._tables.facts.get(key)

    def set_fact(self, key: str, value: str) -> None:
        self._require_writable()
        self._tables.facts[key] = value

    def _require_writable(self) -> None:
        if self._is_read_only:
            raise BackendError("The store failed: a query tried to write.")

    def _require_free(self, allocation: Allocation) -> None:
        if len(set(allocation.gpu_uuids)) < len(allocation.gpu_uuids):
            raise ConflictError(f"The allocation {allocation.id} names a device twice.")
        for other in self.list_allocations():
            taken = set(other.gpu_uuids) & set(allocation.gpu_uuids)
            if taken and other.id != allocation.id:
                raise ConflictError(f"{min(taken)} is held by the allocation {other.id}.")


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
