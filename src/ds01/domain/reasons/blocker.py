"""Who holds what of a board, device by device, as people know it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ds01.domain.allocation import Allocation
from ds01.domain.reasons.explanation import Blocker
from ds01.domain.scheduling.board import Board, Hold, holds_of
from ds01.domain.scheduling.occupancy import FOREIGN_STATE
from ds01.domain.scheduling.situation import Situation


def blockers_of(situation: Situation, reach: Sequence[int]) -> tuple[Blocker, ...]:
    """Return who holds any of these bits, in the order of the devices.

    Args:
        situation: What there is.
        reach: Bits of every card.
    """
    board = situation.board
    names = device_names(board)
    found: list[tuple[tuple[int, int], Blocker]] = []
    for hold in holds_of(board, situation.allocations, situation.foreign):
        if any(mask & reach[card] for card, mask in hold.pieces):
            found += _blockers(hold, names, situation, reach)
    found.sort(key=lambda item: (item[0], item[1].since, item[1].container_name))
    return tuple(blocker for _, blocker in found)


def device_names(board: Board) -> dict[str, tuple[str, str, tuple[int, int]]]:
    """Return by UUID how people call a device, its profile, and its place: card and first bit."""
    names: dict[str, tuple[str, str, tuple[int, int]]] = {}
    for number, card in enumerate(board.cards):
        profiles = {position.gpu_uuid: position.profile for position in card.positions if position.gpu_uuid}
        names[card.uuid] = (str(card.index), "full", (number, 0))
        for place, (uuid, mask) in enumerate(card.instances):
            names[uuid] = (f"{card.index}:{place}", profiles.get(uuid, "MIG"), (number, mask))
    return names


def _blockers(
    hold: Hold,
    names: Mapping[str, tuple[str, str, tuple[int, int]]],
    situation: Situation,
    reach: Sequence[int],
) -> Iterator[tuple[tuple[int, int], Blocker]]:
    owner = hold.owner
    person = situation.people.get(owner.uid) if owner.uid is not None else None
    group = person.limits.group if person is not None else ""
    if isinstance(owner, Allocation):
        template = Blocker(
            owner.uid,
            owner.group or group,
            owner.container_name,
            "",
            "",
            "",
            owner.claimed_at,
            owner.state.value,
            until=owner.deadline_at,
            ends_at=owner.ends_at,
        )
        devices: Sequence[str] = owner.slices or owner.gpu_uuids
    else:
        template = Blocker(owner.uid, group, owner.name, "", "", "", owner.created_at, FOREIGN_STATE)
        devices = sorted(owner.gpu_uuids)
    for device in devices:
        uuid, _, place = device.partition("/")
        address, profile, at = names.get(uuid, ("", "", (0, 0)))
        if address and reach[at[0]]:
            shown = place.partition("@")[0] or profile
            yield at, replace(template, gpu_uuid=device, address=address, profile=shown)
