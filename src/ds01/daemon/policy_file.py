"""The policy in force: the last good one. A broken edit never takes effect; it is said instead."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from ds01.config import POLICY_NAME, PolicyFiles, members_paths, parse_policy, read_policy
from ds01.domain.rules.membership import FindUid, resolve
from ds01.domain.rules.policy import Policy
from ds01.errors import BackendError, Ds01Error

log = logging.getLogger(__name__)
ACCOUNTS_AGE_S = 300.0
"""Accounts come and go while a policy stays: the numbers of its names are looked up again after this time."""
Stamp = tuple[str, int, int, int]


class PolicyFile:
    """Reads `resource-limits.yaml` and the members files of a folder, and again when one changes."""

    def __init__(
        self,
        folder: Path,
        built_in: Policy,
        *,
        find_uid: FindUid | None = None,
        owner_uid: int | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the policy for the first time.

        Args:
            folder: Where the file is; a folder or file that does not exist means the built-in policy.
            built_in: Policy without a file, whose base a file starts from.
            find_uid: Asks the account database for the number of a name, and may block; None: names are compared.
            owner_uid: With a number, nobody but root and this user may be able to change the files.
            monotonic: Seconds that never go back.

        Raises:
            InvalidRequestError: A file is broken: without a last good policy, none is in force.
        """
        self._path = folder / POLICY_NAME
        self._built_in = built_in
        self._find_uid = find_uid
        self._owner_uid = owner_uid
        self._monotonic = monotonic
        self._must_read = False
        self._read_policy = built_in
        self._resolved_at = 0.0
        self._uids: Mapping[str, int] = {}
        self._stamps = self._read_stamps()
        self.problem: str | None = None
        self.current: Policy = self._resolved(self._read())
        for warning in self.current.warnings:
            log.warning("policy: %s: %s", warning.where, warning.message)

    def request_reload(self) -> None:
        """Read the files again at the next look, changed or not."""
        self._must_read = True

    def reload_if_changed(self) -> bool:
        """Read the files again if they are others; tell whether a new policy is in force.

        A file that is gone, or empty as one that is being written, is no new policy: everybody's limits would change.
        """
        stamps = self._read_stamps()
        if stamps == self._stamps and not self._must_read:
            self._look_up_names_again()
            return False
        had_file, self._stamps, self._must_read = self._has_main(self._stamps), stamps, False
        missing = "is empty" if self._is_empty(stamps) else "is gone" if not self._has_main(stamps) else ""
        if missing and (had_file or self._read_policy is not self._built_in):
            self.problem = (
                f"{self._path.name} {missing}; its last content stays in force. "
                "Put it back, or restart ds01d to use the built-in policy."
            )
            log.warning("policy: %s", self.problem)
            return False
        if not self._has_main(stamps):
            return False
        try:
            self.current = self._resolved(self._read())
        except Ds01Error as failure:
            self.problem = f"{failure.message} {failure.hint or ''}".strip()
            log.warning("policy: %s", self.problem)
            return False
        self.problem = None
        return True

    def check(self, files: PolicyFiles | None) -> Policy:
        """Return the policy that some files say, without its taking effect.

        Args:
            files: The files; None: those of the folder as they are now.

        Raises:
            InvalidRequestError: They are broken.
        """
        if files is not None:
            return self._with_numbers(parse_policy(files, base=self._built_in.base))
        if not self._has_main(self._read_stamps()):
            return self._built_in
        return self._with_numbers(read_policy(self._path, base=self._built_in.base, owner_uid=self._owner_uid))

    def _read(self) -> Policy:
        if not self._has_main(self._stamps):
            return self._built_in
        return read_policy(self._path, base=self._built_in.base, owner_uid=self._owner_uid)

    def _resolved(self, policy: Policy) -> Policy:
        self._read_policy = policy
        self._resolved_at = self._monotonic()
        resolved = self._with_numbers(policy)
        self._uids = resolved.uids
        return resolved

    def _with_numbers(self, policy: Policy) -> Policy:
        if self._find_uid is None:
            return policy
        try:
            resolved = resolve(policy, self._find_uid)
        except BackendError as failure:
            # unknown is not nobody: what was known counts, other names are compared until the accounts answer
            log.warning("policy: %s", failure)
            return replace(policy, uids=self._uids)
        return resolved

    def _look_up_names_again(self) -> None:
        if self._find_uid is not None and self._monotonic() - self._resolved_at > ACCOUNTS_AGE_S:
            self.current = self._resolved(self._read_policy)

    def _has_main(self, stamps: frozenset[Stamp]) -> bool:
        return any(name == POLICY_NAME for name, *_ in stamps)

    def _is_empty(self, stamps: frozenset[Stamp]) -> bool:
        return any(name == POLICY_NAME and size == 0 and inode for name, inode, _, size in stamps)

    def _read_stamps(self) -> frozenset[Stamp]:
        """Return what changes with the files. One that cannot be looked at is there."""
        stamps = (_read_stamp(path) for path in (self._path, *members_paths(self._path.parent)))
        return frozenset(stamp for stamp in stamps if stamp is not None)


def _read_stamp(path: Path) -> Stamp | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return (path.name, 0, 0, 0)
    # the time of the last change of the inode: rights and owner count too
    return (path.name, found.st_ino, max(found.st_mtime_ns, found.st_ctime_ns), found.st_size)
