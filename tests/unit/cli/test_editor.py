"""The editor that a person has set: found, started on a copy, and not believed when it fails."""

import shlex
import sys
from pathlib import Path

import pytest

from ds01.cli.editor import edit_text, editor_of
from ds01.errors import Ds01Error, InvalidRequestError


def editor(tmp_path: Path, script: str) -> str:
    """A program that changes the file that it is given."""
    path = tmp_path / "my editor"
    path.write_text(f"import sys\npath = sys.argv[-1]\ntext = open(path).read()\n{script}\n")
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(path))}"


def test_the_editor_is_the_one_that_is_set_with_its_options(tmp_path: Path) -> None:
    assert editor_of({"VISUAL": "code --wait", "EDITOR": "vi"}) == ["code", "--wait"]
    assert editor_of({"EDITOR": "'my editor' -x", "VISUAL": " "}) == ["my editor", "-x"]
    (tmp_path / "vi").write_text("#!/bin/sh\n")
    (tmp_path / "vi").chmod(0o755)
    assert editor_of({"PATH": str(tmp_path)}) == ["vi"]
    for environment in ({"PATH": "/nowhere"}, {"EDITOR": "'open"}):
        with pytest.raises(InvalidRequestError, match="EDITOR"):
            editor_of(environment)


def test_what_is_edited_is_a_copy_of_that_name(tmp_path: Path) -> None:
    command = editor(tmp_path, "open(path, 'w').write(text + path.rpartition('/')[2])")
    assert edit_text({"EDITOR": command}, "FROM x\n", "a.Dockerfile") == "FROM x\na.Dockerfile"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("sys.exit(3)", "status 3"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
        ("open(path, 'w').write(' \\n')", "empty"),
        ("import os; os.remove(path)", "left no file"),
        ("open(path, 'wb').write(b'\\xff\\xfe\\xfd')", "What was edited"),
    ],
)
def test_an_editor_that_fails_changes_nothing(script: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Ds01Error, match=said):
        edit_text({"EDITOR": editor(tmp_path, script)}, "FROM x\n", "Dockerfile")
    with pytest.raises(InvalidRequestError, match="cannot be started"):
        edit_text({"EDITOR": "/nowhere/at-all"}, "FROM x\n", "Dockerfile")
