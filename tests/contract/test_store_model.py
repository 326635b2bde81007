"""Random transactions, some of which fail, on the real store and on the one in memory: both end up the same."""

import asyncio
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import given, settings, strategies as st

from ds01.adapters.sqlite.store import SqliteStore
from ds01.domain.allocation import AllocationState
from ds01.domain.event import Event, EventFilter
from ds01.domain.request import GpuRequest
from ds01.domain.rules.consumption import Consumption
from ds01.domain.scheduling.queue import Purpose, QueueEntry, QueueState
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import ConflictError
from ds01.service.ports import Store, StoreTransaction
from tests.fake_store import MemoryStore
from tests.store_values import allocation, at, container

ALLOCATIONS = st.sampled_from(["a1", "a2", "a3"])
NAMES = st.sampled_from(["train", "test", "größe"])
NUMBERS = st.integers(0, 3)


class DeliberateError(Exception):
    pass


@dataclass(frozen=True)
class Save:
    name: str
    gpus: tuple[str, ...]
    state: AllocationState
    minute: int
    shares: int
    slices: tuple[str, ...]

    def apply(self, transaction: StoreTransaction) -> object:
        grant = allocation(self.name, *self.gpus, state=self.state, minute=self.minute)
        transaction.save_allocation(replace(grant, shares=self.shares, slices=self.slices))
        return None


@dataclass(frozen=True)
class Wait:
    name: str
    uid: int
    container: str
    state: QueueState
    allocation_id: str | None

    def apply(self, transaction: StoreTransaction) -> object:
        request = Waiting(self.name, self.uid, "", self.container, GpuRequest(), 1, None, at(self.uid))
        entry = QueueEntry(request, Purpose.CREATE, "", self.state, at(self.uid), self.allocation_id)
        transaction.save_waiting(entry)
        return transaction.find_granted(self.allocation_id) if self.allocation_id else None


@dataclass(frozen=True)
class Put:
    name: str
    uid: int
    allocation_id: str
    nonce: str
    minute: int
    must_be_new: bool

    def apply(self, transaction: StoreTransaction) -> object:
        row = container(self.name, self.allocation_id, uid=self.uid, nonce=self.nonce, minute=self.minute)
        (transaction.insert_container if self.must_be_new else transaction.save_container)(row)
        return None


@dataclass(frozen=True)
class Delete:
    name: str
    uid: int

    def apply(self, transaction: StoreTransaction) -> object:
        transaction.delete_container(self.uid, self.name)
        return None


@dataclass(frozen=True)
class Append:
    uid: int
    text: str

    def apply(self, transaction: StoreTransaction) -> object:
        return transaction.append_event(
            Event("access.denied", at(self.uid), self.uid, None, self.text, {"reason": self.text})
        )


@dataclass(frozen=True)
class Remember:
    key: str
    value: str

    def apply(self, transaction: StoreTransaction) -> object:
        transaction.set_fact(self.key, self.value)
        return transaction.get_fact(self.key)


@dataclass(frozen=True)
class Complete:
    """The usual steps: a container gets its id, a grant goes on."""

    name: str
    uid: int
    allocation_id: str
    state: AllocationState

    def apply(self, transaction: StoreTransaction) -> object:
        row = transaction.find_container(self.uid, self.name)
        if row is not None:
            transaction.save_container(replace(row, engine_id=f"engine {self.state}"))
        grant = transaction.find_allocation(self.allocation_id)
        if grant is not None:
            transaction.save_allocation(replace(grant, state=self.state, changed_at=at(9), deadline_at=None))
        return row, grant


@dataclass(frozen=True)
class Use:
    uid: int
    used_s: float

    def apply(self, transaction: StoreTransaction) -> object:
        before = transaction.find_consumption(self.uid, "lab")
        transaction.save_consumption(Consumption(self.uid, "lab", self.used_s, at(self.uid)))
        return before, transaction.find_consumption(self.uid, "lab"), transaction.list_consumption()


