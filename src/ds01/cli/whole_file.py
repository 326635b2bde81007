"""A file that is there whole or not at all, also when its writer is killed."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

_DESCRIPTORS = "/proc/self/fd"
_CANNOT = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})
"""What a file system says that knows no files without a name, such as NFS. Source: open(2), O_TMPFILE."""


@contextmanager
def whole_file(path: str, *, is_nameless: bool = True) -> Iterator[BinaryIO]:
    """Open a file that gets its name, and replaces what had it, when the block ends well.

    While it is written it has no name, so the kernel removes it with a writer that is killed. On a file system without
    such files it is `<path>.part` meanwhile.

    Args:
        path: The file.
        is_nameless: Without a name if the file system can; False: as on one that cannot.

    Raises:
        FileExistsError: `<path>.part` is there: somebody else may be writing it.
        OSError: It cannot be written; nothing is left of it.
    """
    part = f"{path}.part"
    if os.path.lexists(part):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), part)
    descriptor, has_name = _opened(path, part, is_nameless=is_nameless)
    try:
        with open(descriptor, "wb") as target:
            yield target
            target.flush()
            os.fsync(descriptor)
            if not has_name:
                # with a descriptor of a folder the link is followed, to the file; the path says which by itself
                os.link(f"{_DESCRIPTORS}/{descriptor}", part, src_dir_fd=descriptor)
                has_name = True
            os.replace(part, path)
    except BaseException:
        if has_name:
            os.unlink(part)
        raise


def _opened(path: str, part: str, *, is_nameless: bool) -> tuple[int, bool]:
    """Return a new file, and whether it has the name `part`."""
    if is_nameless and os.path.isdir(_DESCRIPTORS):
        try:
            folder = os.path.dirname(path) or "."
            return os.open(folder, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600), False
        except OSError as failure:
            if failure.errno not in _CANNOT:
                raise
    return os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), True
