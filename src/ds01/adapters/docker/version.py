"""Which API version is spoken, and with whom."""

import re

from ds01.adapters.docker.document import Document
from ds01.errors import BackendError

ApiVersion = tuple[int, int]
OLDEST: ApiVersion = (1, 41)
NEWEST: ApiVersion = (1, 45)
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")
_PODMAN_HINT = "Use a Docker engine: export DOCKER_HOST=unix:///var/run/docker.sock"


def parse_api_version(text: str) -> ApiVersion:
    """Return a version such as `1.41`.

    Raises:
        BackendError: It is not one.
    """
    match = _VERSION.fullmatch(text)
    if match is None:
        raise BackendError(f"The container engine says that its API version is {text[:40]!r}.")
    return int(match[1]), int(match[2])


def chosen_version(api_version: str) -> ApiVersion:
    """Return the version to speak with an engine.

    Args:
        api_version: The highest one it speaks. Source: Engine API 1.41, SystemPing, header `Api-Version`.

    Raises:
        BackendError: The engine is too old.
    """
    highest = parse_api_version(api_version)
    if highest < OLDEST:
        raise BackendError(
            f"The container engine speaks API version {api_version}; DS01 needs {_text(OLDEST)} or later.",
            hint="Upgrade it to Docker 20.10 or later.",
        )
    return min(highest, NEWEST)


def require_docker(server: str, libpod_version: str) -> None:
    """Refuse podman by the headers of its answers.

    Args:
        server: Header `Server`: `Docker/20.10.24 (linux)` or `Libpod/4.3.1 (linux)`.
        libpod_version: Header `Libpod-Api-Version`, which only podman sends.

    Raises:
        BackendError: It is podman.
    """
    if libpod_version or server.lower().startswith("libpod"):
        raise _podman(server)


def require_supported_engine(version: Document) -> None:
    """Refuse podman, and engines too new for us. Source: Engine API 1.41, SystemVersion.

    Raises:
        BackendError: It is podman, or it speaks only versions that we do not know.
    """
    names = [component.text("Name", default="") for component in version.items("Components")]
    platform = version.child("Platform").text("Name", default="")
    if any("podman" in name.lower() for name in (*names, platform)):
        raise _podman(platform or names[0])
    lowest = parse_api_version(version.text("MinAPIVersion", default=_text(OLDEST)))
    if lowest > NEWEST:
        raise BackendError(
            f"The container engine speaks API {_text(lowest)} and later; DS01 knows those up to {_text(NEWEST)}.",
            hint="Upgrade DS01.",
        )


def _podman(name: str) -> BackendError:
    return BackendError(
        f"The container engine is podman ({name}), which accepts requests for GPUs and ignores them.", hint=_PODMAN_HINT
    )


def _text(version: ApiVersion) -> str:
    return f"{version[0]}.{version[1]}"
