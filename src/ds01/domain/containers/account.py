"""The user inside a container: lines of passwd, group, shadow and sudoers for the user of the host.

Nothing is committed into an image: the entries are written into the created container before its first start. What the
image already has is kept, except for what would make the user somebody else: a line with the same uid (stock images
have `ubuntu` or `node` at 1000) gives way, and a name or group that is taken by another number is not touched.
"""

from collections.abc import Container
from dataclasses import dataclass
from itertools import count as count_up

from ds01.domain.user import HANDLE_MAX_LENGTH, User, handle

NO_PASSWORD = "*"  # noqa: S105 - the field of an account without password login
SHELL_SETUP = ".shrc"
"""What a shell reads that is not bash; the environment variable ENV names it."""
SUDO_BINARIES = ("/usr/bin/sudo", "/bin/sudo", "/usr/local/bin/sudo")


@dataclass(frozen=True, slots=True)
class AccountFiles:
    """Account files of an image, as text; empty where the image has none.

    Attributes:
        passwd: /etc/passwd.
        group: /etc/group.
        shadow: /etc/shadow.
        has_sudoers_dir: /etc/sudoers.d exists, so sudo is there.
        has_bash: /bin/bash exists.
    """

    passwd: str = ""
    group: str = ""
    shadow: str = ""
    has_sudoers_dir: bool = False
    has_bash: bool = False


@dataclass(frozen=True, slots=True)
class AccountFile:
    """One file or directory to put into the container.

    Attributes:
        path: Absolute path.
        content: Text; None for a directory.
        mode: Permission bits.
        uid: Owner.
        gid: Group.
    """

    path: str
    content: str | None
    mode: int
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class InnerAccount:
    """The account inside.

    Attributes:
        name: Login name inside.
        home: Home directory inside.
        shell: Login shell inside.
        has_sudo: sudo without password works.
        files: What is to be written.
    """

    name: str
    home: str
    shell: str
    has_sudo: bool
    files: tuple[AccountFile, ...]


def plan_account(user: User, image: AccountFiles, *, sudo: bool, container_name: str) -> InnerAccount:
    """Return the account of `user` for a container made from an image.

    Args:
        user: The user of the host.
        image: Account files of the image.
        sudo: Policy allows sudo.
        container_name: For the prompt.
    """
    name = _free_name(user, image.passwd)
    shell = "/bin/bash" if image.has_bash else "/bin/sh"
    home = "/root" if user.is_root else f"/home/{name}"
    has_sudo = sudo and image.has_sudoers_dir
    passwd_line = f"{name}:x:{user.uid}:{user.gid}:{name}:{home}:{shell}"
    shadow_gid = next((_number(row, 2) for row in _fields(image.group) if row[0] == "shadow"), None) or 0
    files = [
        AccountFile("/etc/passwd", _with_passwd(image.passwd, user, name, passwd_line), 0o644),
        AccountFile("/etc/group", _with_groups(image.group, user, name), 0o644),
        AccountFile("/etc/shadow", _with_shadow(image.shadow, image.passwd, user, name), 0o640, gid=shadow_gid),
        AccountFile(home, None, 0o755, user.uid, user.gid),
        AccountFile(f"{home}/.bashrc", _prompt(container_name, name), 0o644, user.uid, user.gid),
        AccountFile(f"{home}/.profile", '[ -n "$BASH_VERSION" ] && . "$HOME/.bashrc"\n', 0o644, user.uid, user.gid),
    ]
    if not image.has_bash:
        files.append(
            AccountFile(f"{home}/{SHELL_SETUP}", _plain_prompt(container_name, name), 0o644, user.uid, user.gid)
        )
    if has_sudo:
        # by number: names may hold characters that sudoers reads as something else
        files.append(AccountFile("/etc/sudoers.d/ds01", f"#{user.uid} ALL=(ALL) NOPASSWD:ALL\n", 0o440))
    return InnerAccount(name=name, home=home, shell=shell, has_sudo=has_sudo, files=tuple(files))


def _fields(text: str) -> list[list[str]]:
    # not splitlines(): a form feed or a Unicode separator in a comment field is no end of a line here
    return [line.split(":") for line in text.split("\n") if line.strip()]


def _number(row: list[str], position: int) -> int | None:
    """Return a numeric field as the C library reads it: `01000` is 1000."""
    text = row[position].strip() if len(row) > position else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


def _first_free(wanted: str, number: int, taken: Container[str]) -> str:
    """Return `wanted`, or the first name made of the number that nobody has."""
    label = wanted if not wanted.isdigit() else f"u{wanted}"[:HANDLE_MAX_LENGTH]  # digits only are read as a number
    if label not in taken:
        return label
    return next(name for count in count_up() if (name := f"u{number}{'_' * count}") not in taken)


def _free_name(user: User, passwd: str) -> str:
    """The handle, unless the image gives that name to another number."""
    if user.is_root:
        return "root"
    taken = {row[0] for row in _fields(passwd) if len(row) > 2 and _number(row, 2) != user.uid}
    return _first_free(handle(user.uid, user.name), user.uid, taken)


def _with_passwd(passwd: str, user: User, name: str, line: str) -> str:
    kept = [":".join(row) for row in _fields(passwd) if _number(row, 2) != user.uid and row[0] != name]
    lines = [line, *kept] if user.is_root else [*kept, line]
    return "\n".join(lines) + "\n"


def _with_groups(group: str, user: User, name: str) -> str:
    rows = _fields(group)
    names = {row[0] for row in rows}
    numbers = {_number(row, 2) for row in rows}
    lines = [":".join(row) for row in rows]
    wanted = [(user.gid, next((found.name for found in user.groups if found.gid == user.gid), name))]
    wanted += [(found.gid, found.name) for found in user.groups if found.gid != user.gid]
    for gid, host_name in wanted:
        if gid in numbers:
            continue  # the image's group with this number keeps its name
        label = _first_free(handle(gid, host_name), gid, names)
        names.add(label)
        numbers.add(gid)
        lines.append(f"{label}:x:{gid}:")
    return "\n".join(lines) + "\n"


def _with_shadow(shadow: str, passwd: str, user: User, name: str) -> str:
    """Sudo asks PAM for the account, and PAM refuses an account without a shadow line."""
    others = {row[0] for row in _fields(passwd) if len(row) > 2 and _number(row, 2) != user.uid}
    gone = {row[0] for row in _fields(passwd) if _number(row, 2) == user.uid} - others | {name}
    kept = [":".join(row) for row in _fields(shadow) if row[0] not in gone]
    return "\n".join([*kept, f"{name}:{NO_PASSWORD}:19700:0:99999:7:::"]) + "\n"


def _plain_prompt(container_name: str, name: str) -> str:
    """The same for ash and dash, which know none of bash's escapes but expand variables each time."""
    return f'_host=$(hostname 2>/dev/null)\nPS1="[{container_name}] {name}@$_host:\\$PWD\\$ "\n'


def _prompt(container_name: str, name: str) -> str:
    """The prompt `[container] user@host:dir$`; the image's own set-up of bash is read first."""
    return (
        "[ -f /etc/bash.bashrc ] && . /etc/bash.bashrc\n"
        f"PS1='[{container_name}] {name}@\\h:\\w\\$ '\n"
        'case ":$PATH:" in *":$HOME/.local/bin:"*) ;; *) PATH="$HOME/.local/bin:$PATH" ;; esac\n'
        "export PATH\n"
    )
