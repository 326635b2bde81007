"""Names of people's own images."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, strategies as st

from ds01.domain.images.image import parse_reference
from ds01.domain.images.image_name import (
    MAX_LENGTH,
    OwnImage,
    dated_tag,
    dockerfile_name,
    meant_images,
    nearest_images,
    parse_image_name,
    parse_own_image,
    suggest_image_name,
)
from ds01.domain.images.recipe import ImageRecipe
from ds01.domain.name import MAX_UID
from ds01.errors import InvalidRequestError

NAMES = st.from_regex(r"[a-z0-9]{1,6}([._-][a-z0-9]{1,6}){0,2}", fullmatch=True).filter(
    lambda name: name not in {"latest", "none", "scratch", "ds01", "all", "base"}
)


@given(NAMES, st.integers(0, MAX_UID))
def test_an_own_image_is_read_back_and_is_a_reference(name: str, uid: int) -> None:
    image = OwnImage(uid, parse_image_name(name))
    assert parse_own_image(str(image)) == image
    assert str(parse_reference(str(image))) == str(image)
    assert parse_own_image(f"ds01-{uid}/{name}") == image
    assert ImageRecipe("a", name).name == name


@given(st.text(max_size=80))
def test_a_proposal_is_always_legal(text: str) -> None:
    proposal = suggest_image_name(text)
    assert proposal is None or len(proposal) <= MAX_LENGTH
    with suppress(InvalidRequestError):
        assert parse_image_name(text) == text
    if proposal is not None and proposal not in {"latest", "none", "scratch", "ds01", "all", "base"}:
        assert parse_image_name(proposal) == proposal


@pytest.mark.parametrize(
    "text", ["", "My Image", "a--b.", "-a", "a/b", "a:1", "é", "a" * 49, "a..b", "a\n", "latest", "pytorch", "a___b"]
)
def test_an_illegal_name_is_refused_with_a_proposal(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_image_name(text, ["Pytorch"])
    assert caught.value.hint


@pytest.mark.parametrize(
    "reference",
    [
        "a",
        "ds01.invalid/u01/a",
        "ds01.invalid/u1/a/b",
        "ds01.invalid/u1/-a",
        "ds01.invalid/u4294967295/a",
        "x.ds01.invalid/u1/a",
        "u1/a",
    ],
)
def test_what_is_nobodys_own_is_none(reference: str) -> None:
    assert parse_own_image(reference) is None


def test_a_typed_name_can_mean_what_the_predecessors_called_it() -> None:
    assert meant_images("thesis", 1001, "alice") == (
        "ds01.invalid/u1001/thesis:latest",
        "ds01-1001/thesis:latest",
        "thesis-alice:latest",
    )
    assert meant_images("thesis-alice", 1001, "alice") == (
        "ds01.invalid/u1001/thesis-alice:latest",
        "ds01.invalid/u1001/thesis:latest",
        "ds01-1001/thesis-alice:latest",
        "ds01-1001/thesis:latest",
        "thesis-alice:latest",
        "thesis-alice-alice:latest",
    )
    assert meant_images("thesis:20261122-023300", 1, "bob")[0] == "ds01.invalid/u1/thesis:20261122-023300"
    assert meant_images("ds01-7/thesis", 1, "bob") == ("ds01-7/thesis:latest",)
    assert meant_images("ds01.invalid/u7/thesis:x", 1, "bob") == ("ds01.invalid/u7/thesis:x",)
    assert meant_images("../x", 1, "bob") == ()


def test_names_of_files_tags_and_the_nearest() -> None:
    assert dockerfile_name("thesis", "alice") == "thesis-alice.Dockerfile"
    assert dated_tag(datetime(2026, 11, 22, 4, 33, tzinfo=timezone(timedelta(hours=2)))) == "20261122-023300"
    assert dated_tag(datetime(2026, 1, 2, tzinfo=UTC)) == "20260102-000000"
    assert nearest_images("thesi", ["thesis", "cv", "theses"])[0] in {"thesis", "theses"}
    assert nearest_images("zzz", ["thesis"]) == ()
