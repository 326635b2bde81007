"""A daemon of a row's own on a real engine, with compiled byte-code as an installed one has."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.engine import DevEngine


@contextmanager
def serving(engine: DevEngine) -> Iterator[dict[str, str]]:
    """Yield the environment to reach the daemon."""
    folder = Path(tempfile.mkdtemp(prefix="ds01-bench-", dir="/var/tmp"))
    environment = {key: value for key, value in engine.environment.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"DS01_SOCKET": str(folder / "api.sock")}
    command = [sys.executable, "-m", "ds01.daemon.main", "--socket", environment["DS01_SOCKET"]]
    command += ["--state", str(folder / "state"), "--config", str(folder)]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait_for_answer(environment)
        yield environment
    finally:
        daemon.terminate()
        daemon.wait(timeout=60)
        shutil.rmtree(folder)


def _wait_for_answer(environment: dict[str, str]) -> None:
    for _ in range(100):
        command = [sys.executable, "-m", "ds01", "status"]
        if subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0:
            return
    raise AssertionError("the daemon did not answer")
