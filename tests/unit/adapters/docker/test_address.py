"""Paths and queries."""

import pytest

from ds01.adapters.docker.address import (
    container_path,
    exec_path,
    image_path,
    split_reference,
    with_query,
)
from ds01.errors import InvalidRequestError

WRONG = ["", "/", "a/b", "..", ".", "a?b", "a#b", "a%2fb", "a b", "a\nb", "a\0b", "-a", "ä", "a;b", "a\\b", "x" * 300]


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_one_segment_never_reaches_the_engine(name: str) -> None:
    with pytest.raises(InvalidRequestError):
        container_path(name, "json")
    with pytest.raises(InvalidRequestError):
        exec_path(name, "json")


@pytest.mark.parametrize("reference", ["", "/", "a//b", "a/../b", "a/.", "a?b", "a%2fb", "a b", "/a", "a/", "x" * 600])
def test_what_is_not_a_reference_never_reaches_the_engine(reference: str) -> None:
    with pytest.raises(InvalidRequestError):
        image_path(reference, "json")
    with pytest.raises(InvalidRequestError):
        split_reference(reference)


def test_names_become_paths() -> None:
    assert container_path("alice._.1000", "json") == "/containers/alice._.1000/json"
    assert exec_path("0" * 64) == "/exec/" + "0" * 64
    assert image_path("registry:5000/a/b:c", "tag") == "/images/registry:5000/a/b:c/tag"
    assert image_path("sha256:" + "0" * 64) == "/images/sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("pytorch", ("pytorch", "latest")),
        ("aimehub/pytorch:2.8", ("aimehub/pytorch", "2.8")),
        ("registry:5000/pytorch", ("registry:5000/pytorch", "latest")),
        ("registry:5000/pytorch:2.8", ("registry:5000/pytorch", "2.8")),
        ("a/b@sha256:0123", ("a/b", "sha256:0123")),
        ("registry:5000/b:tag@sha256:0123", ("registry:5000/b", "sha256:0123")),
    ],
)
def test_a_reference_has_two_parts(reference: str, parts: tuple[str, str]) -> None:
    assert split_reference(reference) == parts


def test_queries_are_quoted() -> None:
    assert with_query("/x", {}) == "/x"
    assert with_query("/x", {"path": "/a b&c=d%/ä#"}) == "/x?path=%2Fa%20b%26c%3Dd%25%2F%C3%A4%23"
