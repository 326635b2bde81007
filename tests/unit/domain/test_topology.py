"""Which cards lie close to each other."""

from dataclasses import replace

from hypothesis import given, strategies as st

from ds01.domain.devices.gpu import GpuLink, Inventory, LinkKind
from ds01.domain.devices.topology import CLOSE_LINKS, near_cards
from tests.fake_devices import whole_gpu


def test_nvlink_comes_before_pcie_and_the_host_is_not_close() -> None:
    links = (GpuLink("GPU-1", LinkKind.PIX), GpuLink("GPU-2", LinkKind.NVLINK), GpuLink("GPU-3", LinkKind.PHB))
    cards = (replace(whole_gpu(0), links=links), whole_gpu(1), whole_gpu(2), whole_gpu(3))
    assert near_cards(Inventory(cards)) == {"GPU-0": (2, 1), "GPU-1": (), "GPU-2": (), "GPU-3": ()}


def test_a_card_that_is_gone_is_near_to_nobody() -> None:
    card = replace(whole_gpu(0), links=(GpuLink("GPU-9", LinkKind.NVLINK),))
    assert near_cards(Inventory((card,))) == {"GPU-0": ()}


@given(st.lists(st.sampled_from(LinkKind), min_size=5, max_size=5))
def test_near_cards_are_exactly_the_closely_linked_ones_in_the_order_of_their_links(kinds: list[LinkKind]) -> None:
    links = tuple(GpuLink(f"GPU-{place + 1}", kind) for place, kind in enumerate(kinds))
    cards = (replace(whole_gpu(0), links=links), *(whole_gpu(place + 1) for place in range(5)))
    near = near_cards(Inventory(cards))["GPU-0"]
    assert set(near) == {place + 1 for place, kind in enumerate(kinds) if kind in CLOSE_LINKS}
    order = [list(LinkKind).index(kinds[place - 1]) for place in near]
    assert order == sorted(order)
