"""Which cards lie close to each other: several GPUs for one container should reach each other quickly."""

from ds01.domain.devices.gpu import Inventory, LinkKind, PhysicalGpu

_ORDER = {kind: place for place, kind in enumerate(LinkKind)}
CLOSE_LINKS = frozenset({LinkKind.NVLINK, LinkKind.PIX, LinkKind.PXB})
"""Links over which cards exchange data without the host."""


def near_cards(inventory: Inventory) -> dict[str, tuple[int, ...]]:
    """Return for each card the cards that are linked closely with it, nearest first.

    Args:
        inventory: The machine.

    Returns:
        Card UUID to positions in `inventory.devices`. Cards of which the driver tells no links have none.
    """
    place = {card.uuid: number for number, card in enumerate(inventory.devices)}
    return {card.uuid: _near(card, place) for card in inventory.devices}


def _near(card: PhysicalGpu, place: dict[str, int]) -> tuple[int, ...]:
    close = [link for link in card.links if link.kind in CLOSE_LINKS and link.uuid in place]
    return tuple(place[link.uuid] for link in sorted(close, key=lambda link: (_ORDER[link.kind], place[link.uuid])))
