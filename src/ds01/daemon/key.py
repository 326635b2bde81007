"""The daemon's secret for seals. It lives beside the database: a lost database is rebuilt from sealed labels."""

import hashlib
import os
import secrets
from pathlib import Path

from ds01.errors import BackendError

KEY_NAME = "seal.key"
KEY_BYTES = 32


def read_or_make_key(folder: Path) -> bytes:
    """Return the secret of a state folder; made once, readable by its owner only.

    Raises:
        BackendError: It cannot be read or made, or it is damaged.
    """
    path = folder / KEY_NAME
    try:
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError as failure:
        raise BackendError(
            f"The key {path} cannot be used: {failure.strerror}.", hint="Check the folder's rights."
        ) from failure
    if len(key) != KEY_BYTES:
        raise BackendError(
            f"The key {path} is damaged.",
            hint="Restore it from a backup, or move it away to get a new one: old seals are then worth nothing.",
        )
    return key


def cdi_tag(key: bytes) -> str:
    """Return what tells this daemon's CDI files from another's; it says nothing about the secret."""
    return hashlib.sha256(b"cdi" + key).hexdigest()[:8]


def _make(path: Path) -> None:
    """Write aside and rename: a crash leaves no key or a whole one."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(KEY_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    aside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # a new name lasts once its folder is on the disk
    finally:
        os.close(folder)
