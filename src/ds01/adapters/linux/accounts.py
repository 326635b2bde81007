"""The account database: passwd, group and whatever NSS adds (LDAP, SSSD).

The calls block. A healthy machine answers in microseconds, NSS daemons from their cache in milliseconds; one that has
lost its directory server may take as long as its own timeout, and the caller with it.
Source: nsswitch.conf(5), sssd.conf(5).
"""

import grp
import os
import pwd

from ds01.domain.user import Group, User
from ds01.errors import BackendError, NotFoundError


class LinuxAccounts:
    """The Accounts port. The uid is the key: a name is only ever looked up as a name, even one of digits."""

    def get_user(self, uid: int) -> User:
        """Return the account with its groups.

        Args:
            uid: As the kernel gave it.

        Raises:
            NotFoundError: No such account.
            BackendError: The account database failed.
        """
        try:
            entry = pwd.getpwuid(uid)
        except (KeyError, OverflowError) as error:  # an overflow: no uid of Linux is so large
            raise NotFoundError(
                f"There is no account with uid {uid} on this machine.", hint=f"See what it knows: getent passwd {uid}"
            ) from error
        except OSError as error:
            raise _make_failure(f"uid {uid}", error) from error
        return _make_user(entry)

    def find_user_by_name(self, name: str) -> User | None:
        """Return the account of this name, or None.

        Args:
            name: Opaque; a name of digits is a name, never a number. Source: getpwnam(3).

        Raises:
            BackendError: The account database failed.
        """
        try:
            entry = pwd.getpwnam(name)
        except (KeyError, ValueError):  # ValueError: a NUL or a lone surrogate, which no name holds
            return None
        except OSError as error:
            raise _make_failure(repr(name), error) from error
        return _make_user(entry)


def _make_user(entry: pwd.struct_passwd) -> User:
    try:
        gids = sorted({*os.getgrouplist(entry.pw_name, entry.pw_gid), entry.pw_gid})
        groups = tuple(Group(gid, _read_group_name(gid)) for gid in gids)
    except OSError as error:
        raise _make_failure(entry.pw_name, error) from error
    return User(
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        name=entry.pw_name,
        groups=groups,
        home=entry.pw_dir or "/",
        shell=entry.pw_shell or "/bin/sh",
    )


def _read_group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _make_failure(wanted: str, error: OSError) -> BackendError:
    return BackendError(
        f"The account database did not answer for {wanted}: {error.strerror}.",
        hint="Check the name service: systemctl status sssd nscd; getent passwd",
    )
