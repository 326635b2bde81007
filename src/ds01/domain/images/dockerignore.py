"""What a .dockerignore leaves out of a build's context.

Source: docker build, ".dockerignore file": a line is a pattern of Go's filepath.Match from the context's root, `**` is
any number of folders, `!` takes back, the last line that fits decides.
"""

import re
from collections.abc import Callable, Sequence

MAX_PATTERNS = 1000
_PIECE = re.compile(r"\*\*/?|\*|\?|\[[^]/]*\]|\\.|.", re.DOTALL)


def read_ignored(text: str) -> Callable[[str], bool]:
    """Return what tells whether a path, relative to the context, is left out.

    Args:
        text: The file's text.
    """
    rules: list[tuple[bool, re.Pattern[str]]] = []
    for line in text.removeprefix("\ufeff").splitlines()[:MAX_PATTERNS]:
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keeps, pattern = pattern.startswith("!"), pattern.removeprefix("!").strip().strip("/")
        if pattern not in {"", "."}:
            rules.append((keeps, re.compile(_expression(pattern.removeprefix("./")))))
    return lambda path: _is_ignored(path, rules)


def _is_ignored(path: str, rules: Sequence[tuple[bool, re.Pattern[str]]]) -> bool:
    ignored = False
    for keeps, rule in rules:
        if ignored is keeps and rule.fullmatch(path):
            ignored = not keeps
    return ignored


def _expression(pattern: str) -> str:
    """Return a regular expression for the pattern and everything below what it names."""
    parts: list[str] = []
    for piece in _PIECE.findall(pattern):
        if piece == "**/":
            parts.append("(?:[^/]+/)*")
        elif piece == "**":
            parts.append(".*")
        elif piece == "*":
            parts.append("[^/]*")
        elif piece == "?":
            parts.append("[^/]")
        elif piece.startswith("[") and len(piece) > 2:
            inner = piece[1:-1].replace("\\", "\\\\").replace("[", "\\[")
            parts.append(f"[{inner}]" if _compiles(f"[{inner}]") else re.escape(piece))
        else:
            parts.append(re.escape(piece.removeprefix("\\") or "\\"))
    return "".join(parts) + "(?:/.*)?"


def _compiles(expression: str) -> bool:
    try:
        re.compile(expression)
    except re.error:
        return False
    return True
