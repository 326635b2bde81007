"""A YAML file that people edit, read with the line of every key."""

import os
import stat
from pathlib import Path
from typing import NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from ds01.errors import InvalidRequestError

MAX_FILE_BYTES = 256 * 1024


class Source:
    """Where a value stands, for messages and origins."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def line(self, section: CommentedMap | CommentedSeq, key: object) -> str:
        """Return `file:line` of an entry."""
        try:
            number = section.lc.data[key][0] + 1
        except (KeyError, TypeError, AttributeError):  # merged from elsewhere, or not in the file
            number = (section.lc.line or 0) + 1
        return f"{self.path.name}:{number}"

    def refuse(self, section: CommentedMap | CommentedSeq, key: object, what: str, hint: str | None = None) -> NoReturn:
        """Refuse an entry."""
        raise InvalidRequestError(f"{self.line(section, key)}: {what}", hint=hint)


def load(path: Path) -> CommentedMap:
    """Return the keys of a file; none for one that holds only comments.

    Raises:
        InvalidRequestError: It cannot be read, or is no YAML; the message says where.
    """
    raw = _read(path)
    yaml = YAML(typ="rt", pure=True)
    try:
        document = yaml.load(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as failure:
        line = raw[: failure.start].count(b"\n") + 1
        raise InvalidRequestError(f"{path.name}:{line}: the file is not UTF-8.", hint="Save it as UTF-8.") from failure
    except YAMLError as failure:
        mark = getattr(failure, "problem_mark", None)
        where = f"{path.name}:{mark.line + 1}" if mark is not None else path.name
        problem = getattr(failure, "problem", None) or str(failure).splitlines()[0]
        raise InvalidRequestError(f"{where}: {problem}.", hint="Indent with spaces; each key once.") from failure
    except RecursionError as failure:
        raise InvalidRequestError(f"{path.name} is nested too deeply.", hint="Close every bracket.") from failure
    except (ValueError, LookupError) as failure:  # a date or number that is none, with a tag or without
        raise InvalidRequestError(
            f"{path.name}: a value cannot be read: {str(failure)[:100]}.", hint="Write it in quotes."
        ) from failure
    if document is None:
        return CommentedMap()  # a file that holds only comments
    if not isinstance(document, CommentedMap):
        raise InvalidRequestError(
            f"{path.name}:1: the file is not a set of keys.", hint="See docs/reference/config.md."
        )
    return document


def _read(path: Path) -> bytes:
    try:
        # without waiting: opening a pipe would last until somebody writes into it
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidRequestError(f"{path.name} is not a file.", hint="Move it away.")
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as failure:
        raise InvalidRequestError(
            f"{path.name} cannot be read: {failure.strerror}.", hint=f"Look at it: ls -l {path}"
        ) from failure
    if len(raw) > MAX_FILE_BYTES:
        raise InvalidRequestError(
            f"{path.name} is larger than {MAX_FILE_BYTES // 1024} KiB.", hint="A policy is a few hundred lines."
        )
    return raw
