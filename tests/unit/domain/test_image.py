"""References, ids and private tags."""

import pytest
from hypothesis import given, strategies as st

from ds01.config.catalogue import read_shipped_catalogue
from ds01.domain.images.catalogue import CatalogueRow
from ds01.domain.images.image import is_image_id, is_moved_tag, is_private_tag, moved_tag, parse_reference, private_tag
from ds01.domain.name import EngineName
from ds01.errors import InvalidRequestError

CATALOGUE = read_shipped_catalogue()
MINE = EngineName("my-project", 1001)


@pytest.mark.parametrize(
    ("text", "repository", "tag", "digest"),
    [
        ("ubuntu", "ubuntu", "latest", None),
        ("ubuntu:22.04", "ubuntu", "22.04", None),
        ("localhost:5000/a/b", "localhost:5000/a/b", "latest", None),
        ("registry.example:443/a_b/c--d:T.x-1", "registry.example:443/a_b/c--d", "T.x-1", None),
        (f"a@sha256:{'0' * 64}", "a", None, f"sha256:{'0' * 64}"),
        (f"a:1@sha256:{'0' * 64}", "a", "1", f"sha256:{'0' * 64}"),
    ],
)
def test_references_are_read_once_and_right(text: str, repository: str, tag: str | None, digest: str | None) -> None:
    found = parse_reference(text)
    assert (found.repository, found.tag, found.digest) == (repository, tag, digest)
    assert parse_reference(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Ubuntu",
        "a:",
        "a:latest:latest",
        "a..b",
        "a.",
        "-a",
        "a/",
        "/a",
        "a:é",
        "a:" + "x" * 129,
        "a b",
        "a\n",
        "a" * 256,
        "a@sha256:0",
        "a;b",
        "٣",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse_reference(text)
    assert len(refused.value.message) < 200


PARTS = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
REFERENCES = st.builds(
    lambda host, path, tag, digest: host + "/".join(path) + tag + digest,
    st.sampled_from(["", "localhost:5000/", "Registry.Example/"]),
    st.lists(PARTS, min_size=1, max_size=3),
    TAGS.map(lambda tag: f":{tag}") | st.just(""),
    st.sampled_from(["", "@sha256:" + "a" * 64]),
)


@given(REFERENCES, st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}", fullmatch=True), st.integers(0, 2**32 - 2))
def test_a_private_tag_is_a_legal_reference_that_names_its_owner(reference: str, name: str, uid: int) -> None:
    engine_name = EngineName(name, uid)
    tag = private_tag(reference, engine_name)
    parsed = parse_reference(tag)
    assert parsed.tag == str(engine_name)
    assert is_private_tag(tag)
    # a private tag of a private tag is one again: an image can be made from somebody's container
    assert is_private_tag(private_tag(tag, engine_name))


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.image)
def test_every_row_of_the_catalogue_has_a_private_tag(row: CatalogueRow) -> None:
    tag = private_tag(row.image, MINE)
    assert parse_reference(tag).tag == "my-project._.1001"
    assert parse_reference(row.image).tag not in {None, ""}


def test_the_tag_of_an_image_goes_into_the_name() -> None:
    assert (
        private_tag("rocm/dev-ubuntu-20.04:5.4.2-complete", MINE)
        == "rocm/dev-ubuntu-20.04-5-4-2-complete:my-project._.1001"
    )
    assert private_tag("aimehub/x", MINE) == private_tag("aimehub/x:latest", MINE) == "aimehub/x:my-project._.1001"
    assert private_tag("x:___", MINE) == "x-tag:my-project._.1001"
    assert private_tag("sha256:" + "ab" * 32, MINE) == "ds01.invalid/image-abababababab:my-project._.1001"


@pytest.mark.parametrize(
    "reference", ["x", "x:latest", "localhost:5000/x", "x:pt._.", f"x@sha256:{'0' * 64}", "x:._.5", "x:a._.05"]
)
def test_a_shared_tag_is_never_taken_for_a_private_one(reference: str) -> None:
    assert not is_private_tag(reference)


def test_the_copy_of_a_move_is_told_from_every_other_tag() -> None:
    for tag in ("aimehub/x:my-project._.1001", "ds01.invalid/image-abababababab:my-project._.1001"):
        assert not is_moved_tag(tag)
        moved = moved_tag(tag, MINE, "0123abcd")
        assert is_moved_tag(moved)
        assert is_moved_tag(moved_tag(moved, MINE, "4567abcd"))
    # somebody's own image may be called so; only one container's tag of it is ours
    assert not is_moved_tag("site/x-moved-0123abcd:latest")
    assert not is_moved_tag("site/x-moved-0123abcde:my-project._.1001")


def test_an_id_is_told_from_a_name() -> None:
    assert is_image_id("0123456789ab")
    assert is_image_id("sha256:" + "0" * 64)
    assert not is_image_id("0123456789a")
    assert not is_image_id("pytorch")
    assert not is_image_id("sha256:" + "0" * 65)
