"""What a YAML library says of a text that cannot be read, in words for people who edit it by hand."""

import re
from dataclasses import dataclass

_USUAL_HINT = "Indent with spaces; each key once."


@dataclass(frozen=True, slots=True)
class YamlRemark:
    """One remark about a text.

    Attributes:
        problem: What is wrong; a sentence.
        hint: What to do about it.
    """

    problem: str
    hint: str


# Source: the messages of ruamel.yaml's scanner, parser, composer and constructor.
_KNOWN: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(r"found character '\\t' that cannot start any token"),
        "a tab ('\\t') stands where only blanks may.",
        "Indent with spaces, not with tabs.",
    ),
    (
        re.compile(r"found character '(?P<it>.)' that cannot start any token"),
        "a value may not begin with {it!r}.",
        'Write it in quotes, such as "{it}staff".',
    ),
    (
        re.compile(r'found duplicate key "(?P<it>.*?)" with value', re.DOTALL),
        "{it!r} is a duplicate key: it is there twice.",
        "Keep one of both; each key once.",
    ),
    (
        re.compile(r"but found another document"),
        "another document begins here.",
        "Remove the line `---` or `...`: a file holds one document.",
    ),
    (
        re.compile(r"mapping values are not allowed here"),
        "a `:` is not expected here.",
        "Indent keys of one section alike, with spaces; a value that holds `: ` needs quotes.",
    ),
    (
        re.compile(r"could not find expected ':'"),
        "a key without its `:` (could not find expected ':').",
        "Write `key: value`; indent with spaces.",
    ),
)


def remark_on(problem: str) -> YamlRemark:
    """Return what to tell about a problem that the library has found.

    Args:
        problem: The library's words.
    """
    for pattern, words, hint in _KNOWN:
        match = pattern.search(problem)
        if match is not None:
            found = {name: text[:80] for name, text in match.groupdict().items()}
            return YamlRemark(words.format(**found), hint.format(**found))
    return YamlRemark(f"{problem.rstrip('.')}.", _USUAL_HINT)


def remark_on_character(text: str, position: int) -> tuple[int, YamlRemark]:
    """Return the line of a character that YAML does not allow, and what to tell about it.

    Args:
        text: The whole text.
        position: Index of the character.
    """
    line = text.count("\n", 0, position) + 1
    code = ord(text[position]) if position < len(text) else 0
    return line, YamlRemark(f"the character U+{code:04X} is not allowed.", "Remove it: it cannot be seen in an editor.")
