"""Gives an engine a network of its own.

Every start of a second dockerd in the same network namespace empties the first one's `DOCKER` and isolation chains,
so each engine gets a namespace, one cable (veth pair) to the host, one MASQUERADE and two FORWARD rules.
"""

import ipaddress
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dev.enginekit.commands import DevError, run, succeeds
from dev.enginekit.folders import EngineFolders, locked
from dev.enginekit.mounts import unmount_below
from dev.enginekit.packages import Tree

_CHAINS = (("nat", "POSTROUTING"), ("filter", "FORWARD"))


@dataclass(frozen=True, slots=True)
class Network:
    """The addresses of one engine."""

    link: ipaddress.IPv4Network
    bridge: ipaddress.IPv4Network
    mtu: int

    @property
    def host_address(self) -> str:
        """The host's end of the cable."""
        return str(self.link[1])

    @property
    def engine_address(self) -> str:
        """Where published ports answer, seen from the host."""
        return str(self.link[2])

    @property
    def bridge_address(self) -> str:
        """The docker bridge in dockerd's notation."""
        return f"{self.bridge[1]}/{self.bridge.prefixlen}"


class NetworkTools:
    """The commands `ip`, `iptables`, `nsenter` of one tree."""

    def __init__(self, tree: Tree, inherited: Mapping[str, str]) -> None:
        self._env = tree.environment(inherited)
        self._ip = tree.command("ip", inherited)
        self._iptables = tree.command("iptables", inherited)
        self.nsenter = tree.command("nsenter", inherited)
        self._unshare = tree.command("unshare", inherited)

    def connect(self, folders: EngineFolders) -> Network:
        """Make the namespace, the cable and the rules.

        Raises:
            DevError: The kernel or iptables refuses, or no subnet is free.
        """
        folders.netns.touch()
        run([self._unshare, f"--net={folders.netns}", "true"])
        # /run is locked while a subnet is looked for, so that two starts do not choose the same one.
        with locked(Path("/run")):
            network = self._free_network()
            self._ip_run(
                "link",
                "add",
                folders.veth,
                "mtu",
                str(network.mtu),
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "mtu",
                str(network.mtu),
                "netns",
                str(folders.netns),
            )
            self._ip_run("address", "add", f"{network.host_address}/24", "dev", folders.veth)
        self._ip_run("link", "set", folders.veth, "up")
        inside = (self.nsenter, f"--net={folders.netns}", self._ip)
        for words in (
            ["address", "add", f"{network.engine_address}/24", "dev", "eth0"],
            ["link", "set", "lo", "up"],
            ["link", "set", "eth0", "up"],
            ["route", "add", "default", "via", network.host_address],
        ):
            run([*inside, *words], env=self._env)
        self._add_rules(folders, network)
        return network

    def disconnect(self, folders: EngineFolders) -> None:
        """Remove rules, cable and namespace, as far as they exist."""
        for table, chain in _CHAINS:
            self._remove_rules(table, chain, folders.rule_comment)
        if Path("/sys/class/net", folders.veth).exists():
            self._ip_run("link", "delete", folders.veth)
        unmount_below(folders.netns)
        folders.netns.unlink(missing_ok=True)

    def _ip_run(self, *words: str) -> str:
        return run([self._ip, *words], env=self._env)

    def _iptables_run(self, *words: str) -> str:
        return run([self._iptables, "-w", *words], env=self._env)

    def _free_network(self) -> Network:
        routes = json.loads(self._ip_run("-json", "-4", "route", "show", "table", "all"))
        taken = [ipaddress.IPv4Network(route["dst"], strict=False) for route in routes if route["dst"] != "default"]
        for number in range(1, 255):
            link = ipaddress.IPv4Network(f"10.78.{number}.0/24")
            bridge = ipaddress.IPv4Network(f"10.79.{number}.0/24")
            if not any(link.overlaps(other) or bridge.overlaps(other) for other in taken):
                return Network(link=link, bridge=bridge, mtu=self._uplink_mtu(routes))
        raise DevError("no free subnet in 10.78.0.0/16 and 10.79.0.0/16: stop unused engines (dev/engine status)")

    def _uplink_mtu(self, routes: list[dict[str, str]]) -> int:
        """Return the packet size of the way out: larger packets from a container would be lost there."""
        uplink = next((route["dev"] for route in routes if route["dst"] == "default" and "dev" in route), None)
        return 1500 if uplink is None else int(Path("/sys/class/net", uplink, "mtu").read_text(encoding="ascii"))

    def _add_rules(self, folders: EngineFolders, network: Network) -> None:
        mark = ("-m", "comment", "--comment", folders.rule_comment)
        self._iptables_run(
            "-t",
            "nat",
            "-I",
            "POSTROUTING",
            "-s",
            str(network.link),
            "!",
            "-o",
            folders.veth,
            *mark,
            "-j",
            "MASQUERADE",
        )
        self._iptables_run("-I", "FORWARD", "-i", folders.veth, *mark, "-j", "ACCEPT")
        self._iptables_run(
            "-I",
            "FORWARD",
            "-o",
            folders.veth,
            "-m",
            "conntrack",
            "--ctstate",
            "RELATED,ESTABLISHED",
            *mark,
            "-j",
            "ACCEPT",
        )

    def _remove_rules(self, table: str, chain: str, comment: str) -> None:
        """Remove our rules by their comment, so that no record of them is needed."""
        if not succeeds([self._iptables, "-w", "-t", table, "-S", chain], env=self._env):
            return
        for line in self._iptables_run("-t", table, "-S", chain).splitlines():
            words = shlex.split(line)
            if comment in words:
                self._iptables_run("-t", table, "-D", *words[1:])
