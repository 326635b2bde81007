"""The policy in force: the last good one. A broken edit never takes effect; it is said instead."""

import logging
import os
from pathlib import Path

from ds01.config import POLICY_NAME, read_policy
from ds01.domain.policy import Policy
from ds01.errors import Ds01Error

log = logging.getLogger(__name__)


class PolicyFile:
    """Reads `resource-limits.yaml` of a folder, and again when it changes."""

    def __init__(self, folder: Path, built_in: Policy) -> None:
        """Read the policy for the first time.

        Args:
            folder: Where the file is; a folder or file that does not exist means the built-in policy.
            built_in: Policy without a file, whose base a file starts from.

        Raises:
            InvalidRequestError: The file is broken: without a last good policy, none is in force.
        """
        self._path = folder / POLICY_NAME
        self._built_in = built_in
        self._stamp = self._read_stamp()
        self.problem: str | None = None
        self.current: Policy = self._read()

    def reload_if_changed(self) -> bool:
        """Read the file again if it is another one; tell whether a new policy is in force.

        A file that is gone is no new policy: everybody's limits would change at once.
        """
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        if stamp is None:
            self.problem = (
                f"{self._path.name} is gone; its last content stays in force. "
                "Put it back, or restart ds01d to use the built-in policy."
            )
            log.warning("policy: %s", self.problem)
            return False
        try:
            self.current = self._read()
        except Ds01Error as failure:
            self.problem = f"{failure.message} {failure.hint or ''}".strip()
            log.warning("policy: %s", self.problem)
            return False
        self.problem = None
        return True

    def _read(self) -> Policy:
        return self._built_in if self._stamp is None else read_policy(self._path, base=self._built_in.base)

    def _read_stamp(self) -> tuple[int, int, int] | None:
        """Return what changes with the file; None only where there is none. One that cannot be looked at is there."""
        try:
            found = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            return (0, 0, 0)
        return (found.st_ino, found.st_mtime_ns, found.st_size)
