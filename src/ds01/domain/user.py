"""The person: uid is the key everywhere; names are for people and for files."""

import re
from dataclasses import dataclass

HANDLE_MAX_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Group:
    """A Unix group of the user.

    Attributes:
        gid: Number.
        name: Name in the account database; the number as text if it has none.
    """

    gid: int
    name: str


@dataclass(frozen=True, slots=True)
class User:
    """An account as the machine knows it.

    Attributes:
        uid: The key.
        gid: Primary group.
        name: Login name, opaque: it may hold `@`, `.`, a backslash, or digits only.
        groups: Every group including the primary one.
        home: Home directory on the host.
        shell: Login shell on the host.
    """

    uid: int
    gid: int
    name: str
    groups: tuple[Group, ...] = ()
    home: str = "/"
    shell: str = "/bin/sh"

    @property
    def is_root(self) -> bool:
        """Root may act for everybody."""
        return self.uid == 0

    @property
    def supplementary_gids(self) -> tuple[int, ...]:
        """Numbers of the groups beside the primary one, ascending."""
        return tuple(sorted({group.gid for group in self.groups} - {self.gid}))


def handle(uid: int, name: str) -> str:
    r"""Return the user's name for inside containers, prompts and file names.

    Lower-case, the domain stripped, `[a-z0-9_]` only, 1 to 32 characters. Nothing is keyed by it, so two people may
    share one.

    Args:
        uid: Used when nothing of the name is left.
        name: Login name, such as `alice.b@school.lan` or `SCHOOL\\alice`.
    """
    account = name.rsplit("\\", 1)[-1].split("@", 1)[0].lower()
    cleaned = re.sub(r"_+", "_", re.sub(r"[^a-z0-9_]", "_", account)).strip("_")[:HANDLE_MAX_LENGTH].strip("_")
    return cleaned or f"u{uid}"
