"""Who is inside what: the names that people have, and the bases that their containers are made from."""

import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.site import Account

BOOKWORM = "aimehub/pytorch-2.8.0-aime-cuda12.6.3"


@dataclass(frozen=True)
class Person:
    """A Unix user with a name that Debian would not give by itself.

    Attributes:
        name: Login name on the host.
        uid: Its number.
        gid: Primary group; None: one of its own.
        what: What is particular about it.
    """

    name: str
    uid: int
    gid: int | None
    what: str


PEOPLE = (
    Person("alice.b@school.lan", 60_021, None, "a directory service's name"),
    Person("LAB\\bob", 60_022, None, "a domain's name"),
    Person("204214", 60_023, None, "digits only"),
    Person("Carol", 60_024, None, "capitals"),
    Person("carol", 1_700_000_001, None, "a huge uid"),
    Person("bob-c", 60_025, 100, "the group `users`, which every base has too"),
    Person("ubuntu", 60_026, None, "a name that a base gives to somebody else"),
    Person("www.data", 60_027, None, "a dot"),
)


@dataclass(frozen=True)
class Base:
    """An image that people start from.

    Attributes:
        name: In the table.
        image: Its reference on the test engine.
        what: What it is.
        has_tools: sudo, git, bash and python are there.
        dockerfile: How it is made from another base; empty: `dev/base-image` brings it.
    """

    name: str
    image: str
    what: str
    has_tools: bool = True
    dockerfile: str = ""


_FIXED_USER = f"""\
FROM {BOOKWORM}
RUN useradd --create-home --uid 1234 app
USER app
WORKDIR /home/app
STOPSIGNAL SIGINT
ENTRYPOINT ["/usr/bin/env", "echo", "never run"]
CMD ["server"]
"""
BASES = (
    Base("bookworm", BOOKWORM, "Debian 12"),
    Base("trixie", "ds01-dev/trixie", "Debian 13"),
    Base("sid", "ds01-dev/sid", "Debian unstable, as it is when the image is first made"),
    Base("uid1000", "ds01-dev/uid1000", "Debian 12 with uid and gid 1000 taken by `ubuntu`"),
    Base(
        "fixed-user",
        "ds01-dev/fixed-user",
        "Debian 12 with its own USER, ENTRYPOINT, WORKDIR and STOPSIGNAL",
        dockerfile=_FIXED_USER,
    ),
    Base("busybox", "ds01-dev/busybox", "ash, no bash, no package manager", has_tools=False),
)


def matrix_table() -> list[str]:
    """Return the rows of docs/reference/user-matrix.md: one a name, one column a base, what was proven in each."""
    head = "| login name | uid | what is particular | " + " | ".join(base.name for base in BASES) + " |"
    rows = [head, "|" + " --- |" * (3 + len(BASES))]
    for person in PEOPLE:
        cells = ["all" if base.has_tools else "all but sudo, git, pip" for base in BASES]
        login = person.name.replace("\\", "\\\\")
        rows.append(f"| {login} | {person.uid} | {person.what} | " + " | ".join(cells) + " |")
    return rows


@contextmanager
def account_of(person: Person) -> Iterator[Account]:
    """Make the Unix user for the block."""
    home = Path(f"/var/tmp/ds01-odd-{abs(hash(person.name)) % 10**8}")
    options = ["--badname", "--no-log-init", "--create-home", "--home-dir", str(home), "--non-unique"]
    if person.gid is not None:
        options += ["--gid", str(person.gid), "--no-user-group"]
    subprocess.run(["useradd", *options, "--uid", str(person.uid), "--", person.name], check=True, capture_output=True)
    try:
        yield Account(person.name, person.uid, pwd.getpwuid(person.uid).pw_gid, home, was_made=True)
    finally:
        subprocess.run(["userdel", "--remove", "--force", "--", person.name], check=False, capture_output=True)
        subprocess.run(["groupdel", "--", person.name], check=False, capture_output=True)
