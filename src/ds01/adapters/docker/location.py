"""Which engine: a local Unix socket and nothing else."""

from ds01.errors import BackendError

DEFAULT_SOCKET = "/var/run/docker.sock"
_MAX_PATH_BYTES = 107
_HINT = "Unset DOCKER_HOST, or set it to a local socket: export DOCKER_HOST=unix:///var/run/docker.sock"


def parse_location(docker_host: str | None) -> str:
    """Return the path of the engine's socket.

    Args:
        docker_host: Value of `DOCKER_HOST`; None or empty: the default socket.

    Raises:
        BackendError: Not a local Unix socket; the message says why that is refused.
    """
    if not docker_host:
        return DEFAULT_SOCKET
    scheme, separator, path = docker_host.partition("://")
    if scheme != "unix" or not separator:
        raise BackendError(f"DOCKER_HOST is {docker_host!r}: {_reason(scheme, bool(separator))}", hint=_HINT)
    if path.startswith(("@", "\0")):
        raise BackendError(
            f"DOCKER_HOST is {docker_host!r}: an abstract socket has no owner and no permissions, so anybody may take "
            "its name before the engine does.",
            hint=_HINT,
        )
    if not path.startswith("/") or "\0" in path:
        raise BackendError(f"DOCKER_HOST is {docker_host!r}: the path of the socket is not absolute.", hint=_HINT)
    if len(path.encode("utf-8", "surrogateescape")) > _MAX_PATH_BYTES:
        raise BackendError(
            f"DOCKER_HOST is {docker_host!r}: a socket's path has at most {_MAX_PATH_BYTES} bytes.",
            hint=_HINT,
        )
    return path


def _reason(scheme: str, has_scheme: bool) -> str:  # noqa: FBT001 - private, called once
    if not has_scheme:
        return "it has no scheme."
    if scheme in {"tcp", "http", "https", "ssh"}:
        return "a remote engine is refused, because GPUs, directories and accounts are those of this machine."
    if scheme == "npipe":
        return "named pipes belong to Windows."
    return f"the scheme {scheme!r} is not known."
