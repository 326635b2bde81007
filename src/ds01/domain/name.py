"""Names of containers: what a person types, and what the engine stores.

The engine's name is `<name>._.<uid>` (AIME's convention). "Mine" is decided by the parsed uid, never by a substring:
`._.100` is also a part of `._.1001`.
"""

import re
from dataclasses import dataclass

from ds01.errors import InvalidRequestError

SEPARATOR = "._."
MAX_LENGTH = 48
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}")
# no leading zeros: `x._.0100` is not what we would write, so it is nobody's
_ENGINE_NAME = re.compile(r"(?P<name>.+)\._\.(?P<uid>0|[1-9][0-9]{0,9})")
# Source: moby, daemon/names/names.go, RestrictedNameChars.
_ALLOWED_BY_ENGINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
MAX_UID = 2**32 - 2
_MAX_TYPED = 200


@dataclass(frozen=True, slots=True)
class EngineName:
    """The two parts of an engine name.

    Attributes:
        name: What a person sees.
        uid: Owner.
    """

    name: str
    uid: int

    def __str__(self) -> str:
        return f"{self.name}{SEPARATOR}{self.uid}"


def parse_container_name(text: str) -> str:
    """Return `text` if it is a legal container name.

    Raises:
        InvalidRequestError: It is not; the hint proposes a legal name.
    """
    if _NAME.fullmatch(text):
        return text
    proposal = suggest_container_name(text)
    hint = f"Use {proposal!r}." if proposal else "Use letters, digits, - and _, such as my-project."
    if not text:
        raise InvalidRequestError(
            "The container name is empty.", hint="Use letters, digits, - and _, such as my-project."
        )
    raise InvalidRequestError(
        f"{text[:80]!r} is not a legal container name: it starts with a letter or digit and holds at most {MAX_LENGTH} "
        "letters, digits, - and _.",
        hint=hint,
        details={"proposal": proposal} if proposal else None,
    )


def is_engine_name(text: str) -> bool:
    """Tell whether an engine can have a container of this name."""
    return _ALLOWED_BY_ENGINE.fullmatch(text) is not None


def suggest_container_name(text: str) -> str | None:
    """Return the nearest legal name to what a person typed (`My Project` becomes `my-project`), or None."""
    cleaned = re.sub(r"[^a-z0-9_-]+", "-", text.strip().lower())
    cleaned = re.sub(r"-{2,}", "-", cleaned).lstrip("-_")[:MAX_LENGTH].rstrip("-_")
    return cleaned or None


def parse_engine_name(text: str) -> EngineName | None:
    """Return the parts of an engine name (with or without the engine's leading slash), or None if it is not ours.

    The name part may be one that only AIME's older versions allowed: such containers still exist.
    """
    match = _ENGINE_NAME.fullmatch(text.removeprefix("/"))
    if match is None or int(match["uid"]) > MAX_UID:
        return None
    return EngineName(name=match["name"], uid=int(match["uid"]))


def is_typed_name(text: str) -> bool:
    """Tell whether a container may be asked for by it: what old tools allowed and we do not, the engine still has."""
    return len(text) <= _MAX_TYPED and is_engine_name(text)
