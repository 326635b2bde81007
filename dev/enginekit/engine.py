"""Starts and stops a private dockerd.

A running engine consists of: its home folder (images, containers, logs), a folder under /run (sockets), its own
containerd and dockerd (and registry) in a network namespace of its own, a cable with three firewall rules, and mounts
below those two folders. All of it is found again by name, so a start or stop that was killed half-way leaves nothing
that the next start or stop does not remove.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.enginekit import processes
from dev.enginekit.commands import DevError, run, succeeds
from dev.enginekit.folders import EngineFolders, engine_folders, engines_folder, locked, write_whole
from dev.enginekit.gpus import nvidia_smi, nvml_library, offer_gpus
from dev.enginekit.machine import prepare_machine, remove_shim_sockets, restore_machine
from dev.enginekit.mounts import unmount_below
from dev.enginekit.network import Network, NetworkTools
from dev.enginekit.newer import newer_tree
from dev.enginekit.packages import Tree, tree_with
from dev.enginekit.registry import ADDRESS, registry_command, registry_tree
from dev.enginekit.state import EngineState, engine_answers, read_state, write_state

_COMMANDS = (
    "dockerd",
    "docker",
    "containerd",
    "containerd-shim-runc-v2",
    "runc",
    "iptables",
    "ip",
    "nsenter",
    "unshare",
)
_PACKAGES = ("docker.io", "containerd", "runc", "iptables", "iproute2", "util-linux")
_START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a start may ask for.

    Attributes:
        gpus_conf: File with the pretended GPUs; None: a copy of the default.
        registry: With a registry that stands in for Docker Hub.
        dockerd_args: Passed on to dockerd.
        newer: The engine of Debian 13, with CDI switched on.
    """

    gpus_conf: Path | None = None
    registry: bool = False
    dockerd_args: tuple[str, ...] = ()
    newer: bool = False


def start(name: str, options: EngineOptions) -> EngineState:
    """Start the engine `name`, or return the one that runs already.

    Raises:
        DevError: Not root, a part is missing, the engine does not come up, or it runs with other options.
    """
    _require_root()
    folders = engine_folders(name)
    folders.home.mkdir(parents=True, exist_ok=True)
    with locked(folders.home):
        running = read_state(folders)
        if running is not None and running.answers():
            _require_same(running, options)
            return running
        tree = newer_tree(engine_tree()) if options.newer else engine_tree()
        _remove_remains(folders, tree)
        try:
            return _bring_up(folders, tree, options)
        except BaseException:
            _remove_remains(folders, tree)
            raise


def stop(name: str, *, purge: bool = False) -> None:
    """Stop the engine `name` with its containers and remove every trace outside its home; with `purge` the home too.

    Raises:
        DevError: Not root, or something could not be removed.
    """
    _require_root()
    folders = engine_folders(name)
    if not folders.home.is_dir():
        if folders.run.exists():
            folders.home.mkdir(parents=True)
        else:
            return
    with locked(folders.home):
        tree = engine_tree()
        state = read_state(folders)
        if state is not None and state.answers():
            _kill_containers(state)
            processes.end([state.dockerd_pid], grace_s=20.0)
        _remove_remains(folders, tree)
        if purge:
            shutil.rmtree(folders.home)


def engines() -> list[EngineState | str]:
    """Return the running engines; of those that are not running only the name."""
    if not engines_folder().is_dir():
        return []
    found: list[EngineState | str] = []
    for home in sorted(engines_folder().iterdir()):
        state = read_state(engine_folders(home.name))
        found.append(state if state is not None and state.answers() else home.name)
    return found


def running_engine(name: str) -> EngineState:
    """Return the running engine `name`.

    Raises:
        DevError: It does not run.
    """
    state = read_state(engine_folders(name))
    if state is None or not state.answers():
        raise DevError(f"the engine {name} does not run; start it with: dev/engine start {name}")
    return state


def engine_tree() -> Tree:
    """Return where the engine's programs are, unpacking them if the machine lacks one."""
    return tree_with(_COMMANDS, _PACKAGES, os.environ.get("PATH", ""))


def publish(state: EngineState, image: str) -> None:
    """Put an image of the engine into its registry, so that it can be pulled by the same name once it is removed.

    Raises:
        DevError: The engine was started without a registry, or the push fails.
    """
    if state.registry is None:
        raise DevError(f"the engine {state.name} has no registry; start it with --registry")
    docker = [state.docker_cli, "-H", state.docker_host]
    local = f"{state.registry}/{image}"
    run([*docker, "tag", image, local])
    try:
        run([*docker, "push", local])
    finally:
        run([*docker, "rmi", local])


