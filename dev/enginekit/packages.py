"""Unpacks distribution packages into the scratch folder instead of installing them.

Installing Debian's docker.io would remove a docker-ce that is in production on the same machine, so nothing is ever
installed: apt is asked what would be missing, the files are downloaded and unpacked, and only the programs we start
see them.
"""

import hashlib
import platform
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.enginekit.commands import SYSTEM_PATH, DevError, find_command, run, succeeds
from dev.enginekit.folders import dev_folder, locked

_PLANNED = re.compile(r"^Inst (?P<name>\S+) (?:\[\S+\] )?\((?P<version>\S+) ", re.MULTILINE)
# A second C library beside the one the dynamic linker belongs to ends every program.
_NEVER = frozenset({"libc6", "libc-bin"})


@dataclass(frozen=True, slots=True)
class Tree:
    """Unpacked packages, or nothing at all when the machine has every program itself.

    Attributes:
        root: Where they are; None: there are none.
        newer: Programs of a newer release, found before those of the tree and of the machine; None: none.
    """

    root: Path | None
    newer: Path | None = None

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return `inherited` with the search paths that the unpacked programs need, for a child process only."""
        env = dict(inherited)
        path = env.get("PATH", "")
        env["PATH"] = f"{path}:{SYSTEM_PATH}" if path else SYSTEM_PATH
        if self.root is not None:
            self._add_root(self.root, env)
        if self.newer is not None:
            env["PATH"] = _joined([self.newer / "usr/sbin", self.newer / "usr/bin"], env["PATH"])
        return env

    @staticmethod
    def _add_root(root: Path, env: dict[str, str]) -> None:
        folders = [root / part for part in ("links", "usr/sbin", "usr/bin", "sbin", "bin")]
        env["PATH"] = _joined(folders, env["PATH"])
        libraries = [
            *root.glob("usr/lib/*-linux-gnu*"),
            *root.glob("lib/*-linux-gnu*"),
            root / "usr/lib",
        ]
        env["LD_LIBRARY_PATH"] = _joined(libraries, env.get("LD_LIBRARY_PATH", ""))
        plugins = list(root.glob("usr/lib/*-linux-gnu*/xtables"))
        if plugins:
            env["XTABLES_LIBDIR"] = str(plugins[0])
        perl = [
            *root.glob("usr/share/perl/5*"),
            *root.glob("usr/lib/*-linux-gnu*/perl/5*"),
            *root.glob("usr/lib/*-linux-gnu*/perl-base"),
            root / "usr/share/perl5",
        ]
        if any(folder.is_dir() for folder in perl):
            env["PERL5LIB"] = _joined(perl, env.get("PERL5LIB", ""))

    def command(self, name: str, inherited: Mapping[str, str]) -> Path:
        """Return the program `name`.

        Raises:
            DevError: It is neither in the tree nor on the machine.
        """
        found = find_command(name, self.environment(inherited)["PATH"])
        if found is None:
            raise DevError(f"the program {name} is neither on PATH nor in the unpacked packages ({self.root})")
        return found


def _joined(folders: Sequence[Path], rest: str) -> str:
    there = [str(folder) for folder in folders if folder.is_dir()]
    return ":".join([*there, rest]) if rest else ":".join(there)


def tree_with(commands: Sequence[str], packages: Sequence[str], path: str) -> Tree:
    """Return a place with all `commands`: the machine itself, or `packages` and what they need, unpacked.

    Raises:
        DevError: A command is missing and the packages cannot be had.
    """
    if all(find_command(name, path) for name in commands):
        return Tree(None)
    return unpacked_tree(commands, packages)


def unpacked_tree(commands: Sequence[str], packages: Sequence[str]) -> Tree:
    """Return `packages` and what they need, unpacked, whatever the machine has itself.

    Raises:
        DevError: The packages cannot be had, or do not bring the commands.
    """
    folder = dev_folder() / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    recipe = "\n".join([*sorted(packages), *sorted(commands), _release(), platform.machine()])
    root = folder / f"{packages[0]}-{hashlib.sha256(recipe.encode()).hexdigest()[:10]}"
    with locked(folder):
        if not root.is_dir():
            _unpack(packages, commands, root)
    return Tree(root)


def _release() -> str:
    return Path("/etc/os-release").read_text(encoding="utf-8")


def _unpack(packages: Sequence[str], commands: Sequence[str], root: Path) -> None:
    """Fill `root` at once: a break-off leaves only a draft, which the next attempt does not mistake for the result."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise DevError(
            f"{', '.join(commands)}: not all on PATH, and without apt-get and dpkg-deb they cannot be unpacked "
            "here; install them with the means of this distribution"
        )
    for leftover in root.parent.glob(f".{root.name}.*"):
        shutil.rmtree(leftover)
    draft = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        for archive in _downloaded(packages, draft / "archives"):
            run(["dpkg-deb", "-x", archive, draft / "tree"])
        _link_iptables(draft / "tree")
        _require_runnable(Tree(draft / "tree"), commands)
        (draft / "tree").rename(root)
    finally:
        shutil.rmtree(draft)


