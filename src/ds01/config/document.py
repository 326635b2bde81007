"""A YAML file that people edit, read with the line of every key."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.reader import ReaderError

from ds01.domain.rules.policy import PolicyWarning
from ds01.domain.yaml_remark import remark_on, remark_on_character
from ds01.errors import InvalidRequestError

MAX_FILE_BYTES = 256 * 1024
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file's content, and the name it has in messages.

    Attributes:
        name: Name for messages and origins.
        raw: Its bytes.
    """

    name: str
    raw: bytes


class Source:
    """A file that is being read: where its values stand, and what was odd about them."""

    def __init__(self, name: str, version: int) -> None:
        self.name = name
        self.version = version
        self.warnings: list[PolicyWarning] = []

    def line(self, section: CommentedMap | CommentedSeq, key: object) -> str:
        """Return `file:line` of an entry."""
        try:
            number = section.lc.data[key][0] + 1
        except (KeyError, TypeError, AttributeError):  # merged from elsewhere, or not in the file
            number = (section.lc.line or 0) + 1
        return f"{self.name}:{number}"

    def refuse(self, section: CommentedMap | CommentedSeq, key: object, what: str, hint: str | None = None) -> NoReturn:
        """Refuse an entry."""
        raise refusal(self.line(section, key), what, hint)

    def warn(self, section: CommentedMap | CommentedSeq, key: object, what: str, hint: str = "") -> None:
        """Note that an entry should be looked at."""
        self.warnings.append(PolicyWarning(self.line(section, key), what, hint))


def refusal(where: str, what: str, hint: str | None = None) -> InvalidRequestError:
    """Return the error about a place in a file; its details say the place apart from the words."""
    return InvalidRequestError(f"{where}: {what}", hint=hint, details={"where": where, "problem": what})


def parse(file: TextFile) -> CommentedMap:
    """Return the keys of a file; none for one that holds only comments.

    Raises:
        InvalidRequestError: It is no YAML; the message says where.
    """
    raw, name = file.raw, file.name
    require_size(raw, name)
    yaml = YAML(typ="rt", pure=True)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = raw[: failure.start].count(b"\n") + 1
        raise refusal(f"{name}:{line}", "the file is not UTF-8.", "Save it as UTF-8.") from failure
    try:
        document = yaml.load(text)
    except ReaderError as failure:
        line, remark = remark_on_character(text, failure.position)
        raise refusal(f"{name}:{line}", remark.problem, remark.hint) from failure
    except YAMLError as failure:
        mark = getattr(failure, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark is not None else name
        remark = remark_on(getattr(failure, "problem", None) or str(failure).splitlines()[0])
        raise refusal(where, remark.problem, remark.hint) from failure
    except RecursionError as failure:
        raise refusal(name, "the file is nested too deeply.", "Close every bracket.") from failure
    except (ValueError, LookupError) as failure:  # a date or number that is none, with a tag or without
        raise refusal(name, f"a value cannot be read: {str(failure)[:100]}.", "Write it in quotes.") from failure
    except (AttributeError, TypeError) as failure:  # the library stumbles over valid, but odd YAML
        what = "a key is itself a list or a set of keys, or a tag such as !!set stands before something else."
        raise refusal(name, what, "Look for `? ` and `!!`, and remove them.") from failure
    if document is None:
        return CommentedMap()  # a file that holds only comments
    if not isinstance(document, CommentedMap):
        raise refusal(f"{name}:1", "the file is not a set of keys.", "See docs/reference/config.md.")
    return document


def require_size(raw: bytes, name: str) -> None:
    """Raise if a file is larger than any policy.

    Raises:
        InvalidRequestError: It is.
    """
    if len(raw) > MAX_FILE_BYTES:
        raise refusal(
            name, f"the file is larger than {MAX_FILE_BYTES // 1024} KiB.", "A policy is a few hundred lines."
        )


def open_at_once(path: str, flags: int) -> int:
    """Open without waiting, as `opener` of `open`: opening a pipe would last until somebody writes into it."""
    return os.open(path, flags | os.O_NONBLOCK)


def read_file(path: Path, name: str, *, owner_uid: int | None = None) -> TextFile:
    """Return a file, read once through one descriptor.

    Args:
        path: The file.
        name: Its name in messages.
        owner_uid: With a number, nobody but root and this user may be able to change the file; None: anybody may.

    Raises:
        InvalidRequestError: It cannot be read, is no file, too large, changed meanwhile, or others may change it.
    """
    try:
        with open(path, "rb", opener=open_at_once) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise refusal(name, "this is not a file.", "Move it away.")
            if owner_uid is not None:
                _require_trusted(before, path, name, owner_uid)
            raw = file.read(MAX_FILE_BYTES + 1)
            after = os.fstat(file.fileno())
    except OSError as failure:
        raise refusal(name, f"the file cannot be read: {failure.strerror}.", f"Look at it: ls -l {path}") from failure
    require_size(raw, name)
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise refusal(name, "the file changed while it was read.", "It is read again by itself.")
    return TextFile(name, raw)


def _require_trusted(found: os.stat_result, path: Path, name: str, owner_uid: int) -> None:
    """Whoever can write the policy is an administrator. A group of root's may."""
    if found.st_uid not in {0, owner_uid}:
        raise refusal(name, f"the file belongs to uid {found.st_uid}, not to root.", f"Run: chown root {path}")
    others = stat.S_IWOTH if found.st_gid == 0 else WRITABLE_BY_OTHERS
    if found.st_mode & others:
        raise refusal(name, "others than root can write the file.", f"Run: chmod go-w {path}")
