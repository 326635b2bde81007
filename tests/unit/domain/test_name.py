"""Names of containers and users."""

import re

import pytest
from hypothesis import given, strategies as st

from ds01.domain.name import (
    MAX_LENGTH,
    MAX_UID,
    EngineName,
    parse_container_name,
    parse_engine_name,
    suggest_container_name,
)
from ds01.errors import InvalidRequestError

LEGAL = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}", fullmatch=True)
UIDS = st.integers(0, MAX_UID)


@given(LEGAL, UIDS)
def test_an_engine_name_reads_back_as_its_parts(name: str, uid: int) -> None:
    engine_name = EngineName(parse_container_name(name), uid)
    assert parse_engine_name(str(engine_name)) == engine_name
    assert parse_engine_name(f"/{engine_name}") == engine_name


@given(st.text(max_size=80))
def test_whatever_is_parsed_is_written_the_same(text: str) -> None:
    found = parse_engine_name(text)
    assert found is None or str(found) == text.removeprefix("/")


def test_a_uid_is_never_a_part_of_another() -> None:
    assert parse_engine_name("pt._.100") == EngineName("pt", 100)
    assert parse_engine_name("pt._.1001") == EngineName("pt", 1001)
    assert parse_engine_name("pt._.100._.1001") == EngineName("pt._.100", 1001)


@pytest.mark.parametrize(
    "text", ["", "pt", "pt._.", "._.100", "pt._.0100", "pt._.-1", "pt._.4294967295", "pt._.١", "a\nb._.1"]
)
def test_what_is_no_engine_name_belongs_to_nobody(text: str) -> None:
    assert parse_engine_name(text) is None


@pytest.mark.parametrize("text", ["a", "A", "0", "My-project_2", "a" * MAX_LENGTH])
def test_legal_names_are_taken_as_they_are(text: str) -> None:
    assert parse_container_name(text) == text


@pytest.mark.parametrize(
    "text", ["", "-a", "_a", "a b", "a.b", "#a", "a/b", "a\n", "ä", "a" * (MAX_LENGTH + 1), "../x", "a;rm -rf /"]
)
def test_illegal_names_are_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse_container_name(text)
    assert refused.value.hint
    assert len(refused.value.message) < 300


def test_a_typed_name_gets_a_proposal() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse_container_name("My Project")
    assert refused.value.details == {"proposal": "my-project"}


@given(st.text(max_size=200))
def test_a_proposal_is_always_a_legal_name(text: str) -> None:
    proposal = suggest_container_name(text)
    assert proposal is None or parse_container_name(proposal) == proposal


@given(LEGAL)
def test_a_proposal_for_a_proposal_is_itself(name: str) -> None:
    proposal = suggest_container_name(name)
    assert proposal is not None
    assert suggest_container_name(proposal) == proposal
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", proposal)
