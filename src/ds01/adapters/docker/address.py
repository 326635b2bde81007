"""Paths and queries of the Engine API, with every part checked and quoted.

The engine decodes `%2f` before it routes and redirects dot segments, so a name that is not one plain segment could
reach another endpoint than the one meant.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from ds01.errors import InvalidRequestError

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_IMAGE_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]*")
_MAX_REFERENCE = 512
_DIGEST_SEPARATOR = "@"

Query = Mapping[str, str]


def container_path(container: str, *rest: str) -> str:
    """Return the path of a container by id or name.

    Raises:
        InvalidRequestError: It cannot be the name of a container.
    """
    return "/".join(("/containers", _segment(container, "a container"), *rest))


def exec_path(exec_id: str, *rest: str) -> str:
    """Return the path of an exec.

    Raises:
        InvalidRequestError: It cannot be the id of an exec.
    """
    return "/".join(("/exec", _segment(exec_id, "an exec"), *rest))


def image_path(reference: str, *rest: str) -> str:
    """Return the path of an image by id or reference. Slashes stay: the engine's route takes the rest of the path.

    Raises:
        InvalidRequestError: It cannot be a reference.
    """
    return "/".join(("/images", quote(require_reference(reference), safe="/:@"), *rest))


def require_reference(reference: str) -> str:
    """Return `reference` if it consists of plain segments.

    Raises:
        InvalidRequestError: It cannot be a reference.
    """
    if len(reference) > _MAX_REFERENCE or not all(_IMAGE_SEGMENT.fullmatch(part) for part in reference.split("/")):
        raise InvalidRequestError(f"{reference[:80]!r} cannot be the name of an image.")
    return reference


def split_reference(reference: str) -> tuple[str, str]:
    """Return the repository and the tag or digest (`latest` without one) of a reference.

    Raises:
        InvalidRequestError: It cannot be a reference.
    """
    require_reference(reference)
    repository, separator, digest = reference.partition(_DIGEST_SEPARATOR)
    if separator:
        return _without_tag(repository), digest
    name = _without_tag(reference)
    return name, reference[len(name) + 1 :] or "latest"


def _without_tag(reference: str) -> str:
    """A colon before the last slash belongs to the registry's port."""
    folder, slash, last = reference.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}"


def with_query(path: str, query: Query) -> str:
    """Return `path` with an encoded query."""
    return f"{path}?{urlencode(query, quote_via=quote)}" if query else path


def _segment(text: str, what: str) -> str:
    if not _SEGMENT.fullmatch(text):
        raise InvalidRequestError(f"{text[:80]!r} cannot be the name of {what}.")
    return quote(text, safe="")
