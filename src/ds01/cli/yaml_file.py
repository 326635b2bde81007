"""A YAML file of the caller's own, such as an environment.yml: the daemon opens no file of a user, the client does."""

from collections.abc import Callable, Mapping

from ds01.domain.yaml_remark import remark_on, remark_on_character
from ds01.errors import InvalidRequestError

MAX_CHARACTERS = 1024 * 1024
Path = tuple[str | int, ...]


def parse_yaml(text: str, name: str) -> tuple[Mapping[str, object], Callable[[Path], int | None]]:
    """Return the keys of a file, and what tells the line of an entry by the keys and positions that lead to it.

    Args:
        text: Its text.
        name: Its name, for messages.

    Raises:
        InvalidRequestError: It is no YAML, or no set of keys; the message says where.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.reader import ReaderError

    if len(text) > MAX_CHARACTERS:
        raise InvalidRequestError(f"{name} is larger than 1 MiB.", hint="Is it the right file?")
    content = text.removeprefix("\ufeff")
    try:
        document = YAML(typ="rt", pure=True).load(content)
    except ReaderError as failure:
        line, remark = remark_on_character(content, failure.position)
        raise InvalidRequestError(f"{name}:{line}: {remark.problem}", hint=remark.hint) from failure
    except YAMLError as failure:
        mark = getattr(failure, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark is not None else name
        remark = remark_on(getattr(failure, "problem", None) or str(failure).splitlines()[0])
        raise InvalidRequestError(f"{where}: {remark.problem}", hint=remark.hint) from failure
    except (RecursionError, ValueError, LookupError, AttributeError, TypeError) as failure:
        raise InvalidRequestError(f"{name} cannot be read as YAML.", hint="Write odd values in quotes.") from failure
    if document is None:
        return {}, lambda _: None
    if not isinstance(document, Mapping):
        raise InvalidRequestError(f"{name}:1: the file is not a set of keys.", hint="Begin with name: or dependencies:")
    return {str(key): value for key, value in document.items()}, lambda path: _line(document, path)


def _line(document: object, path: Path) -> int | None:
    """Return the line on which an entry stands; entries that an alias brought stand where they were written."""
    line: int | None = None
    for step in path:
        try:
            line = document.lc.data[step][0] + 1  # type: ignore[attr-defined]  # the library's own mark on what it read
            document = document[step]  # type: ignore[index]
        except (KeyError, IndexError, TypeError, AttributeError):
            return line
    return line
