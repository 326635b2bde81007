"""The context of a build as it came from a client: the Dockerfile is read from it, and what was read is what is built.

The engine and this program could disagree on what an archive holds, so every header is written anew, and the
Dockerfile that was judged comes last, where nothing can replace it any more.
"""

import posixpath
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from ds01.domain.images.dockerfile_text import MAX_CHARACTERS
from ds01.errors import InvalidRequestError
from ds01.service.tar_stream import BLOCK_BYTES, REGULAR, TarEntry, header_of, parts_of

Context = Callable[[], AsyncIterator[bytes]]
"""Returns the context as a plain tar, from its beginning each time."""
JUDGED_NAME = "Dockerfile.ds01-build"
"""Where the Dockerfile goes that came from a folder of the context."""


async def read_dockerfile(context: Context, path: str) -> str:
    """Return the Dockerfile of a context.

    Raises:
        InvalidRequestError: The context is no tar, or does not hold exactly one such file.
    """
    found: list[bytes] = []
    async with aclosing(parts_of(context())) as parts:
        async for entry, content in parts:
            if _clean(entry.name) != _clean(path):
                continue
            if entry.kind != REGULAR or entry.size_bytes > 4 * MAX_CHARACTERS:
                raise InvalidRequestError(f"{path[:100]} in the context is no file, or far too large for a Dockerfile.")
            found.append(b"".join([piece async for piece in content]))
    if len(found) != 1:
        how_many = "none" if not found else f"{len(found)} of them"
        raise InvalidRequestError(
            f"The context has to hold {path[:100]} once, and holds {how_many}.", hint="Use `ds01 image build`."
        )
    return found[0].decode("utf-8", "surrogateescape")


def judged_path(path: str) -> str:
    """Return where the Dockerfile that was judged goes."""
    name = _clean(path)
    return JUDGED_NAME if "/" in name else name


async def with_dockerfile(context: Context, path: str, text: str) -> AsyncGenerator[bytes, None]:
    """Yield a context whose Dockerfile is this text, at `judged_path(path)`.

    Raises:
        InvalidRequestError: The context is no tar, or is cut off.
    """
    target = judged_path(path)
    async with aclosing(parts_of(context())) as parts:
        async for entry, content in parts:
            if _clean(entry.name) == target:
                continue
            yield header_of(entry)
            async for piece in content:
                yield piece
            yield bytes(-entry.size_bytes % BLOCK_BYTES)
    encoded = text.encode("utf-8", "surrogateescape")
    yield header_of(TarEntry(target, size_bytes=len(encoded))) + encoded + bytes(-len(encoded) % BLOCK_BYTES)
    yield bytes(2 * BLOCK_BYTES)


def _clean(name: str) -> str:
    return posixpath.normpath("/" + name).lstrip("/")