def _downloaded(packages: Sequence[str], folder: Path) -> list[Path]:
    """Download `packages` and whatever they need that the machine lacks; by the machine's own lists if they will do."""
    try:
        return _fetch(packages, folder, _private_cache())
    except DevError:
        options = updated_options()
        shutil.rmtree(folder, ignore_errors=True)
    try:
        return _fetch(packages, folder, options)
    except DevError as error:
        raise DevError(
            f"{', '.join(packages)} cannot be had from the package sources of this machine: {error}"
        ) from error


def _fetch(packages: Sequence[str], folder: Path, options: Sequence[str]) -> list[Path]:
    plan = run(
        [
            "apt-get",
            *options,
            "--simulate",
            "--allow-change-held-packages",
            "--no-install-recommends",
            "install",
            *packages,
        ]
    )
    wanted = [f"{found['name']}={found['version']}" for found in _PLANNED.finditer(plan) if found["name"] not in _NEVER]
    # A package that is installed, but whose programs are hidden or broken, is unpacked as well.
    planned = {found["name"] for found in _PLANNED.finditer(plan)}
    wanted += [name for name in packages if name not in planned]
    folder.mkdir(parents=True)
    run(["apt-get", *options, "-qq", "-o", "APT::Sandbox::User=root", "download", *wanted], cwd=folder, timeout_s=600)
    return sorted(folder.glob("*.deb"))


def updated_options() -> list[str]:
    """Return the options with which apt uses fresh package lists of our own, leaving those of the machine alone."""
    options = [*_private_cache(), *_private_lists()]
    run(["apt-get", *options, "-qq", "update"], timeout_s=300)
    return options


def _private_cache() -> list[str]:
    folder = dev_folder() / "apt" / "cache"
    (folder / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    return ["-o", f"Dir::Cache={folder}", "-o", "Dir::Log::Planner=/dev/null"]


def _private_lists() -> list[str]:
    folder = dev_folder() / "apt" / "lists"
    (folder / "partial").mkdir(parents=True, exist_ok=True)
    return ["-o", f"Dir::State::lists={folder}", "-o", "APT::Sandbox::User=root"]


def _link_iptables(tree: Path) -> None:
    """Give iptables its plain names, which an installation would have made, in the variant this kernel answers to."""
    sbin = next(
        (folder for folder in (tree / "usr/sbin", tree / "sbin") if (folder / "xtables-nft-multi").exists()), None
    )
    if sbin is None:
        return
    env = Tree(tree).environment({})
    nft = succeeds([sbin / "iptables-nft", "-w", "-t", "nat", "-S"], env=env)
    variant = "xtables-nft-multi" if nft else "xtables-legacy-multi"
    links = tree / "links"
    links.mkdir()
    inside = Path("..") / sbin.relative_to(tree) / variant
    for name in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            (links / f"{name}{suffix}").symlink_to(inside)


def _require_runnable(tree: Tree, commands: Sequence[str]) -> None:
    """Check that each program is there and finds its shared libraries."""
    for name in commands:
        program = tree.command(name, {})
        if shutil.which("ldd") is None or program.read_bytes()[:4] != b"\x7fELF":
            continue
        try:
            listing = run(["ldd", program], env=tree.environment({}))
        except DevError:
            continue  # a static program: ldd answers "not a dynamic executable" with status 1
        missing = [line.strip() for line in listing.splitlines() if "not found" in line]
        if missing:
            raise DevError(f"{name} was unpacked but lacks shared libraries: {'; '.join(missing)}")
