"""Stands in for NVIDIA's container hook: puts the asked-for (fake) GPUs into a starting container.

Run as `container_hook.py SETTINGS prestart` with the OCI state on standard input, by any Python from 3.9 on and with
any environment; standard library only. It does what `nvidia-container-cli` would do, for devices that a text file
lists (the same file that the fake libnvidia-ml reads, see dev/fake-nvml): it refuses unknown devices with the same
message, and gives the container the library, nvidia-smi and a list with its own devices only.

Source: OCI runtime specification, "Hooks" and "State"; NVIDIA container runtime, NVIDIA_VISIBLE_DEVICES.
"""

import json
import os
import re
import shlex
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

CONTAINER_TOPOLOGY = "etc/fake_nvml.conf"
_NOTHING = frozenset({"", "none", "void"})


class UnknownDeviceError(Exception):
    """A container asks for a device that the machine does not have."""


class Line:
    """One line of the topology file: a word and its `key=value` pairs, in their order."""

    def __init__(self, text: str) -> None:
        words = shlex.split(text, comments=True)
        self.kind = words[0] if words else ""
        self.values = dict(word.split("=", 1) for word in words[1:] if "=" in word)

    def number(self, key: str, default: int) -> int:
        """Return the value of `key` as a number."""
        return int(self.values.get(key, default))

    def text(self, **changes: object) -> str:
        """Return the line with some values replaced or added."""
        values = {**self.values, **{key: str(value) for key, value in changes.items()}}
        quoted = (
            f'{key}="{value}"' if re.search(r"\s", value) or not value else f"{key}={value}"
            for key, value in values.items()
        )
        return " ".join([self.kind, *quoted])


class Topology:
    """The devices of the pretended machine."""

    def __init__(self, text: str) -> None:
        lines = [Line(line) for line in text.splitlines()]
        self.system = [line for line in lines if line.kind == "system"]
        self.gpus = [line for line in lines if line.kind == "gpu"]
        self.migs = [line for line in lines if line.kind == "mig"]
        self.faults = [line for line in lines if line.kind in {"fail", "delay"}]

    def uuid(self, gpu: int) -> str:
        """Return a GPU's UUID; the fake library's own default where the file names none."""
        return self.gpus[gpu].values.get("uuid", f"GPU-00000000-0000-0000-0000-{gpu:012d}")

    def migs_of(self, gpu: int) -> list[Line]:
        """Return the MIG devices of a GPU, by slot; none when its MIG mode is off."""
        if self.gpus[gpu].number("mig", 0) != 1:
            return []
        return sorted((mig for mig in self.migs if mig.number("gpu", 0) == gpu), key=lambda mig: mig.number("slot", 0))

    def mig_uuid(self, gpu: int, mig: Line) -> str:
        """Return a MIG device's UUID; the fake library's own default where the file names none."""
        return mig.values.get("uuid", f"MIG-00000000-0000-0000-{gpu:04d}-{mig.number('slot', 0):012d}")

    def names(self) -> set[str]:
        """Return every word by which a device can be asked for: index, UUID, `gpu:mig`, MIG UUID."""
        known: set[str] = set()
        for gpu in range(len(self.gpus)):
            known |= {str(gpu), self.uuid(gpu)}
            for position, mig in enumerate(self.migs_of(gpu)):
                known |= {f"{gpu}:{position}", self.mig_uuid(gpu, mig)}
        return known

    def seen_by(self, wanted: Collection[str]) -> str:
        """Return the topology as a container sees it that was given the `wanted` devices (or `all`).

        Raises:
            UnknownDeviceError: One of them does not exist.
        """
        everything = "all" in wanted
        unknown = [] if everything else [device for device in wanted if device not in self.names()]
        if unknown:
            raise UnknownDeviceError(unknown[0])
        kept = [line.text() for line in self.system]
        numbers: dict[int, int] = {}
        for gpu, line in enumerate(self.gpus):
            whole = everything or str(gpu) in wanted or self.uuid(gpu) in wanted
            migs = [
                mig
                for position, mig in enumerate(self.migs_of(gpu))
                if whole or self.mig_uuid(gpu, mig) in wanted or f"{gpu}:{position}" in wanted
            ]
            if not whole and not migs:
                continue
            numbers[gpu] = len(numbers)
            # What the library derives from the position on the machine must not change with the position in here.
            kept.append(
                line.text(
                    uuid=self.uuid(gpu),
                    minor=line.number("minor", gpu),
                    bus=line.values.get("bus", f"00000000:{gpu + 1:02X}:00.0"),
                )
            )
            kept += [
                mig.text(
                    uuid=self.mig_uuid(gpu, mig),
                    gi=mig.number("gi", mig.number("slot", 0) + 1),
                    gpu=numbers[gpu],
                    slot=slot,
                )
                for slot, mig in enumerate(migs)
            ]
        kept += [fault.text() for fault in self.faults if "gpu" not in fault.values]
        kept += [
            fault.text(gpu=numbers[fault.number("gpu", 0)])
            for fault in self.faults
            if "gpu" in fault.values and fault.number("gpu", 0) in numbers
        ]
        return "\n".join(kept) + "\n"


