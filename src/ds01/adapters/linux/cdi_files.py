"""CDI on this host: the folders with spec files, and what a process was started with."""

import asyncio
import json
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ds01.domain.devices.cdi import CdiSpec
from ds01.errors import BackendError
from ds01.service.ports import Checkpoint

MAX_SPEC_BYTES = 4 * 1024**2
_SUFFIXES = (".json", ".yaml")
"""What an engine reads. Source: container-device-interface, pkg/cdi/spec-dirs.go."""
_FOLDER_MODE = 0o755
_ASIDE = ".aside"
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH

ParseSpec = Callable[[bytes, str, int], CdiSpec]
"""Bytes, path and rank of a file to what it says; raises BackendError."""


class LinuxCdi:
    """The port `HostCdi` over real folders and /proc."""

    def __init__(self, parse: ParseSpec, *, tag: str, checkpoint: Checkpoint) -> None:
        """Prepare; nothing is opened.

        Args:
            parse: Reads a spec.
            tag: Hex digits in the names of own files: another daemon's files are none of ours.
            checkpoint: Passed before every change.
        """
        self._parse = parse
        self._tag = tag
        # a file aside is one that a dead daemon was writing
        self._name = re.compile(rf"\.?ds01-{re.escape(tag)}-(?P<id>[0-9a-f]{{1,64}})\.json({re.escape(_ASIDE)})?")
        self._checkpoint = checkpoint
        self._read: dict[Path, tuple[tuple[int, int, int], CdiSpec]] = {}

    async def read_specs(self, folders: Sequence[str]) -> tuple[list[CdiSpec], list[str]]:
        """Return the specs of folders but for our own, and what is wrong with those left out."""
        return await asyncio.to_thread(self._read_specs, folders)

    async def list_own(self, folder: str) -> list[str]:
        """Return the device ids of our files in a folder."""
        names = await asyncio.to_thread(_names, Path(folder))
        return sorted({match["id"] for name in names if (match := self._name.fullmatch(name))})

    async def read_own(self, folder: str, device_id: str) -> Mapping[str, object] | None:
        """Return the document of a file of ours."""
        path = self._path(folder, device_id)
        try:
            document = json.loads(await asyncio.to_thread(path.read_bytes))
        except (FileNotFoundError, ValueError):
            return None
        except OSError as failure:
            raise BackendError(f"The CDI spec {path} cannot be read: {failure.strerror}.") from failure
        return document if isinstance(document, dict) else None

    async def write_own(self, folder: str, device_id: str, document: Mapping[str, object], *, mode: int) -> None:
        """Write a file of ours aside and rename it."""
        self._checkpoint(f"write the CDI spec of {device_id}")
        content = json.dumps(document, indent=2).encode() + b"\n"
        await asyncio.to_thread(_write, self._path(folder, device_id), content, mode)

    async def remove_own(self, folder: str, device_id: str) -> None:
        """Remove a file of ours."""
        self._checkpoint(f"remove the CDI spec of {device_id}")
        path = self._path(folder, device_id)
        try:
            await asyncio.to_thread(_aside(path).unlink, missing_ok=True)
            await asyncio.to_thread(path.unlink, missing_ok=True)
        except OSError as failure:
            raise BackendError(f"The CDI spec {path} cannot be removed: {failure.strerror}.") from failure

    async def read_variable(self, pid: int, name: str) -> str | None:
        """Return a variable of a process. Source: proc_pid_environ(5)."""
        try:
            raw = await asyncio.to_thread(Path(f"/proc/{pid}/environ").read_bytes)
        except (FileNotFoundError, ProcessLookupError):
            return None
        except OSError as failure:
            raise BackendError(f"What process {pid} was started with cannot be read: {failure.strerror}.") from failure
        wanted = os.fsencode(name) + b"="
        return next((os.fsdecode(line[len(wanted) :]) for line in raw.split(b"\0") if line.startswith(wanted)), None)

    def _path(self, folder: str, device_id: str) -> Path:
        return Path(folder) / f"ds01-{self._tag}-{device_id}.json"

    def _read_specs(self, folders: Sequence[str]) -> tuple[list[CdiSpec], list[str]]:
        specs: list[CdiSpec] = []
        problems: list[str] = []
        for rank, folder in enumerate(folders):
            for name in _names(Path(folder)):
                if not name.endswith(_SUFFIXES) or self._name.fullmatch(name):
                    continue
                try:
                    specs.append(self._spec(Path(folder) / name, rank))
                except BackendError as failure:
                    problems.append(failure.message)
        return specs, problems

    def _spec(self, path: Path, rank: int) -> CdiSpec:
        """One that has not changed is not parsed again: NVIDIA's has hundreds of lines."""
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                mark = (found.st_mtime_ns, found.st_size, found.st_ino)
                known = self._read.get(path)
                if known is not None and known[0] == mark and known[1].rank == rank:
                    return known[1]
                raw = file.read(MAX_SPEC_BYTES + 1)
        except OSError as failure:
            raise BackendError(f"{path} cannot be read: {failure.strerror}.") from failure
        if len(raw) > MAX_SPEC_BYTES:
            raise BackendError(f"{path} is larger than any CDI spec.")
        spec = self._parse(raw, str(path), rank)
        self._read[path] = (mark, spec)
        return spec


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as failure:
        raise BackendError(f"The CDI folder {folder} cannot be read: {failure.strerror}.") from failure


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}{_ASIDE}")


def _write(path: Path, content: bytes, mode: int) -> None:
    """Engines follow the folder's own events, and hear of a rename by the name that goes: both are in one folder."""
    aside = _aside(path)
    try:
        _require_safe_folder(path.parent)
        with suppress(FileNotFoundError):
            aside.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(aside, flags, 0o600), "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    except OSError as failure:
        with suppress(OSError):
            aside.unlink()
        raise BackendError(
            f"The CDI spec {path} cannot be written: {failure.strerror}.",
            hint="Late binding needs a folder that the daemon may write: see late_binding.directory of the policy.",
        ) from failure


def _require_safe_folder(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.mkdir(mode=_FOLDER_MODE)
        folder.chmod(_FOLDER_MODE)  # whatever the umask
    found = folder.stat()
    if found.st_uid not in {0, os.geteuid()} or found.st_mode & _WRITABLE_BY_OTHERS:
        raise BackendError(
            f"Others than root may change the CDI folder {folder}, and what is in it decides what runs as root.",
            hint=f"Run: chown root {folder}; chmod go-w {folder}",
        )
