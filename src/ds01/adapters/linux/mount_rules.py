"""Which directories of the host may appear in a container at all, whoever's they are. Pure: texts only."""

import os.path
import unicodedata
from collections.abc import Sequence

from ds01.domain.user import User
from ds01.errors import InvalidRequestError

# Trees that belong to the host and not to any user: mounting one hands out more than files.
FORBIDDEN_TREES = {
    "/proc": "it shows the processes of the host",
    "/sys": "it controls the devices of the host",
    "/dev": "it holds the devices of the host",
    "/run": "it holds the sockets of the host's services",
    "/var/run": "it holds the sockets of the host's services",
    "/etc": "it configures the host",
    "/boot": "it holds the host's kernel",
}
_ROOTS_HOME = "/root"
# The same contents mounted elsewhere. Source: filesystems(5), `cat /proc/filesystems`.
FORBIDDEN_FILE_SYSTEMS = frozenset(
    {"proc", "sysfs", "cgroup", "cgroup2", "devtmpfs", "devpts", "debugfs", "tracefs"}
    | {"bpf", "securityfs", "configfs", "efivarfs", "mqueue", "pstore", "nsfs"}
)
_HINT = "Choose a directory of your own, such as ~/workspace/project."


def expand(user: User, path: str) -> str:
    """Return a path as absolute text, `~` being the user's home. Nothing is looked up.

    Raises:
        InvalidRequestError: It is relative, empty, another one's `~name`, or holds what no mount can carry.
    """
    require_mountable_text(path)
    if path == "~" or path.startswith("~/"):
        path = user.home + path[1:]
        require_mountable_text(path)
    if path.startswith("~"):
        raise InvalidRequestError(f"{path} is not supported: only ~ for your own home.", hint="Write the whole path.")
    if not os.path.isabs(path):
        raise InvalidRequestError(f"{path!r} is not an absolute path.", hint=f"Write the whole path, or ~/{path}")
    return path


def require_mountable_text(path: str) -> None:
    """Refuse a path that cannot be passed on safely. Colons, commas, blanks and any script are fine.

    Raises:
        InvalidRequestError: It holds control characters or is not UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"The name of {path!r} is not UTF-8, which container engines require.", hint="Rename the directory."
        ) from error
    if any(unicodedata.category(character) == "Cc" for character in path):
        raise InvalidRequestError(
            f"{path!r} holds a control character, such as a line break.", hint="Rename the directory."
        )


def require_allowed(user: User, path: str, forbidden: Sequence[str]) -> None:
    """Refuse a directory of the host itself, or one in or around a directory of DS01 or of the engine.

    Args:
        user: Only root may mount root's home, and what lies around the homes of users.
        path: Absolute; compared name by name.
        forbidden: Further directories; what lies around them is refused too.

    Raises:
        InvalidRequestError: It may not be mounted, with the reason.
    """
    place = os.path.normpath(path).replace("//", "/")
    if place == "/":
        raise InvalidRequestError("/ cannot be mounted: it is the whole host.", hint=_HINT)
    for tree, reason in FORBIDDEN_TREES.items():
        if _is_inside(place, tree):
            raise InvalidRequestError(f"{path} cannot be mounted: {reason}.", hint=_HINT)
    if not user.is_root and _is_inside(place, _ROOTS_HOME):
        raise InvalidRequestError(f"{path} cannot be mounted: it is root's home.", hint=_HINT)
    home = os.path.normpath(user.home) if user.home else "/"
    if not user.is_root and place != home and _is_inside(home, place):
        # root inside the container reads what the user may not read outside
        raise InvalidRequestError(f"{path} cannot be mounted: others have their homes in it.", hint=_HINT)
    for tree in forbidden:
        if _is_inside(place, tree) or _is_inside(tree, place):
            raise InvalidRequestError(
                f"{path} cannot be mounted: it holds what runs the containers ({tree}).", hint=_HINT
            )


def require_ordinary(path: str, file_system: str) -> None:
    """Refuse a view into the kernel, wherever it is mounted.

    Raises:
        InvalidRequestError: It is one.
    """
    if file_system in FORBIDDEN_FILE_SYSTEMS:
        raise InvalidRequestError(
            f"{path} cannot be mounted: {file_system} is a view into the host's kernel.", hint=_HINT
        )


def _is_inside(path: str, tree: str) -> bool:
    return path == tree or path.startswith(f"{tree.rstrip('/')}/")
