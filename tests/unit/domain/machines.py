"""Machines, users and limits for tests of the domain."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from ds01.domain.devices.gpu import Inventory, MigInstance, PhysicalGpu
from ds01.domain.rules.limit import LIMIT_NAMES, EffectiveLimits, Limits

GIB = 1024**3
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ALICE, BOB, CAROL = 1001, 1002, 1003

# profile name, compute slices, memory in GiB
A100_PROFILES = (("1g.5gb", 1, 5), ("2g.10gb", 2, 10), ("3g.20gb", 3, 20))
A30_PROFILES = (("1g.6gb", 1, 6), ("2g.12gb", 2, 12))


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def a100(index: int, *profiles: str, mig: bool | None = None, fault: str | None = None) -> PhysicalGpu:
    """Return an A100 with MIG instances of these profiles, or whole."""
    return card(index, "NVIDIA A100-PCIE-40GB", 40, 7, A100_PROFILES, profiles, mig=mig, fault=fault)


def a30(index: int, *profiles: str) -> PhysicalGpu:
    return card(index, "NVIDIA A30", 24, 4, A30_PROFILES, profiles)


def card(
    index: int,
    model: str,
    memory_gib: int,
    slices: int,
    known: tuple[tuple[str, int, int], ...],
    profiles: tuple[str, ...],
    *,
    mig: bool | None = None,
    fault: str | None = None,
) -> PhysicalGpu:
    facts = {name: (compute, memory) for name, compute, memory in known}
    instances = tuple(
        MigInstance(
            uuid=f"MIG-{index}000{position}-0000",
            profile=profile,
            memory_bytes=facts[profile][1] * GIB,
            compute_slices=facts[profile][0],
            gpu_instance_id=position + 7,
            compute_instance_id=0,
            index=position,
        )
        for position, profile in enumerate(profiles)
    )
    enabled = bool(instances) if mig is None else mig
    return PhysicalGpu(
        uuid=f"GPU-{index}aaa0000-bbbb",
        index=index,
        model=model,
        memory_bytes=memory_gib * GIB,
        compute_capability=(8, 0),
        bus_id=f"00000000:{index + 1:02X}:00.0",
        minor=index,
        slices_total=slices,
        mig_enabled=enabled,
        mig_pending=enabled,
        instances=instances,
        fault=fault,
    )


def machine(*cards: PhysicalGpu) -> Inventory:
    return Inventory(cards, driver_version="560.35", cuda_version=(12, 6))


def limits(**values: object) -> EffectiveLimits:
    """Return limits without quotas except for the named ones."""
    found = Limits(**values)  # type: ignore[arg-type]  # names and types are the test's
    return EffectiveLimits(values=found, origins=dict.fromkeys(LIMIT_NAMES, "policy.yaml:3"), group="student")


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    """Machines with one to four cards: whole, with MIG instances of mixed sizes, without any, or broken."""
    cards: list[PhysicalGpu] = []
    for index in range(draw(st.integers(1, 4))):
        make, known = draw(st.sampled_from([(a100, A100_PROFILES), (a30, A30_PROFILES)]))
        names = st.sampled_from([name for name, _, _ in known])
        layout = draw(st.sampled_from(["whole", "mig", "mig", "empty", "broken"]))
        if layout == "mig":
            cards.append(make(index, *draw(st.lists(names, min_size=1, max_size=4))))
        elif layout == "empty":
            cards.append(a100(index, mig=True))
        elif layout == "broken":
            cards.append(a100(index, fault="it fell off the bus"))
        else:
            cards.append(make(index))
    return machine(*cards)
