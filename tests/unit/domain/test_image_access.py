"""Whose an image is, and where images may come from."""

import pytest
from hypothesis import given, strategies as st

from ds01.domain.engine import ImageDetails
from ds01.domain.images.image_access import is_anothers_name, is_visible, registry_of, require_registry
from ds01.errors import ForbiddenError

ALICE, BOB = 1001, 1002
BOBS = ("ds01.invalid/u1002/mine", "ds01.invalid/u1002/mine:20260101-000000", "ds01-1002/mine:latest")


@pytest.mark.parametrize(
    ("reference", "host"),
    [
        ("ubuntu", "docker.io"),
        ("library/ubuntu:22.04", "docker.io"),
        ("aimehub/pytorch-2.8.0-cuda12.6.3", "docker.io"),
        ("index.docker.io/library/ubuntu", "docker.io"),
        ("ghcr.io/lab/image@sha256:" + "a" * 64, "ghcr.io"),
        ("registry.lab:5000/image:1", "registry.lab:5000"),
        ("localhost/image", "localhost"),
        ("GHCR.io/image", "ghcr.io"),
        ("lab/ghcr.io", "docker.io"),
    ],
)
def test_the_registry_is_the_host_that_the_engine_would_ask(reference: str, host: str) -> None:
    assert registry_of(reference) == host


def test_a_registry_that_is_not_allowed_is_refused_with_image_rule_and_way_out() -> None:
    require_registry("ubuntu", None)
    require_registry("ubuntu", ["docker.io"])
    with pytest.raises(ForbiddenError) as caught:
        require_registry("ghcr.io/lab/image:1", ["docker.io", "registry.lab"], "resource-limits.yaml:7")
    assert "ghcr.io/lab/image:1 comes from ghcr.io" in caught.value.message
    assert "docker.io, registry.lab (access.registries in resource-limits.yaml:7)" in caught.value.message
    assert "ds01 image list" in (caught.value.hint or "")
    with pytest.raises(ForbiddenError, match="none at all"):
        require_registry("ubuntu", [])


@given(
    st.sampled_from(["docker.io", "ghcr.io", "registry.lab:5000"]), st.sets(st.sampled_from(["docker.io", "ghcr.io"]))
)
def test_what_is_allowed_is_exactly_what_the_rule_names(host: str, allowed: set[str]) -> None:
    try:
        require_registry(f"{host}/lab/image", sorted(allowed))
        is_refused = False
    except ForbiddenError:
        is_refused = True
    assert is_refused is (host not in allowed)


@pytest.mark.parametrize("name", ["ds01.invalid/u1001/mine", "ds01.invalid/tools/x:1", *BOBS])
def test_names_of_this_machine_are_never_fetched_even_where_every_registry_is_allowed(name: str) -> None:
    if name.startswith("ds01.invalid/"):
        with pytest.raises(ForbiddenError, match="no registry has it"):
            require_registry(name, None)


@pytest.mark.parametrize(
    "reference",
    [
        *BOBS,
        "docker.io/ds01-1002/mine:latest",
        "index.docker.io/ds01-1002/mine",
        "ds01.invalid/u1002/mine@sha256:" + "a" * 64,
        "ds01.invalid/u01002/mine",
        "ds01.invalid/image-0123456789ab:demo._.1002",
        "ds01.invalid/import-0123456789abcdef:demo._.1002",
        "registry.example/pytorch:demo._.1002",
        "ds01.invalid/tools:abc",
    ],
)
def test_what_belongs_to_somebody_else_or_to_the_machine_is_anothers(reference: str) -> None:
    assert is_anothers_name(reference, ALICE)


@pytest.mark.parametrize(
    "reference", ["ubuntu", "ds01.invalid/u1001/mine:latest", "ghcr.io/u1002/mine", "x:demo._.1001"]
)
def test_public_names_and_own_ones_are_nobody_elses(reference: str) -> None:
    assert not is_anothers_name(reference, ALICE)


def test_an_image_is_visible_by_one_name_that_the_user_may_use() -> None:
    assert not is_visible(ImageDetails("sha256:1", BOBS), ALICE)
    assert not is_visible(ImageDetails("sha256:1", BOBS[:1], (f"{BOBS[0]}@sha256:{'a' * 64}",)), ALICE)
    assert not is_visible(ImageDetails("sha256:1"), ALICE)
    assert is_visible(ImageDetails("sha256:1", (*BOBS, "ubuntu:22.04")), ALICE)
    assert is_visible(ImageDetails("sha256:1", (), ("ubuntu@sha256:" + "a" * 64,)), ALICE)
    assert is_visible(ImageDetails("sha256:1", BOBS), BOB)