@dataclass(frozen=True)
class LookAtEvents:
    def apply(self, transaction: StoreTransaction) -> object:
        return transaction.list_events()


@dataclass(frozen=True)
class Fail:
    def apply(self, transaction: StoreTransaction) -> object:
        raise DeliberateError(len(transaction.list_allocations()))


@dataclass(frozen=True)
class Catch:
    """Goes on after a conflict."""

    step: Save | Put | Wait

    def apply(self, transaction: StoreTransaction) -> object:
        try:
            return self.step.apply(transaction)
        except ConflictError:
            return "conflict"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
SAVES = st.builds(
    Save,
    ALLOCATIONS,
    st.lists(st.sampled_from(["GPU-0", "GPU-1", "MIG-2"]), max_size=3).map(tuple),
    st.sampled_from(AllocationState),
    NUMBERS,
    st.sampled_from([1, 1, 2, 3]),
    st.sampled_from([(), (), ("GPU-9/1g.5gb@0",)]),
)
WAITS = st.builds(
    Wait,
    st.sampled_from(["w1", "w2", "w3"]),
    NUMBERS,
    NAMES,
    st.sampled_from(QueueState),
    st.none() | ALLOCATIONS,
)
PUTS = st.builds(Put, NAMES, NUMBERS, ALLOCATIONS, st.sampled_from(["n1", "n2", "n3", "n4"]), NUMBERS, st.booleans())
Step = Save | Put | Wait | Delete | Append | Complete | Use | LookAtEvents | Remember | Fail | Catch
STEPS: st.SearchStrategy[Step] = st.one_of(
    SAVES,
    PUTS,
    WAITS,
    st.builds(Delete, NAMES, NUMBERS),
    st.builds(Append, NUMBERS, TEXTS),
    st.builds(Complete, NAMES, NUMBERS, ALLOCATIONS, st.sampled_from(AllocationState)),
    st.builds(Use, NUMBERS, st.floats(0, 1000)),
    st.builds(LookAtEvents),
    st.builds(Remember, TEXTS, TEXTS),
    st.builds(Fail),
    st.builds(Catch, st.one_of(SAVES, PUTS, WAITS)),
)


def read_all(transaction: StoreTransaction) -> object:
    return (
        transaction.list_allocations(),
        [transaction.find_allocation(name) for name in ("a1", "a2", "a3")],
        transaction.list_containers(),
        transaction.count_containers(),
        [transaction.find_granted(name) for name in ("a1", "a2", "a3")],
        transaction.list_consumption(),
        transaction.list_waiting(),
        transaction.list_ended(),
        [transaction.find_waiting(name) for name in ("w1", "w2", "w3")],
        [transaction.find_container_by_nonce(nonce) for nonce in ("n1", "n2", "n3", "n4")],
    )


def read_events(transaction: StoreTransaction) -> object:
    return transaction.list_events(), transaction.list_events(EventFilter(viewer_uid=1), limit=2)


async def run_one(store: Store, steps: list[Step]) -> object:
    def decide(transaction: StoreTransaction) -> object:
        return [step.apply(transaction) for step in steps] + [read_all(transaction)]

    try:
        return await store.write(decide)
    except (ConflictError, DeliberateError) as error:
        return type(error)


async def run_all(store: Store, batches: list[list[list[Step]]]) -> object:
    """Run the transactions, those of one batch at the same time; return every answer and what is there in the end."""
    answers = [await asyncio.gather(*(run_one(store, steps) for steps in batch)) for batch in batches]
    found = await store.read(read_all), await store.read(read_events)
    await store.close()
    return answers, found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.lists(STEPS, max_size=5), max_size=4), max_size=4))
def test_the_real_store_does_what_the_model_does(batches: list[list[list[Step]]]) -> None:
    async def compare() -> None:
        with tempfile.TemporaryDirectory() as folder:
            real = await SqliteStore.open(Path(folder) / "ds01.db", checkpoint=lambda _step: None)
            assert await run_all(real, batches) == await run_all(MemoryStore(), batches)

    asyncio.run(compare())