def put(rootfs: Path, inside: str, content: bytes, *, mode: int) -> None:
    """Write a file into the container; a link in the image never leads the write out of it."""
    target = rootfs / inside
    parent = Path(os.path.realpath(target.parent))
    if os.path.commonpath([parent, rootfs]) != str(rootfs):
        raise OSError(f"/{inside} leads out of the container")
    parent.mkdir(parents=True, exist_ok=True)
    target = parent / target.name
    if target.is_symlink() or target.exists():
        target.unlink()
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
    target.chmod(mode)


def library_folder(rootfs: Path) -> str:
    """Return where the image's own dynamic linker looks for libraries."""
    debian = sorted(path.name for path in rootfs.glob("usr/lib/*-linux-gnu") if path.is_dir())
    if debian:
        return f"usr/lib/{debian[0]}"
    return "usr/lib64" if (rootfs / "usr/lib64").is_dir() else "usr/lib"


def equip(rootfs: Path, settings: dict[str, str], topology: str) -> None:
    """Give a container the fake driver's files and the list of its own devices."""
    put(rootfs, f"{library_folder(rootfs)}/libnvidia-ml.so.1", Path(settings["library"]).read_bytes(), mode=0o644)
    put(rootfs, "usr/bin/nvidia-smi", Path(settings["smi"]).read_bytes(), mode=0o755)
    put(rootfs, CONTAINER_TOPOLOGY, topology.encode(), mode=0o644)


def container_of(state: dict[str, Any]) -> tuple[Path, str]:
    """Return the container's root directory and its NVIDIA_VISIBLE_DEVICES."""
    bundle = Path(state["bundle"])
    config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    environment = dict(entry.split("=", 1) for entry in config["process"].get("env", []) if "=" in entry)
    rootfs = Path(os.path.realpath(bundle / config["root"]["path"]))
    return rootfs, environment.get("NVIDIA_VISIBLE_DEVICES", "")


def main() -> int:
    """Run as the OCI hook; a status other than 0 refuses the container's start."""
    settings: dict[str, str] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    state: dict[str, Any] = json.load(sys.stdin)
    rootfs, visible = container_of(state)
    if visible in _NOTHING:
        return 0
    wanted = visible.split(",")
    try:
        topology = Topology(Path(settings["topology"]).read_text(encoding="utf-8")).seen_by(wanted)
        equip(rootfs, settings, topology)
    except UnknownDeviceError as error:
        print(f"nvidia-container-cli: device error: {error}: unknown device: unknown", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"nvidia-container-cli: initialization error: {error}", file=sys.stderr)
        return 1
    with open(settings["log"], "a", encoding="utf-8") as log:
        log.write(json.dumps({"at": time.time(), "container": state.get("id"), "devices": wanted}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
