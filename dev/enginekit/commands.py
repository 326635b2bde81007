"""Runs other programs and says in one sentence what went wrong."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class DevError(Exception):
    """The sentence a developer reads when something cannot be done."""


def run(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin_text: str | None = None,
    timeout_s: float = 600.0,
) -> str:
    """Run a program to its end and return what it printed.

    Raises:
        DevError: The program is missing, failed, or took longer than `timeout_s`.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            env=None if env is None else dict(env),
            cwd=cwd,
            input=stdin_text,
            stdin=subprocess.DEVNULL if stdin_text is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise DevError(f"{words[0]} is not there: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise DevError(f"`{' '.join(words)}` took longer than {timeout_s:.0f} s") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing")[-2000:]
        raise DevError(f"`{' '.join(words)}` failed with status {done.returncode}: {said}")
    return done.stdout


def succeeds(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> bool:
    """Tell whether a program ends with status 0."""
    try:
        run(argv, env=env)
    except DevError:
        return False
    return True


def find_command(name: str, path: str) -> Path | None:
    """Return where `name` is on `path` or in the system's own folders, which a short PATH may leave out."""
    found = shutil.which(name, path=f"{path}:{SYSTEM_PATH}" if path else SYSTEM_PATH)
    return None if found is None else Path(found)
