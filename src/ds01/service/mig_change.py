"""The durable intent to cut cards anew: written before the first step, gone after the last. It survives a crash."""

import json
from collections.abc import Mapping

from ds01.domain.devices.mig_layout import CardState
from ds01.service.ports import StoreTransaction

FACT = "mig-changes"
REASON = "its MIG layout is being changed"


def read_changes(transaction: StoreTransaction) -> dict[str, CardState]:
    """Return the cards that are being changed, by UUID, with how they were before."""
    text = transaction.get_fact(FACT)
    kept = json.loads(text) if text else {}
    return {
        uuid: CardState(bool(was["mig"]), tuple((str(name), start) for name, start in was["instances"]))
        for uuid, was in kept.items()
    }


def write_changes(transaction: StoreTransaction, changes: Mapping[str, CardState]) -> None:
    """Replace the intent."""
    kept = {uuid: {"mig": was.is_mig, "instances": list(was.instances)} for uuid, was in changes.items()}
    transaction.set_fact(FACT, json.dumps(kept))


def changing_cards(transaction: StoreTransaction) -> dict[str, str]:
    """Return the cards of which nothing may be granted now, with the reason, as the scheduler's board wants them."""
    return dict.fromkeys(read_changes(transaction), REASON)
