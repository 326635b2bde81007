"""Words of a shell command: quoted so that every POSIX shell and every builder read them the same, and read back.

The builders look at a line of a Dockerfile before the shell does: they join lines that end with a backslash, drop
lines that begin with `#`, and newer ones look for here-documents outside quotes. A word in single quotes on a line of
its own survives all of that.
"""

import re

from ds01.errors import InvalidRequestError

MAX_WORD = 4000
"""Longest word. Builders refuse lines of 64 KiB; nothing that people install comes near this."""
_SAFE = re.compile(r"[A-Za-z0-9_@%+:,./-][A-Za-z0-9_@%+=:,./-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")
# one part of a word, as a POSIX shell reads it; nothing that is expanded
_PART = re.compile(r"""'([^']*)'|"((?:[^"\\$`]|\\.)*)"|\\(.)|([^\s'"\\$`;&|<>()#*?\[\]{}~!]+|(?<=\S)#)""")
_ESCAPED_IN_DOUBLE = re.compile(r'\\(["\\$`])')


def quote_word(text: str) -> str:
    """Return a word as it is written in a command: bare where nothing in it means anything, else in single quotes.

    Raises:
        InvalidRequestError: It holds a line break or another control character, or is too long.
    """
    if _SAFE.fullmatch(text) and len(text) <= MAX_WORD:
        return text
    require_one_line(text)
    return "'" + text.replace("'", "'\\''") + "'"


def require_one_line(text: str, what: str = "text") -> None:
    """Raise if a text cannot stand on one line of a Dockerfile.

    Raises:
        InvalidRequestError: It holds a control character or is too long.
    """
    found = _CONTROL.search(text)
    if found is not None:
        raise InvalidRequestError(
            f"The {what} {text[:60]!r} holds a line break or another control character.", hint="Write it on one line."
        )
    if len(text) > MAX_WORD:
        raise InvalidRequestError(
            f"The {what} {text[:40]!r}... has {len(text)} characters.", hint=f"At most {MAX_WORD} are taken."
        )


def is_one_line(text: str) -> bool:
    """Tell whether a text can stand on one line of a Dockerfile."""
    return len(text) <= MAX_WORD and _CONTROL.search(text) is None


def split_words(text: str) -> tuple[str, ...] | None:
    """Return the words of a piece of a command, or None if the shell would do more with it than take words.

    Expansions, redirections, patterns and operators are more.
    """
    if _SAFE.fullmatch(text):
        return (text,)
    if text.startswith("'") and text.find("'", 1) == len(text) - 1:
        return (text[1:-1],)  # what `quote_word` writes, nearly always
    words: list[str] = []
    position, length = 0, len(text)
    current: str | None = None
    while position < length:
        if text[position] in " \t":
            if current is not None:
                words.append(current)
                current = None
            position += 1
            continue
        match = _PART.match(text, position)
        if match is None:
            return None
        current = (current or "") + _part_text(match)
        position = match.end()
    if current is not None:
        words.append(current)
    return tuple(words)


def _part_text(match: re.Match[str]) -> str:
    single, double, escaped, bare = match.groups()
    if single is not None:
        return single
    if double is not None:
        return _ESCAPED_IN_DOUBLE.sub(r"\1", double)
    return escaped if escaped is not None else bare
