"""The context of a build: what the Dockerfile needs, packed as this user."""

import io
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path

from ds01.cli.archive import Warn, pack_entry
from ds01.cli.dockerfiles import read_text
from ds01.domain.images.dockerfile import Dockerfile
from ds01.domain.images.dockerfile_text import Piece, heredocs_of
from ds01.domain.images.dockerignore import read_ignored

DOCKERFILE = "Dockerfile"
_OWN_NAME = "Dockerfile.ds01-build"
_BUILDKIT_OPTIONS = {
    "RUN": {"--mount", "--network", "--security", "--device"},
    "COPY": {"--link", "--chmod", "--parents", "--exclude"},
    "ADD": {"--link", "--chmod", "--checksum", "--keep-git-dir", "--exclude", "--unpack"},
}
"""Options that the classic builder does not know. Source: Dockerfile reference."""
_SYNTAX = re.compile(r"\A(?:#[^\n]*\n)*#\s*syntax\s*=", re.IGNORECASE)


def needs_buildkit(dockerfile: Dockerfile) -> bool:
    """Tell whether a Dockerfile uses what only BuildKit knows."""
    return bool(_SYNTAX.search(dockerfile.text)) or any(map(_is_for_buildkit, dockerfile.pieces))


def _is_for_buildkit(piece: Piece) -> bool:
    known = _BUILDKIT_OPTIONS.get(piece.keyword, set())
    names = {option.partition("=")[0].lower() for option in _options(piece)}
    return not known.isdisjoint(names) or bool(heredocs_of("".join((f"{piece.keyword} ", *piece.body))))


def needs_folder(dockerfile: Dockerfile) -> bool:
    """Tell whether a Dockerfile copies from its folder: without that nothing of it is sent."""
    for piece in dockerfile.pieces:
        if piece.keyword in {"COPY", "ADD"} and "--from=" not in piece.text:
            return True
        if piece.keyword == "RUN" and any(map(_mounts_folder, _options(piece))):
            return True
    return False


def _mounts_folder(option: str) -> bool:
    """Tell whether an option of RUN mounts the build's own folder: mounts do where they say nothing else."""
    name, _, value = option.lower().partition("=")
    settings = dict(part.partition("=")[::2] for part in value.split(","))
    return name == "--mount" and settings.get("type", "bind") == "bind" and "from" not in settings


def _options(piece: Piece) -> Iterator[str]:
    return takewhile(lambda word: word.startswith("--"), " ".join(piece.body).split())


def context_of(text: str, folder: Path | None, *, warn: Warn) -> tuple[str, Iterator[bytes]]:
    """Return the Dockerfile's path in the context, and the context as a tar.

    Args:
        text: The Dockerfile.
        folder: What it copies from; None: nothing.
        warn: Is told what is left out.
    """
    if folder is None:
        return DOCKERFILE, iter((_file(DOCKERFILE, text), bytes(1024)))
    return _OWN_NAME, _packed(text, folder, warn)


def _packed(text: str, folder: Path, warn: Warn) -> Iterator[bytes]:
    ignore = folder / ".dockerignore"
    is_ignored = read_ignored(read_text(ignore)) if ignore.is_file() else _nothing
    yield _file(_OWN_NAME, text)
    for path, name in _tree(folder, is_ignored):
        yield from pack_entry(path, name, warn)
    yield bytes(1024)


def _tree(folder: Path, is_ignored: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    for place, folders, files in os.walk(folder):
        inside = os.path.relpath(place, folder)
        prefix = "" if inside == "." else f"{inside}/"
        folders.sort()
        for name in sorted([*folders, *files]):
            if not is_ignored(prefix + name):
                yield os.path.join(place, name), prefix + name


def _file(name: str, text: str) -> bytes:
    content = text.encode("utf-8", "surrogateescape")
    header = tarfile.TarInfo(name)
    header.size = len(content)
    packed = io.BytesIO()
    packed.write(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + content)
    packed.write(bytes(-len(content) % tarfile.BLOCKSIZE))
    return packed.getvalue()


def _nothing(_path: str) -> bool:
    return False
