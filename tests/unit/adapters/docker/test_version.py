"""Which engines are spoken with."""

import pytest

from ds01.adapters.docker.document import Document
from ds01.adapters.docker.version import chosen_version, require_docker, require_supported_engine
from ds01.errors import BackendError

DOCKER = {"Platform": {"Name": ""}, "Components": [{"Name": "Engine"}], "ApiVersion": "1.41", "MinAPIVersion": "1.12"}


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [("1.41", (1, 41)), ("1.44", (1, 44)), ("1.45", (1, 45)), ("1.51", (1, 45)), ("2.0", (1, 45))],
)
def test_the_newest_version_that_both_know_is_spoken(offered: str, chosen: tuple[int, int]) -> None:
    assert chosen_version(offered) == chosen


@pytest.mark.parametrize("offered", ["1.40", "1.9", "0.99"])
def test_an_older_engine_is_refused(offered: str) -> None:
    with pytest.raises(BackendError, match=r"needs 1\.41 or later") as caught:
        chosen_version(offered)
    assert caught.value.hint == "Upgrade it to Docker 20.10 or later."


@pytest.mark.parametrize("offered", ["", "1", "1.x", "1.41.0", "v1.41", "1.99999"])
def test_a_version_that_is_none_is_an_error(offered: str) -> None:
    with pytest.raises(BackendError, match="API version is"):
        chosen_version(offered)


@pytest.mark.parametrize(("server", "libpod"), [("Libpod/4.3.1 (linux)", ""), ("", "4.3.1"), ("Docker/20.10", "5.4.2")])
def test_podman_is_refused_by_its_headers(server: str, libpod: str) -> None:
    with pytest.raises(BackendError, match="podman"):
        require_docker(server, libpod)


def test_docker_is_accepted() -> None:
    require_docker("Docker/20.10.24 (linux)", "")
    require_supported_engine(Document(DOCKER, "/version"))
    require_supported_engine(Document({}, "/version"))


@pytest.mark.parametrize(
    "change", [{"Components": [{"Name": "Podman Engine"}]}, {"Platform": {"Name": "podman/linux"}}]
)
def test_podman_is_refused_by_its_document(change: dict[str, object]) -> None:
    with pytest.raises(BackendError, match="ignores them"):
        require_supported_engine(Document({**DOCKER, **change}, "/version"))


def test_an_engine_that_is_too_new_is_refused() -> None:
    with pytest.raises(BackendError, match=r"1\.46 and later"):
        require_supported_engine(Document({**DOCKER, "MinAPIVersion": "1.46"}, "/version"))
