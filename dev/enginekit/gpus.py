"""Makes `--gpus` work on a machine without GPUs.

dockerd offers `--gpus` when a program named `nvidia-container-runtime-hook` is on its own PATH at start, and has it run
before each container that asks for GPUs. Ours stands in for NVIDIA's: see dev/fake-gpu/container_hook.py.
"""

import json
import shlex
import shutil
import sys
from pathlib import Path

from dev.enginekit.commands import DevError
from dev.enginekit.folders import REPOSITORY, EngineFolders, dev_folder, write_whole

HOOK_NAME = "nvidia-container-runtime-hook"
_SOURCE = REPOSITORY / "dev" / "fake-gpu"


def nvml_library() -> Path:
    """Return the stand-in for NVIDIA's library, which `make fake-nvml` builds."""
    return dev_folder() / "fake-nvml" / "libnvidia-ml.so.1"


def nvidia_smi() -> Path:
    """Return the stand-in for NVIDIA's command, which `make fake-nvml` builds."""
    return dev_folder() / "fake-nvml" / "nvidia-smi"


def own_topology(folders: EngineFolders) -> Path:
    """Return the file with the devices of an engine that was given none by name."""
    return folders.home / "gpus.conf"


def offer_gpus(folders: EngineFolders, topology: Path | None) -> Path:
    """Set up the hook of one engine and return the file that lists its devices; it is read at each container start.

    Raises:
        DevError: `topology` was named and is not there.
    """
    if topology is None:
        topology = own_topology(folders)
        write_whole(topology, (_SOURCE / "default.conf").read_text(encoding="utf-8"))
    elif not topology.is_file():
        raise DevError(f"the GPU file {topology} does not exist")
    folders.hook.mkdir(exist_ok=True)
    settings = folders.hook / "settings.json"
    write_whole(
        settings,
        json.dumps(
            {
                "topology": str(topology),
                "library": str(nvml_library()),
                "smi": str(nvidia_smi()),
                "log": str(folders.hook_log),
            },
            indent=2,
        )
        + "\n",
    )
    # The interpreter that runs this is known to work; the hook itself is started with an arbitrary environment.
    words = [_interpreter(), "-I", "-S", str(_SOURCE / "container_hook.py"), str(settings)]
    write_whole(folders.hook / HOOK_NAME, f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', mode=0o755)
    return topology


def _interpreter() -> str:
    system = shutil.which("python3", path="/usr/bin")
    return system or sys.executable
