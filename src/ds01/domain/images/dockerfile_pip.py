"""pip's configuration for the steps of a build: seen by every RUN, kept by no layer and no history.

Source: Dockerfile reference, RUN --mount=type=bind; pip documentation, configuration files (`/etc/pip.conf`).
"""

import re

from ds01.domain.images.dockerfile_text import Piece, split_pieces

CONFIG_NAME = "pip.conf"
TARGET = "/etc/pip.conf"
HOLDER_DOCKERFILE = f"FROM scratch\nCOPY {CONFIG_NAME} /{CONFIG_NAME}\n"
"""Of the image that lends the file to a build. It exists only as long as the build does."""
_RUN = re.compile(r"\A(\ufeff?\s*RUN)(?=[ \t])", re.IGNORECASE)


def mount_of(holder: str) -> str:
    """Return the option of RUN that mounts the configuration.

    Args:
        holder: Reference of the image that holds it.
    """
    return f"--mount=type=bind,from={holder},source=/{CONFIG_NAME},target={TARGET}"


def with_pip_config(text: str, holder: str) -> str:
    """Return a Dockerfile whose commands see pip's configuration.

    Args:
        text: The file.
        holder: Reference of the image that holds the configuration.
    """
    mount = mount_of(holder)
    return "".join(_mounted(piece, mount) for piece in split_pieces(text, lambda _line: False))


def _mounted(piece: Piece, mount: str) -> str:
    if TARGET in piece.text and "--mount" in piece.text:
        return piece.text  # it brings its own
    return _RUN.sub(lambda match: f"{match[1]} {mount}", piece.text, count=1)
