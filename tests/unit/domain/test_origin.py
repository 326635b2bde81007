"""Who made a container, whose it is, and which image is its alone."""

from datetime import UTC, datetime

import pytest

from ds01.domain import label
from ds01.domain.containers.container import ContainerState, ContainerSummary
from ds01.domain.containers.origin import (
    Origin,
    Ownership,
    claimed_logins,
    is_half_made,
    origin_of,
    ownership_of,
    private_image_of,
    shown_name,
)

BASE = "aimehub/pytorch-2.8.0"
UIDS = {"alice": 1001, "bob": 1002, "gone": None}


@pytest.mark.parametrize(
    ("labels", "name", "origin"),
    [
        ({label.MANAGED: "true", label.ALLOCATION: "1"}, "demo._.1001", Origin.DS01),
        ({label.MANAGED: "true", label.OWNER: "alice"}, "demo._.1001", Origin.DS01),
        ({"ds01.user": "alice"}, "web", Origin.DS01),
        ({label.OWNER: "alice"}, "demo._.1001", Origin.MLC),
        ({label.USER: "alice"}, "demo", Origin.MLC),
        ({}, "half._.1001", Origin.MLC),
        ({"com.docker.compose.project": "x", "ds01.managed": "true"}, "x-web-1", Origin.COMPOSE),
        ({"devcontainer.local_folder": "/home/alice/x"}, "happy_name", Origin.DEVCONTAINER),
        ({"maintainer": "somebody"}, "web", Origin.DOCKER),
    ],
)
def test_name_and_labels_say_what_made_a_container(labels: dict[str, str], name: str, origin: Origin) -> None:
    assert origin_of(labels, name) is origin


@pytest.mark.parametrize(
    ("name", "labels", "owner"),
    [
        ("demo._.1001", {}, Ownership(1001)),
        ("demo._.1001", {label.USER: "alice"}, Ownership(1001)),
        ("demo", {label.OWNER: "alice", label.USER: "alice"}, Ownership(1001)),
        ("demo", {label.OWNER: "gone"}, Ownership(None)),
        ("demo", {label.OWNER: "gone", label.USER: "bob"}, Ownership(1002)),
        ("demo", {}, Ownership(None)),
    ],
)
def test_the_uid_in_the_name_decides_else_the_login_in_the_labels(
    name: str, labels: dict[str, str], owner: Ownership
) -> None:
    assert ownership_of(name, labels, UIDS) == owner


def test_what_contradicts_is_said_and_without_a_uid_it_is_nobodys() -> None:
    under_sudo = ownership_of("demo._.0", {label.OWNER: "alice"}, UIDS)
    assert under_sudo.uid == 0
    assert "alice" in under_sudo.doubt
    two = ownership_of("demo", {label.OWNER: "alice", label.USER: "bob"}, UIDS)
    assert two.uid is None
    assert "bob, alice" in two.doubt


def test_a_login_is_asked_for_once_and_an_empty_one_never() -> None:
    assert claimed_logins({label.OWNER: "alice", label.USER: "alice", "ds01.user": ""}) == ("alice",)


@pytest.mark.parametrize(
    ("name", "image", "is_private"),
    [
        ("demo._.1001", f"{BASE}:demo._.1001", True),
        ("demo._.1001", f"{BASE}:other._.1001", False),
        ("demo._.1001", f"{BASE}:latest", False),
        ("demo._.1001", BASE, False),
        ("ancient", f"{BASE}:ancient", True),
        ("latest", f"{BASE}:latest", False),
    ],
)
def test_only_an_image_tagged_with_the_containers_name_is_private(name: str, image: str, is_private: bool) -> None:
    assert (private_image_of(name, image, {label.OWNER: "alice"}) == image) is is_private


def test_a_plain_docker_container_has_no_private_image_by_its_bare_name() -> None:
    assert private_image_of("web", "nginx:web", {}) is None


def test_people_see_the_name_without_the_uid() -> None:
    assert shown_name("demo._.1001") == "demo"
    assert shown_name("ancient") == "ancient"


@pytest.mark.parametrize(
    ("name", "labels", "state", "command", "is_it"),
    [
        ("half._.1001", {}, ContainerState.EXITED, ("bash", "-c", "addgroup"), True),
        ("half._.1001", {"maintainer": "x"}, ContainerState.CREATED, ("bash", "-c", "addgroup"), True),
        ("half._.1001", {}, ContainerState.RUNNING, ("bash", "-c", "addgroup"), False),
        ("half._.1001", {label.OWNER: "alice"}, ContainerState.CREATED, ("bash", "-c", "bash"), False),
        ("half._.1001", {}, ContainerState.EXITED, ("sleep", "1000"), False),
        ("half", {}, ContainerState.EXITED, ("bash", "-c", "addgroup"), False),
    ],
)
def test_what_an_interrupted_mlc_create_leaves_is_known_by_its_name_labels_and_command(
    name: str, labels: dict[str, str], state: ContainerState, command: tuple[str, ...], is_it: bool
) -> None:
    container = ContainerSummary("1", name, BASE, state, "", datetime(2026, 3, 1, tzinfo=UTC), labels)
    assert is_half_made(container, command) is is_it
