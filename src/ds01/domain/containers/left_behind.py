"""Files of a container's own layer that a Dockerfile does not bring back: which of them a person should hear of."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ds01.domain.engine import FileChange, FileChangeKind
from ds01.units import format_size

BIG_BYTES = 10 * 1024**2
"""From here on a file is named by itself: downloading or computing it again takes its time."""
MAX_NAMED = 20
_OF_PACKAGES = re.compile(
    r"/(?:usr|lib|lib32|lib64|bin|sbin|boot|dev|proc|sys|run)(?:/.*)?"
    r"|/var/(?:lib/(?:dpkg|apt|systemd|ucf|pam)|cache|log|mail)(?:/.*)?"
    r"|/etc/(?:ssl|ca-certificates|alternatives|ld\.so.*|python3.*|apt|dpkg)(?:/.*)?"
    r"|.*/(?:site-packages|dist-packages|conda-meta|pkgs|__pycache__|node_modules)(?:/.*)?"
    r"|.*/\.cache/(?:pip|uv|conda)(?:/.*)?"
    r"|.*/\.local/(?:bin|lib|share/jupyter)(?:/.*)?"
)
_KEPT_OUT = re.compile(r"/usr/local/(?!lib/python|bin|share|include|etc).+")
_OF_AN_ENVIRONMENT = re.compile(r"(?P<place>/.*[^/])/(?:pyvenv\.cfg|conda-meta(?:/[^/]*)?)")
_SECRET_FOLDERS = frozenset({".ssh", ".aws", ".gnupg", ".kube", ".azure", ".gcloud", ".vault", ".password-store"})
_SECRET_NAMES = re.compile(
    r"\.netrc|_netrc|\.pypirc|\.npmrc|\.pgpass|\.my\.cnf|\.git-credentials|\.env(?:\..+)?|\.Renviron|\.htpasswd"
    r"|id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?|.*\.(?:pem|key|p12|pfx|jks|kdbx|ppk|ovpn)"
    r"|(?:.*[._-])?(?:token|secrets?(?:[_-]keys?)?|credentials?|passwords?|passwd|api[_-]?keys?)(?:\.[^.]*)?"
)
_DOCKER_LOGIN = re.compile(r".*/\.docker/config\.json|.*/\.config/(?:gcloud|gh|rclone|hub)(?:/.*)?")
_NOT_SECRET = frozenset({"/etc/passwd", "/etc/passwd-", "/etc/shadow", "/etc/group"})
"""Accounts, which DS01 writes into every container."""


@dataclass(frozen=True, slots=True)
class LeftFile:
    """A file, or a folder with everything below it, that stays behind.

    Attributes:
        path: Where it is.
        reason: Why it is named.
    """

    path: str
    reason: str


def is_secret(path: str) -> bool:
    """Tell whether a path looks like one that holds a password, key or token."""
    *folders, name = path.split("/")
    if path in _NOT_SECRET:
        return False
    is_named = _SECRET_NAMES.fullmatch(name) is not None and not name.endswith((".py", ".pub", ".h"))
    return is_named or not _SECRET_FOLDERS.isdisjoint((*folders, name)) or _DOCKER_LOGIN.fullmatch(path) is not None


def _is_of_packages(path: str) -> bool:
    return _OF_PACKAGES.fullmatch(path) is not None and _KEPT_OUT.fullmatch(path) is None


def own_changes(changes: Sequence[FileChange]) -> list[FileChange]:
    """Return the files that people made: without what packages, and environments as a whole, have brought."""
    marks = (_OF_AN_ENVIRONMENT.fullmatch(change.path) for change in changes)
    beginnings = tuple({f"{mark['place']}/" for mark in marks if mark is not None})
    return [
        change
        for change in changes
        if change.kind is not FileChangeKind.REMOVED
        and not change.path.startswith(beginnings)
        and not _is_of_packages(change.path)
    ]


def find_secrets(own: Iterable[FileChange]) -> tuple[LeftFile, ...]:
    """Return what looks like a secret; of a folder that is one only the folder is named."""
    paths = sorted(change.path for change in own)
    found: list[str] = []
    for path in paths:
        is_below = bool(found) and path.startswith(f"{found[-1]}/")
        if not is_below and is_secret(path):
            found.append(path)
    return tuple(LeftFile(path, "it looks like a secret") for path in found)


def files_to_measure(own: Sequence[FileChange], secrets: Iterable[LeftFile]) -> tuple[str, ...]:
    """Return the files whose size is worth asking for: new ones that are not named already."""
    folders = {change.path.rpartition("/")[0] for change in own}
    hidden = tuple(found.path for found in secrets)
    return tuple(
        change.path
        for change in own
        if change.kind is FileChangeKind.ADDED
        and change.path not in folders
        and not any(change.path == path or change.path.startswith(f"{path}/") for path in hidden)
    )


def find_big(sizes: Iterable[tuple[str, int]]) -> tuple[LeftFile, ...]:
    """Return the big files, the biggest first; when they are many, the rest as a number."""
    big = sorted(((path, size) for path, size in sizes if size >= BIG_BYTES), key=lambda pair: (-pair[1], pair[0]))
    named = [LeftFile(path, f"{format_size(size)}, and no package") for path, size in big[:MAX_NAMED]]
    rest = big[MAX_NAMED:]
    if rest:
        total = format_size(sum(size for _, size in rest))
        named.append(LeftFile(f"{len(rest)} more", f"{total} together, and no packages"))
    return tuple(named)
