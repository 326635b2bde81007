"""Lends pip's configuration to a build: an image holds it for as long as the build lasts, and its steps mount it."""

import io
import tarfile
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from ds01.domain.images.dockerfile_pip import CONFIG_NAME, HOLDER_DOCKERFILE, mount_of, with_pip_config
from ds01.domain.name import EngineName
from ds01.service.ports import BuildSpec, Engine
from ds01.service.temporary_images import TemporaryImages


@dataclass(frozen=True, slots=True)
class Lent:
    """A Dockerfile whose steps see what the site lends.

    Attributes:
        text: The Dockerfile.
        mount: The option that its steps got; empty: none.
    """

    text: str
    mount: str = ""

    @property
    def is_mounted(self) -> bool:
        """Its steps mount something."""
        return bool(self.mount)

    def unmounted(self, output: str) -> str:
        """Return a piece of the build's output as it would be without the mount: people did not write it."""
        return output.replace(f"{self.mount} ", "") if self.mount else output


class PipConfigLender:
    """Makes and removes the images that hold the configuration."""

    def __init__(self, engine: Engine, temporary: TemporaryImages) -> None:
        self._engine = engine
        self._temporary = temporary

    @asynccontextmanager
    async def lent(self, uid: int, name: str, config: str, text: str) -> AsyncIterator[Lent]:
        """Lend a configuration for the block.

        Args:
            uid: Whose build.
            name: Name of the image that is built.
            config: pip's configuration; empty: none is lent.
            text: The Dockerfile.

        Raises:
            BackendError: The engine failed.
        """
        if not config:
            yield Lent(text)
            return
        async with self._temporary.named("pip", EngineName(name, uid)) as reference:
            spec = BuildSpec(reference, network="none")
            async with aclosing(self._engine.build_image(spec, _context(config))) as steps:
                async for _ in steps:
                    pass
            yield Lent(with_pip_config(text, reference), mount_of(reference))


def _context(config: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in (("Dockerfile", HOLDER_DOCKERFILE), (CONFIG_NAME, config)):
            content = text.encode()
            header = tarfile.TarInfo(name)
            header.size, header.mode = len(content), 0o644
            archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()
