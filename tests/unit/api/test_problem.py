"""Errors on the wire, both directions."""

import json

import pytest
from hypothesis import given, strategies as st

from ds01.api.codec import encode
from ds01.api.problem import TYPE_PREFIX, error_of, problem_of
from ds01.errors import EXIT_FAILURE, Ds01Error, all_error_classes

CLASSES = [found for found in all_error_classes() if found.__module__ == "ds01.errors"]


@pytest.mark.parametrize("error_class", CLASSES)
def test_every_error_arrives_as_itself(error_class: type[Ds01Error]) -> None:
    sent = error_class("It broke.", hint="Mend it.", details={"limit": "max_gpus", "allowed": 2, "held": [1, None]})
    arrived = error_of(json.loads(encode(problem_of(sent))))
    assert type(arrived) is error_class
    assert (arrived.message, arrived.hint, arrived.details) == (sent.message, sent.hint, sent.details)
    assert (arrived.exit_status, arrived.http_status) == (sent.exit_status, sent.http_status)


def test_a_document_has_the_members_of_rfc_9457() -> None:
    document = problem_of(Ds01Error("It broke."))
    assert document["type"] == TYPE_PREFIX + "error"
    assert (document["status"], document["title"], document["detail"]) == (500, "The request failed", "It broke.")
    assert "hint" not in document
    assert "details" not in document


def test_an_error_of_a_newer_daemon_keeps_its_text_and_exit_status() -> None:
    arrived = error_of({"code": "brand_new", "detail": "It broke anew.", "exit_status": 9})
    assert type(arrived) is Ds01Error
    assert (arrived.message, arrived.exit_status) == ("It broke anew.", 9)
    assert Ds01Error.exit_status == EXIT_FAILURE


def test_a_failure_is_never_a_success() -> None:
    assert error_of({"code": "brand_new", "exit_status": 0}).exit_status == EXIT_FAILURE


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
FIELDS = st.sampled_from(["code", "detail", "title", "hint", "details", "exit_status", "status"])


@given(st.dictionaries(FIELDS, ANYTHING | st.sampled_from(["not_found", "quota_exceeded"]), max_size=7))
def test_any_document_is_an_error_that_says_something(document: dict[str, object]) -> None:
    arrived = error_of(document)
    assert arrived.message
    assert arrived.exit_status != 0
    assert arrived.hint is None or isinstance(arrived.hint, str)
