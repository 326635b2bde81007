"""The docker command lines of AIME's `mlc`, as they were observed (2.2.0, and the layouts of 1.x). None of its code.

Every word is AIME's own. Left out, each with a comment at its place, is what a test machine cannot do: the devices
`/dev/snd` and `/dev/video0`, `--ulimit memlock=-1` (an engine without CAP_SYS_RESOURCE cannot raise it), and the
set-up's `apt-get`, which needs a network.
"""

import json
import os
import pty
import select
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engine import DevEngine

FRAMEWORK = "Pytorch-2.8.0"
ARCHITECTURE = "CUDA_ADA"
_X11 = "/tmp/.X11-unix:/tmp/.X11-unix"  # AIME's own mount
_TERMINAL_S = 60.0


@dataclass(frozen=True)
class Aime:
    """A user of `mlc` on an engine."""

    engine: DevEngine
    login: str
    uid: int
    gid: int
    workspace: Path

    def tag(self, name: str) -> str:
        """The engine name of a container of 2.x."""
        return f"{name}._.{self.uid}"

    # --- the ways it calls docker -------------------------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        folder = self.engine.docker_cli.parent
        return {**os.environ, "DOCKER_HOST": self.engine.docker_host, "PATH": f"{folder}:{os.environ['PATH']}"}

    def docker(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A list of words, its output captured."""
        return subprocess.run(
            [self.engine.docker_cli, *words], env=self._environment(), capture_output=True, text=True, check=False
        )

    def shell(self, command: str) -> str:
        """A shell command; its status is ignored, as there."""
        done = subprocess.run(  # AIME does it so
            command, shell=True, env=self._environment(), capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    # --- create -------------------------------------------------------------------------------------------------------

    def run_words(self, tag: str, image: str, gpus: str, set_up: str) -> list[str]:
        """The temporary container, in which the user is set up: AIME's name, no label."""
        words = (
            f"run -v {self.workspace}:/workspace -w /workspace --name {tag} --tty --privileged --network host "
            # --device /dev/snd
            # --ulimit memlock=-1
            f"--ipc host --ulimit stack=67108864 -v {_X11} "
            f"--gpus {gpus} "
            # --device /dev/video0
            f"{image} bash -c"
        )
        return [*words.split(), set_up]

    def set_up(self) -> str:
        """What the temporary container runs: steps joined with semicolons, none of which stops the next."""
        return "; ".join(
            (
                f"addgroup --gid {self.gid} {self.login}",
                f"adduser --uid {self.uid} --gid {self.gid} {self.login} --disabled-password --gecos aime",
                f"passwd -d {self.login}",
                f"echo '{self.login} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{self.login}_no_password",
                "exit",
            )
        )

    def create_words(self, tag: str, image: str, gpus: str, labels: dict[str, str]) -> list[str]:
        """The container itself."""
        words = f"create -it -v {self.workspace}:/workspace -w /workspace --name {tag}".split()
        words += [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
        words += (
            f"--user {self.uid}:{self.gid} --tty --privileged --interactive --network host "
            # --device /dev/snd
            # --ulimit memlock=-1
            f"--ipc host --ulimit stack=67108864 -v {_X11} --group-add video "
            f"--gpus {gpus} "
            # --device /dev/video0
            "--group-add sudo"
        ).split()
        return [*words, f"{image}:{tag}"]

    def labels(self, name: str, gpus: str) -> dict[str, str]:
        """The ten labels of 2.x, in their order."""
        return {
            "aime.mlc": self.login,
            "aime.mlc.NAME": name,
            "aime.mlc.USER": self.login,
            "aime.mlc.ARCH": ARCHITECTURE,
            "aime.mlc.MLC_VERSION": "4",
            "aime.mlc.WORK_MOUNT": str(self.workspace),
            "aime.mlc.DATA_MOUNT": "-",
            "aime.mlc.MODELS_MOUNT": "-",
            "aime.mlc.FRAMEWORK": FRAMEWORK,
            "aime.mlc.GPUS": gpus,
        }

    def begin_create(self, name: str, image: str, gpus: str = "all") -> None:
        """The first half of create; whoever interrupts it leaves this behind."""
        tag = self.tag(name)
        self.docker(
            "container", "ps", "-a", "--filter", f"name={tag}", "--filter", "label=aime.mlc", "--format", "{{.Names}}"
        )
        done = self.docker(*self.run_words(tag, image, gpus, self.set_up()))
        assert self.engine.try_docker("inspect", tag).returncode == 0, done.stderr

    def create(self, name: str, image: str, gpus: str = "all") -> str:
        """`mlc create` of 2.x: run, commit, rm, create."""
        tag = self.tag(name)
        self.begin_create(name, image, gpus)
        assert self.docker("commit", tag, f"{image}:{tag}").returncode == 0
        assert self.docker("rm", tag).returncode == 0
        done = self.docker(*self.create_words(tag, image, gpus, self.labels(name, gpus)), "bash", "-c", "bash")
        assert done.returncode == 0, done.stderr
        return tag

    def create_v1(self, name: str, image: str, gpus: str = "all") -> str:
        """`mlc-create` of 1.x: an empty DATA_MOUNT, VERSION instead of MLC_VERSION, a prompt in the start command."""
        tag = self.tag(name)
        self.docker(*self.run_words(tag, image, gpus, self.set_up()))
        assert self.docker("commit", tag, f"{image}:{tag}").returncode == 0
        assert self.docker("rm", tag).returncode == 0
        labels = {
            "aime.mlc": self.login,
            "aime.mlc.NAME": name,
            "aime.mlc.USER": self.login,
            "aime.mlc.VERSION": "3",
            "aime.mlc.WORK_MOUNT": str(self.workspace),
            "aime.mlc.DATA_MOUNT": "",
            "aime.mlc.FRAMEWORK": FRAMEWORK,
            "aime.mlc.GPUS": gpus,
        }
        start = f"echo \"export PS1='[{name}] \\u@\\h:\\w$ '\" >> ~/.bashrc; bash"
        done = self.docker(*self.create_words(tag, image, gpus, labels), "bash", "-c", start)
        assert done.returncode == 0, done.stderr
        return tag

    def create_oldest(self, name: str, image: str) -> str:
        """The layout of the branch stable-cuda: no uid in the name, three labels, its own tag without a uid."""
        self.docker("run", "--name", name, "--tty", image, "bash", "-c", self.set_up())
        assert self.docker("commit", name, f"{image}:{name}").returncode == 0
        assert self.docker("rm", name).returncode == 0
        words = (
            f"create -it -v {self.workspace}:/workspace -w /workspace --name={name} --label=aime.mlc={self.login} "
            f"--label=aime.mlc.USER={self.login} --label=aime.mlc.FRAMEWORK={FRAMEWORK} --user {self.uid}:{self.gid} "
            f"--tty --privileged --interactive --gpus=all --network=host --shm-size=4g "
            f"--ulimit stack=67108864 --group-add video --group-add sudo -e DISPLAY=unix {image}:{name} bash -c bash"
        ).split()
        done = self.docker(*words)
        assert done.returncode == 0, done.stderr
        return name

    # --- the other commands -------------------------------------------------------------------------------------------

    def list_(self, *, all_users: bool = False) -> list[dict[str, Any]]:
        """`mlc list`: labels come as one text and are split at commas, then at the equals sign."""
        wanted = "label=aime.mlc" if all_users else f"label=aime.mlc={self.login}"
        done = self.docker("container", "ls", "-a", "--filter", wanted, "--format", "{{json .}}")
        assert done.returncode == 0, done.stderr
        rows: list[dict[str, Any]] = []
        for line in done.stdout.splitlines():
            row = json.loads(line)
            pairs = [pair.split("=") for pair in row["Labels"].split(",")]
            row["labels"] = {key: value for key, value in pairs}  # noqa: C416 - more or fewer than two parts crash it
            rows.append(row)
        return rows

    def names(self) -> list[str]:
        """What it offers to open, start, stop and remove."""
        return self.shell(
            f"docker container ps -a --filter=label=aime.mlc.USER={self.login} --format '{{{{.Names}}}}'"
        ).split()

    def is_running(self, tag: str) -> bool:
        """How it tells whether a container runs."""
        found = self.shell(
            f'docker container ps --filter=name=^/{tag}$ --filter=label=aime.mlc --format "{{{{.Names}}}}"'
        )
        return found == tag

    def open(self, tag: str, typed: str) -> str:
        """`mlc open`: starts it if needed, types into its shell, and returns what the terminal has shown."""
        if not self.is_running(tag):
            self.shell(f"docker container start {tag}")
        words = ["exec", "-it", "-e DISPLAY=None", "--user", f"{self.uid}:{self.gid}", tag, "bash"]
        return self._on_terminal(words, typed)

    def _on_terminal(self, words: list[str], typed: str) -> str:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [self.engine.docker_cli, *words], env=self._environment(), stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        shown = b""
        deadline = time.monotonic() + _TERMINAL_S
        os.write(ours, typed.encode() + b"\nexit\n")
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 0.1)[0]:
                if process.poll() is not None:
                    break
                continue
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            shown += piece
        process.wait(timeout=_TERMINAL_S)
        os.close(ours)
        return shown.decode("utf-8", "replace")

    def is_active(self, tag: str) -> bool:
        """How it tells whether somebody still works in a container: more than the heading and one process."""
        done = self.docker("top", tag, "-o", "pid")
        assert done.returncode == 0, done.stderr
        return len(done.stdout.strip().splitlines()) > 2

    def start(self, tag: str) -> None:
        self.shell(f"docker container start {tag}")

    def stop(self, tag: str) -> None:
        self.shell(f"docker container stop {tag}")

    def remove(self, tag: str) -> None:
        """`mlc remove`: the container, then whatever image it names."""
        image = self.docker(
            "container", "ps", "-a", "--filter", f"name={tag}", "--filter", "label=aime.mlc", "--format", "{{.Image}}"
        ).stdout.strip()
        self.shell(f"docker container rm {tag}")
        self.shell(f"docker image rm {image}")
