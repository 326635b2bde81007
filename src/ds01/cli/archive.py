"""Files of this user <-> a tar: packed as they are, unpacked without following links that the archive has put there."""

import errno
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ds01.errors import ConflictError, Ds01Error, InvalidRequestError, NotFoundError

PIECE_BYTES = 256 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Warn = Callable[[str], None]


def pack(path: str, name: str, *, warn: Warn) -> Iterator[bytes]:
    """Yield a file or folder as a tar. Links are packed as links; pipes, sockets and devices are left out.

    Args:
        path: What to pack.
        name: Its name in the archive; empty for the content of a folder alone.
        warn: Is told what is left out.

    Raises:
        Ds01Error: Something cannot be read, or changes while it is read.
    """
    if name or not os.path.isdir(path):
        yield from pack_entry(path, name or os.path.basename(path), warn)
    if os.path.isdir(path) and not (name and os.path.islink(path)):
        with _said(path):
            names = sorted(os.listdir(path))
        for each in names:
            yield from _tree(os.path.join(path, each), f"{name}/{each}" if name else each, warn)
    yield bytes(1024)


def _tree(path: str, name: str, warn: Warn) -> Iterator[bytes]:
    yield from pack_entry(path, name, warn)
    if os.path.isdir(path) and not os.path.islink(path):
        with _said(path):
            names = sorted(os.listdir(path))
        for each in names:
            yield from _tree(os.path.join(path, each), f"{name}/{each}", warn)


def pack_entry(path: str, name: str, warn: Warn) -> Iterator[bytes]:
    """Yield one file, folder (without what is in it) or link; anything else is left out and told."""
    with _said(path):
        facts = os.lstat(path)
        target = os.readlink(path) if stat.S_ISLNK(facts.st_mode) else ""
    header = tarfile.TarInfo(name)
    header.mode, header.mtime = stat.S_IMODE(facts.st_mode) & 0o777, int(facts.st_mtime)
    if stat.S_ISREG(facts.st_mode):
        header.size = facts.st_size
    elif stat.S_ISDIR(facts.st_mode):
        header.type = tarfile.DIRTYPE
    elif target:
        header.type, header.linkname = tarfile.SYMTYPE, target
    else:
        warn(f"{path} is a pipe, a socket or a device and was left out.")
        return
    yield header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if header.size:
        yield from _content(path, header.size)
        yield bytes(-header.size % tarfile.BLOCKSIZE)


def _content(path: str, size: int) -> Iterator[bytes]:
    with _said(path), open(path, "rb") as source:
        while size:
            piece = source.read(min(size, PIECE_BYTES))
            if not piece:
                raise ConflictError(f"{path} became shorter while it was copied.", hint="Copy it again.")
            size -= len(piece)
            yield piece


class Unpacker:
    """Writes an archive below one folder, as this user.

    Every folder on the way is opened by its descriptor without following links, so no entry leads out: not by `..`, not
    by an absolute name, and not through a link that came earlier in the same archive.
    """

    def __init__(self, folder: str, *, rename: tuple[str, str] | None, warn: Warn) -> None:
        """Prepare.

        Args:
            folder: Where to write; it exists.
            rename: First segment of the entries' names, and what it is called here; None: as it is.
            warn: Is told what is left out.
        """
        self._folder = folder
        self._rename = rename
        self._warn = warn

    def unpack(self, pieces: Iterator[bytes]) -> None:
        """Write everything.

        Raises:
            Ds01Error: Something cannot be written, or leads out of the folder.
        """
        with _said(self._folder):
            root = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with tarfile.open(
                fileobj=PieceReader(pieces), mode="r|", encoding="utf-8", errors="surrogateescape"
            ) as archive:
                for member in archive:
                    self._write(root, archive, member)
        except tarfile.TarError as error:
            raise Ds01Error(f"The container's archive is broken: {error}.", hint="Try again.") from error
        finally:
            os.close(root)

    def _write(self, root: int, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = self._parts(member.name)
        if not parts:
            return
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            self._warn(f"{member.name} is a pipe or a device and was left out.")
            return
        with _said(os.path.join(self._folder, *parts)), _opened(root, parts[:-1]) as parent:
            if member.isdir():
                _make_folder(parent, parts[-1], member.mode)
            elif member.issym():
                _remove_file(parent, parts[-1])
                os.symlink(member.linkname, parts[-1], dir_fd=parent)
            elif member.islnk():
                self._link(root, parent, parts[-1], member)
            else:
                _remove_file(parent, parts[-1])
                _make_file(parent, parts[-1], archive, member)

    def _link(self, root: int, parent: int, name: str, member: tarfile.TarInfo) -> None:
        source = self._parts(member.linkname)
        with _opened(root, source[:-1]) as folder:
            _remove_file(parent, name)
            os.link(source[-1], name, src_dir_fd=folder, dst_dir_fd=parent, follow_symlinks=False)

    def _parts(self, name: str) -> list[str]:
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if ".." in parts or name.startswith("/") or any("\0" in part for part in parts):
            raise InvalidRequestError(f"The archive wants to write {name!r}, outside of the folder that was named.")
        if self._rename is not None and parts:
            old, new = self._rename
            if parts[0] != old:
                raise InvalidRequestError(f"The archive holds {name!r} and should only hold {old!r}.")
            return [*new.split("/"), *parts[1:]] if new else parts[1:]
        return parts


class PieceReader(io.RawIOBase):
    """Pieces as a file that can only be read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer only at the end; all with a size below 0."""
        found = [self._rest]
        length = len(self._rest)
        while size < 0 or length < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            found.append(piece)
            length += len(piece)
        data = b"".join(found)
        self._rest = data[size:] if size >= 0 else b""
        return data[:size] if size >= 0 else data


@contextmanager
def _opened(root: int, parts: list[str]) -> Iterator[int]:
    """Open the folder of an entry; those that are missing are made."""
    here = os.dup(root)
    try:
        for part in parts:
            with suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=here)
            deeper = os.open(part, _FOLDER, dir_fd=here)
            os.close(here)
            here = deeper
        yield here
    finally:
        os.close(here)


def _make_folder(parent: int, name: str, mode: int) -> None:
    try:
        os.mkdir(name, mode & 0o777 | 0o700, dir_fd=parent)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise


def _make_file(parent: int, name: str, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    source = archive.extractfile(member)
    descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
    try:
        with open(descriptor, "wb") as target:
            while source is not None and (piece := source.read(PIECE_BYTES)):
                target.write(piece)
            target.flush()
            os.fchmod(descriptor, member.mode & 0o777)
            os.utime(descriptor, (member.mtime, member.mtime))
    except BaseException:
        os.unlink(name, dir_fd=parent)  # half a file looks like a whole one
        raise


def _remove_file(parent: int, name: str) -> None:
    """What is there makes room, unless it is a folder."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return


@contextmanager
def _said(path: str) -> Iterator[None]:
    """Say which file it was."""
    try:
        yield
    except FileNotFoundError as failure:
        raise NotFoundError(f"There is nothing at {path}.") from failure
    except OSError as failure:
        reasons = {
            errno.ELOOP: "a link is in the way",
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "your disk quota is reached",
        }
        reason = reasons.get(failure.errno or 0, failure.strerror or str(failure))
        raise ConflictError(f"{path} cannot be used: {reason}.") from failure
