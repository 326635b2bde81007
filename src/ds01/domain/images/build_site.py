"""What a site gives to every build and no image keeps: proxies, pip's configuration; and how they stay unsaid."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import unquote

from ds01.errors import InvalidRequestError

PROXY_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY")
PROXY_ARGUMENTS = frozenset(PROXY_NAMES) | {name.lower() for name in PROXY_NAMES}
"""Build arguments that builders know by themselves: they reach every step and stay out of the image's history.

Source: Dockerfile reference, predefined ARGs.
"""
MASK = "***"
MIN_SECRET = 3
_LINE = re.compile(r"([A-Za-z_]+)\s*=\s*(\S.*)")
_CREDENTIALS = re.compile(r"[a-z][a-z0-9+.-]*://([^/\s@]+)@", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class BuildSite:
    """What every build of a site gets.

    Attributes:
        proxies: Values of `PROXY_NAMES`.
        pip_config: Text of pip's configuration; empty: none.
        time_limit: Longest time that a build may take; None: without end.
    """

    proxies: Mapping[str, str] = field(default_factory=dict)
    pip_config: str = ""
    time_limit: timedelta | None = None

    @property
    def arguments(self) -> Mapping[str, str]:
        """The proxies as build arguments: programs look for either spelling."""
        return {spelling: value for name, value in self.proxies.items() for spelling in (name, name.lower())}

    @property
    def secrets(self) -> frozenset[str]:
        """What must never be shown: names and passwords in addresses."""
        return secrets_of([*self.proxies.values(), self.pip_config])


def parse_proxies(text: str, source: str) -> dict[str, str]:
    """Return the proxies of a file: a line `NAME=value` each, and `#` before comments.

    Args:
        text: The file.
        source: Its name, for messages; its values are never said.

    Raises:
        InvalidRequestError: The message names file and line.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        match = _LINE.fullmatch(content)
        name = match[1].upper() if match else ""
        if match is None or name not in PROXY_NAMES or not match[2].isprintable():
            where, problem = f"{source}:{number}", "this is no proxy."
            raise InvalidRequestError(
                f"{where}: {problem}",
                hint=f"Write NAME=address with one of {', '.join(PROXY_NAMES)}.",
                details={"where": where, "problem": problem},
            )
        found[name] = match[2].strip("\"'")
    return found


def secrets_of(texts: Iterable[str]) -> frozenset[str]:
    """Return the names with passwords, and the passwords, that are in addresses of some texts, as they may be shown."""
    found: set[str] = set()
    for text in texts:
        for credentials in _CREDENTIALS.findall(text):
            _, _, password = credentials.partition(":")
            for secret in (credentials, password):
                found |= {secret, unquote(secret)}
    return frozenset(secret for secret in found if len(secret) >= MIN_SECRET)


class Masker:
    """Hides secrets in a text that comes in pieces: what could be the beginning of one waits for the next piece."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted(secrets, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._secrets)) or r"(?!)")
        self._kept = ""

    def take(self, piece: str) -> str:
        """Return what can be shown by now."""
        text = self._kept + piece
        start = self._open_at(text)
        shown, self._kept = text[:start], text[start:]
        return self._pattern.sub(MASK, shown)

    def rest(self) -> str:
        """Return what waited; no more comes."""
        shown, self._kept = self._pattern.sub(MASK, self._kept), ""
        return shown

    def whole(self, text: str) -> str:
        """Return a text that is complete."""
        return self._pattern.sub(MASK, text)

    def _open_at(self, text: str) -> int:
        """Return where a secret could begin whose end has not come, or one that a longer one could still contain."""
        limit = max(0, len(text) - max(map(len, self._secrets), default=0) + 1)
        position = limit
        for found in self._pattern.finditer(text):
            if found.start() >= limit:
                break
            position = max(limit, found.end())
        while position < len(text):
            rest = text[position:]
            if any(len(secret) > len(rest) and secret.startswith(rest) for secret in self._secrets):
                return position
            match = self._pattern.match(text, position)
            position = match.end() if match else position + 1
        return len(text)
