"""Machines that are thought of."""

import json
from importlib.resources import files

import pytest

from ds01.domain.devices.gpu import GpuKind
from ds01.domain.scheduling.machine import MAX_CARDS, DeviceFacts, parse_machine
from ds01.errors import InvalidRequestError

FACTS: dict[str, DeviceFacts] = json.loads((files("ds01") / "data" / "mig_profiles.json").read_text(encoding="utf-8"))[
    "devices"
]


def test_several_models_are_one_machine() -> None:
    machine = parse_machine(" 2xa100-80gb, H100-80GB", FACTS)
    assert machine.text == "2xA100-80GB,1xH100-80GB"
    assert [card.model for card in machine.board.cards] == ["A100-80GB", "A100-80GB", "H100-80GB"]
    assert len({card.uuid for card in machine.board.cards}) == 3


def test_a_card_is_whole_or_cut_into_plain_profiles() -> None:
    (card,) = parse_machine("1xA100-40GB", FACTS).board.cards
    whole, *parts = card.positions
    assert (whole.kind, whole.mask, whole.equivalents) == (GpuKind.FULL, 0xFF, 1.0)
    assert {(part.profile, part.start) for part in parts} == {
        *(("1g", start) for start in range(7)),
        *(("2g", start) for start in (0, 2, 4)),
        ("3g", 0),
        ("3g", 4),
        ("4g", 0),
    }
    three = next(part for part in parts if (part.profile, part.start) == ("3g", 4))
    assert (three.mask, three.equivalents) == (0xF0, 3 / 7)


@pytest.mark.parametrize("model", sorted(FACTS))
def test_with_the_values_of_states_a_machine_is_placed_on_like_a_real_one(model: str) -> None:
    shipped = json.loads((files("ds01") / "data" / "mig_values.json").read_text(encoding="utf-8"))["geometries"]
    board = parse_machine(model, FACTS, shipped).board
    (card,) = board.cards
    assert card.table is not None
    assert board.tables[card.table].values is not None


@pytest.mark.parametrize("model", sorted(FACTS))
def test_every_model_of_the_table_can_be_simulated(model: str) -> None:
    (card,) = parse_machine(model, FACTS).board.cards
    assert {position.profile for position in card.positions} == {"full", "1g", "2g", "3g", "4g"}
    assert all(position.memory_bytes > 0 for position in card.positions)


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("8xA100-80G", "No GPU model 'A100-80G' is known", "Did you mean A100-80GB?"),
        ("8xA100", "No GPU model 'A100' is known", "Did you mean A100-40GB or A100-80GB?"),
        ("0xH100-80GB", "A machine of 0 GPUs", "Use at least 1"),
        (f"{MAX_CARDS}xH100-80GB,1xH100-80GB", f"A machine of {MAX_CARDS + 1} GPUs", "Use at least 1"),
        ("", "'' does not say which GPUs", "Write it like"),
        ("8xA100-80GB,", "'' does not say which GPUs", "Write it like"),
        ("-1xA100-80GB", "'-1xA100-80GB' does not say which GPUs", "Write it like"),
    ],
)
def test_a_machine_that_cannot_be_understood_is_answered_with_the_nearest(text: str, said: str, hint: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_machine(text, FACTS)
    assert caught.value.message.startswith(said)
    assert (caught.value.hint or "").startswith(hint)
