"""Values for tests of the store."""

from datetime import UTC, datetime, timedelta

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.request import GpuRequest
from ds01.service.ports import ContainerRow

START = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
ALICE = 1001
BOB = 1002


def at(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)


def allocation(
    name: str,
    *gpus: str,
    state: AllocationState = AllocationState.CLAIMED,
    uid: int = ALICE,
    minute: int = 0,
    deadline: datetime | None = None,
) -> Allocation:
    return Allocation(
        id=name,
        uid=uid,
        container_name=f"{name}-container",
        request=GpuRequest(count=len(gpus), kind="any", memory_bytes=20 * 1024**3),
        gpu_uuids=gpus,
        gpu_equivalents=len(gpus) / 7,
        state=state,
        claimed_at=at(minute),
        changed_at=at(minute + 1),
        deadline_at=deadline,
    )


def container(name: str, allocation_id: str, *, uid: int = ALICE, nonce: str = "", minute: int = 0) -> ContainerRow:
    return ContainerRow(
        uid=uid,
        name=name,
        nonce=nonce or f"nonce-{uid}-{name}",
        engine_id=None,
        allocation_id=allocation_id,
        image=f"ds01.invalid/u{uid}/{name}:1",
        created_at=at(minute),
        spec='{"working_dir": "/workspace/größe"}',
    )
