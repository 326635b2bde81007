"""Which engine is accepted."""

import pytest

from ds01.adapters.docker.location import DEFAULT_SOCKET, parse_location
from ds01.errors import BackendError


@pytest.mark.parametrize("docker_host", [None, ""])
def test_without_a_word_it_is_the_default_socket(docker_host: str | None) -> None:
    assert parse_location(docker_host) == DEFAULT_SOCKET


def test_a_unix_socket_is_accepted() -> None:
    assert parse_location("unix:///run/user/1000/docker.sock") == "/run/user/1000/docker.sock"


@pytest.mark.parametrize(
    ("docker_host", "reason"),
    [
        ("tcp://127.0.0.1:2375", "remote engine"),
        ("ssh://alice@server", "remote engine"),
        ("https://server", "remote engine"),
        ("npipe:////./pipe/docker_engine", "Windows"),
        ("fd://", "not known"),
        ("/var/run/docker.sock", "no scheme"),
        ("unix://@docker", "abstract"),
        ("unix://\0docker", "abstract"),
        ("unix://docker.sock", "not absolute"),
        ("unix://", "not absolute"),
        ("unix:///" + "x" * 107, "107 bytes"),
    ],
)
def test_another_engine_is_refused_with_the_reason(docker_host: str, reason: str) -> None:
    with pytest.raises(BackendError, match=reason) as caught:
        parse_location(docker_host)
    assert caught.value.hint
    assert "DOCKER_HOST" in caught.value.message