def _require_root() -> None:
    if os.geteuid() != 0:
        raise DevError("a private container engine needs root (network namespace, mounts): run this as root")


def _require_same(running: EngineState, options: EngineOptions) -> None:
    other_gpus = options.gpus_conf is not None and str(options.gpus_conf) != running.gpus_conf
    other_registry = options.registry and running.registry is None
    other_args = bool(options.dockerd_args) and options.dockerd_args != running.dockerd_args
    other_engine = options.newer != bool(running.cdi_folders)
    if other_gpus or other_registry or other_args or other_engine:
        raise DevError(
            f"the engine {running.name} runs with other options; stop it first: dev/engine stop {running.name}"
        )


def _bring_up(folders: EngineFolders, tree: Tree, options: EngineOptions) -> EngineState:
    folders.run.mkdir(mode=0o755)
    gpus_conf = offer_gpus(folders, options.gpus_conf)
    inherited = _plain_environment()
    prepare_machine()
    network_tools = NetworkTools(tree, inherited)
    network = network_tools.connect(folders)
    launcher = _Launcher(folders=folders, nsenter=network_tools.nsenter, environment=tree.environment(inherited))
    args = list(options.dockerd_args)
    if options.registry:
        store = registry_tree(inherited)
        command = registry_command(store, folders, inherited)
        launcher.launch("registry", command, environment=store.environment(inherited))
        args += ["--registry-mirror", f"http://{ADDRESS}"]
    containerd = launcher.launch("containerd", _containerd_command(folders, tree, inherited))
    launcher.wait("containerd", containerd, folders.containerd_socket.exists)
    cdi_folders = _cdi_folders(folders) if options.newer else ()
    command = [*_dockerd_command(folders, tree, inherited, network, cdi_folders), *args]
    environment = launcher.environment_with(folders.hook)
    dockerd = launcher.launch("dockerd", command, environment=environment)
    launcher.wait("dockerd", dockerd, lambda: engine_answers(folders.socket))
    state = EngineState(
        name=folders.name,
        docker_host=f"unix://{folders.socket}",
        socket=str(folders.socket),
        docker_cli=str(tree.command("docker", inherited)),
        dockerd_pid=dockerd.pid,
        dockerd_ticks=processes.start_ticks(dockerd.pid) or 0,
        netns=str(folders.netns),
        address=network.engine_address,
        gpus_conf=str(gpus_conf),
        nvml_library=str(nvml_library()),
        nvidia_smi=str(nvidia_smi()),
        hook_log=str(folders.hook_log),
        data_root=str(folders.data_root),
        log=str(folders.log("dockerd")),
        registry=ADDRESS if options.registry else None,
        dockerd_args=options.dockerd_args,
        cdi_folders=tuple(str(folder) for folder in cdi_folders),
    )
    write_state(folders, state)
    return state


def _plain_environment() -> dict[str, str]:
    """Return what a daemon may inherit: search path, language, proxies and certificates, and nothing of a session."""
    kept = (
        "PATH",
        "LANG",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    )
    return {key: os.environ[key] for key in kept if key in os.environ}


