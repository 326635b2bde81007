"""A real container engine for tests: starts and stops what `dev/engine` offers."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_DEV = Path(__file__).resolve().parents[1] / "dev"


class EngineUnavailableError(Exception):
    """No engine can be had on this machine; the message says why (not root, a package that cannot be fetched)."""


class DevEngine:
    """A private dockerd with pretended GPUs, in a network namespace of its own.

    Several may run at once under different names. An engine that is stopped without `purge` keeps its images, so the
    next start of the same name has them at once. The pretended GPUs are those of the file `gpus_conf`, which may be
    replaced (written aside and renamed) while the engine runs.
    """

    def __init__(
        self,
        name: str,
        *,
        gpus_conf: Path | None = None,
        registry: bool = False,
        dockerd_args: Sequence[str] = (),
        newer: bool = False,
    ) -> None:
        self.name = name
        self._options = [
            *([] if gpus_conf is None else ["--gpus-conf", str(gpus_conf)]),
            *(["--registry"] if registry else []),
            *(["--newer"] if newer else []),
            *(f"--dockerd-arg={word}" for word in dockerd_args),
        ]
        self._facts: dict[str, Any] = {}

    def start(self) -> Self:
        """Start the engine, or join the one of this name.

        Raises:
            EngineUnavailableError: It cannot be started here.
        """
        done = _dev("engine", "start", self.name, "--json", *self._options)
        if done.returncode != 0:
            raise EngineUnavailableError(done.stderr.strip())
        self._facts = json.loads(done.stdout)
        return self

    def stop(self, *, purge: bool = False) -> None:
        """Stop the engine and its containers; with `purge` its images are gone too."""
        _require(_dev("engine", "stop", self.name, *(["--purge"] if purge else [])))
        self._facts = {}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(purge=True)

    @property
    def docker_host(self) -> str:
        """The value of DOCKER_HOST for this engine."""
        return str(self._facts["docker_host"])

    @property
    def socket_path(self) -> Path:
        """The engine's API socket."""
        return Path(self._facts["socket"])

    @property
    def docker_cli(self) -> Path:
        """The docker command that fits the engine; the machine may have none."""
        return Path(self._facts["docker_cli"])

    @property
    def dockerd_pid(self) -> int:
        """The daemon's process."""
        return int(self._facts["dockerd_pid"])

    @property
    def netns(self) -> Path:
        """The engine's network namespace: ports that containers publish on 127.0.0.1 are reached inside it."""
        return Path(self._facts["netns"])

    @property
    def address(self) -> str:
        """The engine's address as the host sees it: ports that containers publish answer here."""
        return str(self._facts["address"])

    @property
    def registry(self) -> str | None:
        """The registry's address inside the network namespace, if the engine was started with one."""
        found = self._facts["registry"]
        return None if found is None else str(found)

    @property
    def gpus_conf(self) -> Path:
        """The file with the pretended GPUs."""
        return Path(self._facts["gpus_conf"])

    @property
    def cdi_folders(self) -> tuple[Path, ...]:
        """Where a newer engine reads device specs: the site's folder, then the one for what is made at run time."""
        return tuple(Path(folder) for folder in self._facts["cdi_folders"])

    @property
    def nvml_folder(self) -> Path:
        """Where the pretended libnvidia-ml.so.1 and nvidia-smi are (`make fake-nvml`)."""
        return Path(self._facts["nvml_library"]).parent

    @property
    def data_root(self) -> Path:
        """The engine's images and containers."""
        return Path(self._facts["data_root"])

    @property
    def hook_log(self) -> Path:
        """One JSON line for each container that was given GPUs."""
        return Path(self._facts["hook_log"])

    @property
    def environment(self) -> dict[str, str]:
        """What a child process needs to see this engine and its GPUs, on top of the present environment."""
        return {
            **os.environ,
            "DOCKER_HOST": self.docker_host,
            "DS01_DEV_DOCKER": str(self.docker_cli),
            "FAKE_NVML_CONF": str(self.gpus_conf),
            "LD_LIBRARY_PATH": str(self.nvml_folder),
        }

    def docker(self, *words: str, stdin: str | None = None) -> str:
        """Run the docker command against this engine and return what it printed."""
        return self.try_docker(*words, check=True, stdin=stdin).stdout

    def try_docker(
        self, *words: str, check: bool = False, stdin: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run the docker command against this engine and return how it ended."""
        command = [str(self.docker_cli), "--host", self.docker_host, *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if check:
            _require(done)
        return done

    def bring_images(self, what: str = "busybox", *, with_user_1000: bool = False) -> list[str]:
        """Bring `busybox`, the `base` image under catalogue names, or `all` into the engine; return their names.

        The first base image of a machine takes a minute, later ones some seconds, and nothing if the engine has it.
        """
        words = [what, *(["--with-user-1000"] if with_user_1000 else [])]
        return _require(_dev("base-image", *words, environment=self.environment)).stdout.split()

    def publish(self, image: str) -> None:
        """Copy an image into the engine's registry, so that it can be pulled by its own name after `docker rmi`."""
        _require(_dev("engine", "publish", self.name, image))

    def run_in_network(self, *words: str) -> str:
        """Run a command inside the engine's network namespace and return what it printed."""
        command = ["nsenter", f"--net={self.netns}", "--", *words]
        return _require(subprocess.run(command, capture_output=True, text=True, check=False)).stdout


def _dev(tool: str, *words: str, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(_DEV / tool), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def _require(done: "subprocess.CompletedProcess[str]") -> "subprocess.CompletedProcess[str]":
    assert done.returncode == 0, f"{done.args} ended with status {done.returncode}:\n{done.stdout}{done.stderr}"
    return done
