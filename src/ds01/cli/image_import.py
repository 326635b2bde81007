"""Files that list packages, read as this user: requirements.txt, environment.yml, pyproject.toml."""

import os
from collections.abc import Callable
from pathlib import Path

from ds01.cli.yaml_file import parse_yaml
from ds01.domain.images.environment_file import import_environment
from ds01.domain.images.import_text import MAX_BYTES, Import, decode_text, require_whole
from ds01.domain.images.project_file import import_project
from ds01.domain.images.requirements_file import import_requirements
from ds01.errors import InvalidRequestError, NotFoundError


def import_file(text: str, tell: Callable[[str], None]) -> Import:
    """Return what a file asks for; its kind follows from its name.

    Args:
        text: Its path, as typed.
        tell: Is told what is taken otherwise than it is written.

    Raises:
        NotFoundError: There is no such file.
        InvalidRequestError: Something in it cannot be taken.
    """
    path = Path(os.path.expanduser(text))  # the one of Path raises for a user whom nobody knows
    content = _read(path)
    if content is None:
        raise NotFoundError(f"There is no file {text}.")

    def beside(name: str) -> str | None:
        return _read(path.parent / name)

    if path.suffix in {".yml", ".yaml"}:
        document, line_of = parse_yaml(content, path.name)
        found = import_environment(document, path.name, line_of, beside)
    elif path.suffix == ".toml":
        found = import_project(content, path.name)
    else:
        found = import_requirements(content, path.name, beside)
    for note in found.notes:
        tell(f"{note.place}: {note.problem} {note.hint}".strip())
    whole = require_whole(found, path.name)
    if not whole.lines and not whole.conda.specs:
        tell(f"{path.name} lists no packages for the image: nothing is taken from it.")
    return whole


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:  # it may be a pipe or a device, whose end nobody has seen
            return decode_text(file.read(MAX_BYTES + 1), str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as failure:
        raise InvalidRequestError(f"{path}: {failure.strerror or failure}.") from failure
