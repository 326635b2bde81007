"""A text in the editor of whoever sits there: a copy is edited, so an editor that fails changes nothing."""

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ds01.domain.images.import_text import decode_text
from ds01.errors import Ds01Error, InvalidRequestError

_USUAL = ("nano", "vim", "vi")


def edit_text(environment: Mapping[str, str], text: str, name: str) -> str:
    """Return a text as it was left in the editor.

    Args:
        environment: `VISUAL` and `EDITOR` say which editor, with its options.
        text: What is edited.
        name: Name of the copy; editors choose their colours by it.

    Raises:
        InvalidRequestError: There is no editor, or it left no text.
        Ds01Error: It failed, or left nothing.
    """
    command = editor_of(environment)
    with tempfile.TemporaryDirectory(prefix="ds01-edit-") as folder:
        copy = Path(folder) / name
        copy.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
        _run(command, copy)
        return _edited(copy, command[0])


def editor_of(environment: Mapping[str, str]) -> list[str]:
    """Return the editor's command: of `VISUAL`, else of `EDITOR`, else the first usual one that is there.

    Raises:
        InvalidRequestError: There is none, or what is set cannot be read.
    """
    for key in ("VISUAL", "EDITOR"):
        typed = environment.get(key, "").strip()
        if typed:
            try:
                return shlex.split(typed)
            except ValueError as broken:
                raise InvalidRequestError(
                    f"{key} cannot be read: {typed[:60]!r}.", hint=f"export {key}=nano"
                ) from broken
    path = environment.get("PATH")
    found = next((name for name in _USUAL if shutil.which(name, path=path)), None)
    if found is None:
        raise InvalidRequestError("There is no editor: EDITOR is not set.", hint="export EDITOR=PROGRAM")
    return [found]


def _run(command: list[str], copy: Path) -> None:
    try:
        status = subprocess.run([*command, str(copy)], check=False).returncode
    except OSError as failure:
        raise InvalidRequestError(
            f"The editor {command[0]} cannot be started: {failure.strerror or failure}.",
            hint="Set EDITOR to one that is there: export EDITOR=nano",
        ) from failure
    if status:
        said = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
        raise Ds01Error(f"The editor {command[0]} {said}: nothing was changed.")


def _edited(copy: Path, editor: str) -> str:
    try:
        data = copy.read_bytes()
    except OSError as failure:
        raise Ds01Error(f"The editor {editor} left no file: nothing was changed.") from failure
    text = decode_text(data, "What was edited")
    if not text.strip():
        raise Ds01Error("What was edited is empty: nothing was changed.", hint="To get rid of it: ds01 image delete")
    return text
