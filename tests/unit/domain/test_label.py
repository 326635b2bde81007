"""Labels of our containers."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from ds01.domain import label
from ds01.domain.label import LabelFacts, build_labels, clean_value, cleaned_inherited, is_ours
from ds01.domain.name import EngineName
from ds01.domain.user import User

FACTS = LabelFacts(
    owner=User(1001, 1001, "alice.b@school.lan"),
    engine_name=EngineName("pt", 1001),
    architecture="CUDA_ADA",
    workspace="/home/alice/workspace/pt",
    data=None,
    models="/srv/models",
    framework="Pytorch-2.8.0-aime",
    gpus_text="2",
    allocation_id="0011223344556677",
    gpu_uuids=("GPU-1", "MIG-2"),
    request="2",
    seal="ab" * 32,
    nonce="cd" * 16,
    interface="cli",
    group="student",
    created_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
)
# what AIME's tool writes, in its order
AIME = ["aime.mlc", "aime.mlc.NAME", "aime.mlc.USER", "aime.mlc.ARCH", "aime.mlc.MLC_VERSION", "aime.mlc.WORK_MOUNT"]
AIME += ["aime.mlc.DATA_MOUNT", "aime.mlc.MODELS_MOUNT", "aime.mlc.FRAMEWORK", "aime.mlc.GPUS"]
OURS = ["SCHEMA", "MANAGED", "UID", "ALLOCATION", "GPUS", "REQUEST", "SEAL", "NONCE", "INTERFACE", "GROUP", "CREATED"]


def test_the_labels_are_aimes_ten_in_their_order_and_then_ours() -> None:
    names = list(build_labels(FACTS))
    assert names[:10] == AIME
    assert set(names[10:]) == {f"aime.mlc.DS01_{name}" for name in OURS} | {"aime.mlc.CUSTOM_IMAGE"}
    own = {label.MAINTAINER, label.USE_CASE, label.RECIPE, label.BASES, label.X11}
    assert set(names) | own == set(label.LABELS)


def test_the_values_are_what_aimes_tool_reads() -> None:
    labels = build_labels(FACTS)
    assert labels["aime.mlc"] == labels["aime.mlc.USER"] == "alice.b@school.lan"
    assert labels["aime.mlc.NAME"] == "pt"
    assert labels["aime.mlc.MLC_VERSION"] == "4"
    assert (labels["aime.mlc.DATA_MOUNT"], labels["aime.mlc.MODELS_MOUNT"]) == ("-", "/srv/models")
    assert labels["aime.mlc.GPUS"] == "2"
    assert labels["aime.mlc.CUSTOM_IMAGE"] == ""
    assert labels["aime.mlc.DS01_GPUS"] == "GPU-1;MIG-2"
    assert (labels["aime.mlc.DS01_SCHEMA"], labels["aime.mlc.DS01_MANAGED"], labels["aime.mlc.DS01_UID"]) == (
        "1",
        "true",
        "1001",
    )
    assert is_ours(labels)


@given(st.text(), st.text(), st.text(), st.lists(st.text(), max_size=3))
def test_no_label_ever_holds_a_comma_or_a_line_break(name: str, path: str, image: str, uuids: list[str]) -> None:
    facts = LabelFacts(
        owner=User(1001, 1001, name),
        engine_name=EngineName("pt", 1001),
        architecture=name,
        workspace=path,
        data=path,
        models=path,
        framework=image,
        gpus_text=name,
        allocation_id="a",
        gpu_uuids=tuple(uuids),
        request=name,
        seal="s",
        nonce="n",
        interface="cli",
        group=name,
        created_at=FACTS.created_at,
        custom_image=image,
    )
    labels = build_labels(facts)
    assert not [value for value in labels.values() if set(value) & set(",\n\r")]
    assert {key: clean_value(value) for key, value in labels.items()} == labels


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_only_inherited_labels_that_break_aimes_list_are_written_anew(labels: dict[str, str]) -> None:
    cleaned = cleaned_inherited(labels)
    assert set(cleaned) == {name for name, value in labels.items() if set(value) & set(",\n\r")}
    assert not cleaned_inherited({**labels, **cleaned})


@pytest.mark.parametrize(
    "labels", [{}, {label.MANAGED: "true"}, {label.ALLOCATION: "a"}, {label.MANAGED: "false", label.ALLOCATION: "a"}]
)
def test_a_container_that_does_not_say_so_is_not_ours(labels: dict[str, str]) -> None:
    assert not is_ours(labels)
