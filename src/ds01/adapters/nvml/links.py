"""Reads how the cards are connected. Runs in the child process only."""

from collections.abc import Sequence

import pynvml

from ds01.adapters.nvml.calls import Handle, ask

# The words of `nvidia-smi topo -m`. Source: nvml.h, nvmlGpuTopologyLevel_t.
_LEVELS = {
    pynvml.NVML_TOPOLOGY_INTERNAL: "pix",
    pynvml.NVML_TOPOLOGY_SINGLE: "pix",
    pynvml.NVML_TOPOLOGY_MULTIPLE: "pxb",
    pynvml.NVML_TOPOLOGY_HOSTBRIDGE: "phb",
    pynvml.NVML_TOPOLOGY_NODE: "node",
    pynvml.NVML_TOPOLOGY_SYSTEM: "sys",
}
_NEAREST_FIRST = ("nvlink", "pix", "pxb", "phb", "node", "sys")
_P2P_OK = 0  # nvmlGpuP2PStatus_t

Links = dict[str, list[tuple[str, str]]]

# Cables are not moved while a driver runs, only MIG takes NVLink away; asking is two calls for every pair of cards.
_known: dict[tuple[tuple[str, bool], ...], Links] = {}


def read_links(cards: Sequence[tuple[Handle, str, bool]]) -> Links:
    """Return for each card the others with the kind of way to them, the nearest first.

    Args:
        cards: Handle, UUID and MIG mode of every card that answers.
    """
    key = tuple((uuid, is_cut) for _, uuid, is_cut in cards)
    if key not in _known:
        _known.clear()
        _known[key] = {uuid: _links_of(handle, uuid, cards) for handle, uuid, _ in cards}
    return _known[key]


def _links_of(handle: Handle, uuid: str, cards: Sequence[tuple[Handle, str, bool]]) -> list[tuple[str, str]]:
    links = [(other_uuid, _kind(handle, other)) for other, other_uuid, _ in cards if other_uuid != uuid]
    told = [(other, kind) for other, kind in links if kind is not None]
    return sorted(told, key=lambda link: _NEAREST_FIRST.index(link[1]))


def _kind(handle: Handle, other: Handle) -> str | None:
    """Return what lies between two cards; None if the driver does not say. NVLink also counts through switches."""
    try:
        if ask("nvmlDeviceGetP2PStatus", handle, other, pynvml.NVML_P2P_CAPS_INDEX_NVLINK) == _P2P_OK:
            return "nvlink"
    except pynvml.NVMLError:
        pass  # the way over PCIe is worth knowing without it
    try:
        return _LEVELS.get(ask("nvmlDeviceGetTopologyCommonAncestor", handle, other))
    except pynvml.NVMLError:
        return None
