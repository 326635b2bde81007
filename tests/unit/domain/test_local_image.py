"""Which names of images a user may choose from."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, strategies as st

from ds01.domain.containers.tools import derived_reference
from ds01.domain.engine import ImageDetails
from ds01.domain.images.image import is_private_tag
from ds01.domain.images.image_name import OwnImage
from ds01.domain.images.local_image import local_images

ALICE, BOB = 1001, 1002
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAMES = st.sampled_from(
    [
        "ubuntu:24.04",
        "aimehub/pytorch-2.8.0:latest",
        "ds01.invalid/u1001/thesis:latest",
        "ds01.invalid/u1001/thesis:20260101-120000",
        "ds01.invalid/u1001/thesis:demo._.1001",
        "ds01.invalid/u1002/secret:latest",
        "ds01-1001/old:latest",
        "ds01-1002/theirs:latest",
        "ds01-1001/old:demo._.1001",
        "aimehub/pytorch-2.8.0:demo._.1002",
        "ds01.invalid/image-0123456789ab:demo._.1001",
        "ds01.invalid/anything:else",
        derived_reference("sha256:" + "0" * 64),
    ]
)
IMAGES = st.lists(
    st.builds(
        ImageDetails,
        id=st.sampled_from(["sha256:1", "sha256:2"]),
        tags=st.lists(NAMES, unique=True).map(tuple),
        created_at=st.none() | st.integers(0, 9).map(lambda days: NOON + timedelta(days=days)),
    )
)


def test_own_images_come_first_under_the_name_that_is_typed() -> None:
    images = [
        ImageDetails("sha256:1", ("ubuntu:24.04", "demo:x._.1001"), created_at=NOON + timedelta(days=1)),
        ImageDetails("sha256:2", ("ds01.invalid/u1001/thesis:latest",), created_at=NOON, size_bytes=7),
        ImageDetails("sha256:3", ("ds01.invalid/u1001/thesis:20260101-120000",), created_at=NOON + timedelta(hours=1)),
    ]
    found = local_images(images, ALICE, {"ubuntu:24.04": "Ubuntu-24.04"})
    assert [(image.name, image.is_own) for image in found] == [
        ("thesis:20260101-120000", True),
        ("thesis", True),
        ("ubuntu:24.04", False),
    ]
    assert found[1].reference == "ds01.invalid/u1001/thesis:latest"
    assert (found[2].framework, found[1].framework) == ("Ubuntu-24.04", "")


def test_the_label_of_an_image_says_its_framework_before_the_catalogue_does() -> None:
    image = ImageDetails("sha256:1", ("x:latest",), labels={"aime.mlc.FRAMEWORK": "Pytorch-2.8.0"})
    assert local_images([image], ALICE, {"x:latest": "Other-1"})[0].framework == "Pytorch-2.8.0"


@given(IMAGES, st.sampled_from([ALICE, BOB]))
def test_nobody_sees_what_belongs_to_others_or_to_a_container(images: list[ImageDetails], uid: int) -> None:
    found = local_images(images, uid, {})
    for image in found:
        assert not is_private_tag(image.reference)
        assert not image.reference.startswith("ds01.invalid/") or f"/u{uid}/" in image.reference
        assert f"u{ALICE + BOB - uid}/" not in image.reference
        assert f"ds01-{ALICE + BOB - uid}/" not in image.reference
    assert [image.is_own for image in found] == sorted((image.is_own for image in found), reverse=True)


@given(IMAGES, st.sampled_from([ALICE, BOB]))
def test_for_an_administrator_what_others_built_comes_beside_what_is_seen_by_everybody(
    images: list[ImageDetails], uid: int
) -> None:
    found = local_images(images, uid, {}, of_others=True)
    assert not any(is_private_tag(image.reference) for image in found)
    assert tuple(image for image in found if image.owner_uid in {None, uid}) == local_images(images, uid, {})
    assert all(image.is_own == (image.owner_uid == uid) for image in found)


@given(IMAGES)
def test_every_name_that_is_nobodys_is_there_as_often_as_images_have_it(images: list[ImageDetails]) -> None:
    found = [image.reference for image in local_images(images, ALICE, {})]
    public = [tag for image in images for tag in image.tags if tag in {"ubuntu:24.04", "aimehub/pytorch-2.8.0:latest"}]
    assert sorted(name for name in found if name in public) == sorted(public)
    own = str(OwnImage(ALICE, "thesis"))
    assert found.count(own) == sum(image.tags.count(own) for image in images)