@dataclass(frozen=True, slots=True)
class _Launcher:
    """Starts daemons inside the engine's network and waits for them."""

    folders: EngineFolders
    nsenter: Path
    environment: Mapping[str, str]

    def environment_with(self, folder: Path) -> dict[str, str]:
        return {**self.environment, "PATH": f"{folder}:{self.environment['PATH']}"}

    def launch(
        self, program: str, command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start a daemon that outlives us; `nsenter` becomes it, so the pid is the daemon's own.

        `ip netns exec` would remount /sys, and dockerd would find no cgroups.
        """
        with self.folders.log(program).open("ab") as log:
            return subprocess.Popen(
                [self.nsenter, f"--net={self.folders.netns}", "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(environment or self.environment),
                cwd="/",
                start_new_session=True,
            )

    def wait(self, program: str, daemon: "subprocess.Popen[bytes]", is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not is_ready():
            if daemon.poll() is not None or time.monotonic() > deadline:
                what = f"ended with status {daemon.returncode}" if daemon.returncode is not None else "does not answer"
                tail = self.folders.log(program).read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
                raise DevError(
                    "\n".join([f"{program} of the engine {self.folders.name} {what}; its last lines:", *tail])
                )
            time.sleep(0.02)


def _containerd_command(folders: EngineFolders, tree: Tree, inherited: Mapping[str, str]) -> list[str | Path]:
    """Configure an own containerd: dockerd would otherwise join one that runs on the machine already."""
    settings = folders.run / "containerd.toml"
    unused = [
        "io.containerd.grpc.v1.cri",
        "io.containerd.internal.v1.opt",
        "io.containerd.snapshotter.v1.aufs",
        "io.containerd.snapshotter.v1.btrfs",
        "io.containerd.snapshotter.v1.devmapper",
        "io.containerd.snapshotter.v1.zfs",
        "io.containerd.tracing.processor.v1.otlp",
    ]
    lines = [
        "version = 2",
        f'root = "{folders.containerd_root}"',
        f'state = "{folders.run / "containerd"}"',
        f"disabled_plugins = {json.dumps(unused)}",
        "[grpc]",
        f'  address = "{folders.containerd_socket}"',
    ]
    write_whole(settings, "\n".join(lines) + "\n")
    return [tree.command("containerd", inherited), "--config", settings]


def _cdi_folders(folders: EngineFolders) -> tuple[Path, ...]:
    """Make the engine's own places for device specs: the site's, as /etc/cdi, and one for what is made at run time."""
    found = (folders.run / "etc-cdi", folders.run / "run-cdi")
    for folder in found:
        folder.mkdir(mode=0o755)
    return found


def _settings(version: str, folders: EngineFolders, cdi_folders: Sequence[Path]) -> dict[str, object]:
    """What a configuration file alone can say."""
    settings: dict[str, object] = {}
    found = re.search(r"version (\d+)\.", version)
    # Engines before 24 would write their identity to /etc/docker/key.json.
    if found is not None and int(found[1]) < 24:
        settings["deprecated-key-path"] = str(folders.home / "key.json")
    if cdi_folders:
        settings |= {"features": {"cdi": True}, "cdi-spec-dirs": [str(folder) for folder in cdi_folders]}
    return settings


def _dockerd_command(
    folders: EngineFolders,
    tree: Tree,
    inherited: Mapping[str, str],
    network: Network,
    cdi_folders: Sequence[Path],
) -> list[str | Path]:
    dockerd = tree.command("dockerd", inherited)
    # A file of our own, because dockerd reads the machine's /etc/docker/daemon.json otherwise.
    settings = folders.run / "daemon.json"
    version = run([dockerd, "--version"], env=tree.environment(inherited))
    write_whole(settings, json.dumps(_settings(version, folders, cdi_folders)))
    return [
        dockerd,
        "--config-file",
        settings,
        "--data-root",
        folders.data_root,
        "--exec-root",
        folders.run / "docker",
        "--pidfile",
        folders.run / "dockerd.pid",
        "--host",
        f"unix://{folders.socket}",
        "--containerd",
        folders.containerd_socket,
        "--bip",
        network.bridge_address,
        "--mtu",
        str(network.mtu),
    ]


def _kill_containers(state: EngineState) -> None:
    """Kill the containers at once: dockerd's own way waits ten seconds for each that ignores SIGTERM."""
    docker = [state.docker_cli, "-H", state.docker_host]
    paused = run([*docker, "ps", "--quiet", "--filter", "status=paused"]).split()
    if paused:
        run([*docker, "unpause", *paused])
    for container in run([*docker, "ps", "--quiet"]).split():
        succeeds([*docker, "kill", container])  # it may have ended by itself meanwhile


def _remove_remains(folders: EngineFolders, tree: Tree) -> None:
    """Remove all that a running or crashed engine has outside its home, in whatever state it is."""
    processes.end(processes.daemons_of(folders.run), grace_s=3.0)
    containers = _container_ids(folders)
    processes.thaw(containers)
    processes.kill(processes.members_of(containers))
    processes.kill(processes.daemons_of(folders.run))
    processes.remove_cgroups(containers)
    remove_shim_sockets(folders.run / "containerd")
    unmount_below(folders.home, folders.run / "docker", folders.run / "containerd")
    NetworkTools(tree, _plain_environment()).disconnect(folders)
    restore_machine()
    folders.state_file.unlink(missing_ok=True)
    if folders.run.exists():
        shutil.rmtree(folders.run)


def _container_ids(folders: EngineFolders) -> set[str]:
    homes = folders.data_root / "containers"
    return {home.name for home in homes.iterdir()} if homes.is_dir() else set()
