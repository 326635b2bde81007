"""Documents to bytes and back, strictly."""

import json
from typing import NotRequired, TypedDict

import pytest
from hypothesis import given, strategies as st

from ds01.api.codec import decode, encode
from ds01.api.schema import CreateContainerBody, ExecBody, PortBody
from ds01.errors import InvalidRequestError


class Inner(TypedDict):
    number: int


class Outer(TypedDict):
    text: str
    inner: NotRequired[Inner]
    many: NotRequired[list[Inner]]
    figure: NotRequired[float]
    flag: NotRequired[bool]
    free: NotRequired[dict[str, str]]
    deep: NotRequired[list[list[int]]]


def refusal(body: bytes) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as refused:
        decode(body, Outer)
    assert len(refused.value.message) < 400
    return refused.value


TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
INNERS = st.fixed_dictionaries({"number": st.integers(-(2**63), 2**63 - 1)})
OUTERS = st.fixed_dictionaries(
    {"text": TEXT},
    optional={
        "inner": INNERS,
        "many": st.lists(INNERS, max_size=3),
        "figure": st.floats(allow_nan=False, allow_infinity=False),
        "flag": st.booleans(),
        "free": st.dictionaries(TEXT, TEXT, max_size=3),
    },
)


@given(OUTERS)
def test_what_is_sent_is_what_is_read(document: Outer) -> None:
    assert decode(encode(document), Outer) == document


@pytest.mark.parametrize(
    ("body", "where", "hint"),
    [
        (b'{"text": "x", "iner": {}}', "'iner'", "Did you mean 'inner'?"),
        (b'{"text": "x", "inner": {"number": 1, "numbr": 2}}', "'inner.numbr'", "Did you mean 'number'?"),
        (b'{"text": "x", "many": [{"number": 1}, {"x": 2}]}', "'many.1.x'", "Known fields: number."),
    ],
)
def test_an_unknown_field_is_named_with_its_place_and_the_nearest(body: bytes, where: str, hint: str) -> None:
    error = refusal(body)
    assert where in error.message
    assert error.hint == hint


def test_keys_of_free_mappings_are_anybodys() -> None:
    assert decode(b'{"text": "x", "free": {"anything": "y"}}', Outer)["free"] == {"anything": "y"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"5",
        b'"text"',
        b"{}",
        b'{"text": 5}',
        b'{"text": null}',
        b'{"text": "x", "flag": 1}',
        b'{"text": "x", "flag": "true"}',
        b'{"text": "x", "figure": "1"}',
        b'{"text": "x", "figure": true}',
        b'{"text": "x", "inner": {"number": "1"}}',
        b'{"text": "x", "inner": {"number": 1.5}}',
        b'{"text": "x", "inner": {"number": true}}',
        b'{"text": "x", "inner": []}',
        b'{"text": "x", "many": {}}',
        b'{"text": "x", "many": [5]}',
        b'{"text": "x"} x',
        b"\xff\xfe",
        b'{"text": "\xff"}',
    ],
)
def test_what_does_not_fit_is_refused(body: bytes) -> None:
    refusal(body)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b'{"text": "x", "text": "y"}', "repeated"),
        (b'{"text": "x", "free": {"a": "1", "a": "2"}}', "repeated"),
        (b'{"text": "x", "figure": NaN}', "NaN"),
        (b'{"text": "x", "figure": -Infinity}', "Infinity"),
        (b'{"text": "x", "figure": 1e999}', "too large"),
        (b'{"text": "x", "inner": {"number": 9223372036854775808}}', "too large"),
        (b'{"text": "x", "inner": {"number": ' + b"9" * 5000 + b"}}", "too large"),
        (b'{"text": "x", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "deep"),
        (b'{"text": "\\ud800"}', "Unicode"),
        (b'{"text": "a\\u0000b"}', "NUL"),
        (b'{"text": "x", "free": {"\\udcff": "y"}}', "Unicode"),
    ],
)
def test_what_parsers_differ_on_is_refused(body: bytes, word: str) -> None:
    assert word in refusal(body).message


def test_escaped_characters_beyond_the_first_plane_are_text() -> None:
    assert decode(b'{"text": "\\ud83d\\ude00"}', Outer)["text"] == "\U0001f600"


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789textinernumber \\u', max_size=60).map(str.encode))
def test_any_bytes_are_a_document_or_refused(body: bytes) -> None:
    try:
        found = decode(body, Outer)
    except InvalidRequestError:
        return
    assert isinstance(found["text"], str)


def test_text_that_is_not_unicode_still_gives_an_answer() -> None:
    assert json.loads(encode({"owner": "M\udcfcller", "n": 1})) == {"owner": "M?ller", "n": 1}


def test_the_documents_of_the_schema_are_read() -> None:
    body = decode(
        b'{"name": "pt", "framework": "pytorch", "gpu": {"count": 1}, "ports": [{"container_port": 80}]}',
        CreateContainerBody,
    )
    assert body["name"] == "pt"
    with pytest.raises(InvalidRequestError, match=r"gpu\.cuont"):
        decode(b'{"name": "pt", "gpu": {"cuont": 1}}', CreateContainerBody)
    with pytest.raises(InvalidRequestError, match="protocol"):
        decode(b'{"container_port": 80, "protocol": "sctp"}', PortBody)
    with pytest.raises(InvalidRequestError):
        decode(b'{"command": "ls"}', ExecBody)
