"""Where everything of a development engine lies."""

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dev.enginekit.commands import DevError

REPOSITORY = Path(__file__).resolve().parents[2]
VETH_PREFIX = "ds01v"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


def dev_folder() -> Path:
    """Return the scratch folder: `$DS01_DEV`, else `.dev` in the repository."""
    return Path(os.environ.get("DS01_DEV") or REPOSITORY / ".dev").absolute()


@dataclass(frozen=True, slots=True)
class EngineFolders:
    """All paths and kernel names of one engine, derived from its name alone.

    They need no record: whoever knows the name can find and remove what a crashed start or stop left behind.
    """

    name: str
    home: Path
    run: Path
    tag: str

    @property
    def state_file(self) -> Path:
        """What the running engine is, as JSON."""
        return self.home / "state.json"

    @property
    def data_root(self) -> Path:
        """Images and containers."""
        return self.home / "docker"

    @property
    def containerd_root(self) -> Path:
        """What containerd keeps."""
        return self.home / "containerd"

    @property
    def hook(self) -> Path:
        """The folder that only this engine has on its PATH."""
        return self.home / "hook"

    @property
    def hook_log(self) -> Path:
        """One JSON line per container that was given GPUs."""
        return self.home / "gpu-hook.log"

    @property
    def registry(self) -> Path:
        """What the registry stores."""
        return self.home / "registry"

    @property
    def socket(self) -> Path:
        """The engine's API."""
        return self.run / "docker.sock"

    @property
    def containerd_socket(self) -> Path:
        """The API of the engine's own containerd."""
        return self.run / "containerd.sock"

    @property
    def netns(self) -> Path:
        """The engine's network namespace, held by a bind mount."""
        return self.run / "netns"

    @property
    def veth(self) -> str:
        """The host's end of the cable, at most 15 characters."""
        return f"{VETH_PREFIX}{self.tag}"

    @property
    def rule_comment(self) -> str:
        """What marks our firewall rules."""
        return f"ds01-dev-{self.tag}"

    def log(self, program: str) -> Path:
        """Return where `program` writes."""
        return self.home / f"{program}.log"


def engines_folder() -> Path:
    """Return where the engines of this scratch folder have their homes."""
    return dev_folder() / "engines"


def engine_folders(name: str) -> EngineFolders:
    """Return the paths of the engine `name`.

    Raises:
        DevError: The name has other characters than lower case letters, digits, `-` and `_`, or is too long.
    """
    if not _NAME.fullmatch(name):
        raise DevError(f"{name!r} is no engine name: use up to 40 lower case letters, digits, - and _")
    home = engines_folder() / name
    tag = hashlib.sha256(str(home).encode()).hexdigest()[:8]
    # Sockets live under /run: a socket's path may have 107 characters at most (unix(7)), a checkout's may be longer.
    return EngineFolders(name=name, home=home, run=Path("/run") / f"ds01-dev-{tag}", tag=tag)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder: one process at a time, released by the kernel if the holder dies.

    The folder itself is locked, so no lock file stays behind.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_whole(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file so that nobody ever sees half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.chmod(mode)
    draft.replace(path)
