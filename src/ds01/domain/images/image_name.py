"""Names of people's own images: what they type, and what the engine stores."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches

from ds01.domain.images.image import DEFAULT_TAG
from ds01.domain.name import MAX_UID
from ds01.errors import InvalidRequestError

REGISTRY = "ds01.invalid"
"""A name below `.invalid` never resolves (RFC 2606): a mistyped or deleted image is not fetched from strangers."""
MAX_LENGTH = 48
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_UID = r"(?P<uid>0|[1-9][0-9]{0,9})"
_NAME_AND_TAG = r"(?P<name>[a-z0-9][a-z0-9._-]*)(?::(?P<tag>\w[\w.-]{0,127}))?"
_OWN = re.compile(rf"{re.escape(REGISTRY)}/u{_UID}/{_NAME_AND_TAG}", re.ASCII)
_PREDECESSOR = re.compile(rf"ds01-{_UID}/{_NAME_AND_TAG}", re.ASCII)
_RESERVED = frozenset({"latest", "none", "scratch", "ds01", "all", "base"})


@dataclass(frozen=True, slots=True)
class OwnImage:
    """An image that somebody built.

    Attributes:
        uid: Whose.
        name: As its owner types it.
        tag: `latest`, or the moment of a build.
    """

    uid: int
    name: str
    tag: str = DEFAULT_TAG

    def __str__(self) -> str:
        return f"{REGISTRY}/u{self.uid}/{self.name}:{self.tag}"


def parse_image_name(text: str, frameworks: Iterable[str] = ()) -> str:
    """Return the text if an own image may be called so.

    Args:
        text: What was typed.
        frameworks: Names that the catalogue has: `ds01 create x pytorch` has to mean one thing.

    Raises:
        InvalidRequestError: It may not; the hint proposes a name.
    """
    if not text:
        raise InvalidRequestError("The name of the image is empty.", hint="Write one such as my-image.")
    proposal = suggest_image_name(text)
    if len(text) > MAX_LENGTH or not _NAME.fullmatch(text):
        raise InvalidRequestError(
            f"{text[:80]!r} is not a legal name of an image: small letters and digits, with single . _ - between, at "
            f"most {MAX_LENGTH} characters.",
            hint=f"Use {proposal!r}." if proposal else "Write one such as my-image.",
            details={"proposal": proposal} if proposal else None,
        )
    if text in _RESERVED or text in {framework.lower() for framework in frameworks}:
        raise InvalidRequestError(f"{text!r} means something else already.", hint=f"Use {f'my-{text}'!r}.")
    return text


def suggest_image_name(text: str) -> str | None:
    """Return the nearest legal name to what a person typed (`My Image` becomes `my-image`), or None."""
    cleaned = re.sub(r"[^a-z0-9._-]+", "-", text.strip().lower())
    cleaned = re.sub(r"[._-]{2,}", "-", cleaned).strip("._-")[:MAX_LENGTH].strip("._-")
    return cleaned or None


def parse_own_image(reference: str) -> OwnImage | None:
    """Return whose image a reference names, ours or the predecessor's, or None if it is nobody's own."""
    match = _OWN.fullmatch(reference) or _PREDECESSOR.fullmatch(reference)
    if match is None or int(match["uid"]) > MAX_UID or not _NAME.fullmatch(match["name"]):
        return None
    return OwnImage(int(match["uid"]), match["name"], match["tag"] or DEFAULT_TAG)


def dated_tag(moment: datetime) -> str:
    """Return the tag that keeps a build when the next one takes `latest` (`20261122-023300`, UTC)."""
    return moment.astimezone(UTC).strftime("%Y%m%d-%H%M%S")


def meant_images(text: str, uid: int, handle: str) -> tuple[str, ...]:
    """Return the references that a typed name can mean, the likeliest first; whoever asks takes the first that exists.

    `<name>`, the seeds' `<name>-<user>`, both with a tag; `ds01-<uid>/<name>` and a full reference mean themselves.

    Args:
        text: What was typed.
        uid: Whose images are meant.
        handle: The user's name as files have it.
    """
    given = parse_own_image(text)
    if given is not None:
        return (text if ":" in text else f"{text}:{given.tag}",)
    name, _, tag = text.partition(":")
    if not _NAME.fullmatch(name):
        return ()
    names = [name]
    if name.endswith(f"-{handle}") and len(name) > len(handle) + 1:
        names.append(name[: -len(handle) - 1])
    tag = tag or DEFAULT_TAG
    ours = [str(OwnImage(uid, one, tag)) for one in names]
    old = [f"ds01-{uid}/{one}:{tag}" for one in names]
    seeds = [f"{one}:{tag}" for one in (name, f"{name}-{handle}") if one.endswith(f"-{handle}")]
    return tuple(dict.fromkeys([*ours, *old, *seeds]))


def nearest_images(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return up to three known names that a mistyped one most likely means, the likeliest first."""
    return tuple(get_close_matches(text.lower(), known, n=3, cutoff=0.6))


def dockerfile_name(name: str, handle: str) -> str:
    """Return the name of an image's Dockerfile in the folder of Dockerfiles."""
    return f"{name}-{handle}.Dockerfile"
