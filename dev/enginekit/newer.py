"""The engine of Debian 13, whose dockerd knows CDI, on a machine whose own release has an older one.

Only dockerd, its command line and containerd are newer: they run on the C library of Debian 12 too. All else is the
machine's, as for any other private engine.
"""

import hashlib
import platform
import shutil
import tempfile
from pathlib import Path

from dev.enginekit.commands import DevError, run
from dev.enginekit.folders import dev_folder, locked
from dev.enginekit.packages import Tree
from dev.enginekit.sources import debian_sources

RELEASE = "trixie"
_PACKAGES = ("docker.io", "docker-cli", "containerd")
_PROGRAMS = ("dockerd", "docker", "containerd", "containerd-shim-runc-v2")


def newer_tree(tree: Tree) -> Tree:
    """Return a tree with the newer programs before its own, unpacked now if they are not there.

    Raises:
        DevError: The packages cannot be had, or do not run here.
    """
    sources = debian_sources(RELEASE)
    recipe = "\n".join([*_PACKAGES, sources, platform.machine()])
    folder = dev_folder() / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / f"{RELEASE}-engine-{hashlib.sha256(recipe.encode()).hexdigest()[:10]}"
    with locked(folder):
        if not root.is_dir():
            _unpack(root, sources)
    return Tree(tree.root, root)


def _unpack(root: Path, sources: str) -> None:
    """Fill `root` at once; a break-off leaves a draft, which the next attempt removes."""
    for leftover in root.parent.glob(f".{root.name}.*"):
        shutil.rmtree(leftover)
    draft = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        for archive in _download(draft, sources):
            run(["dpkg-deb", "-x", archive, draft / "tree"])
        tree = Tree(None, draft / "tree")
        for name in _PROGRAMS:
            program = tree.command(name, {})
            if program.is_relative_to(draft):
                run([program, "--version" if name != "containerd-shim-runc-v2" else "-v"], env=tree.environment({}))
            else:
                raise DevError(f"{name} is not in the packages of Debian {RELEASE}")
        (draft / "tree").rename(root)
    finally:
        shutil.rmtree(draft)


def _download(draft: Path, sources: str) -> list[Path]:
    """Fetch the packages with lists and a cache of their own: the machine's apt knows nothing of that release."""
    for name in ("lists/partial", "cache/archives/partial", "archives"):
        (draft / name).mkdir(parents=True)
    listing = draft / "sources.list"
    listing.write_text(sources, encoding="utf-8")
    options = [
        f"Dir::Etc::SourceList={listing}",
        "Dir::Etc::SourceParts=/dev/null",
        f"Dir::State::lists={draft / 'lists'}",
        f"Dir::Cache={draft / 'cache'}",
        "APT::Sandbox::User=root",
    ]
    command = ["apt-get", "-qq", *(word for option in options for word in ("-o", option))]
    run([*command, "update"], timeout_s=300)
    run([*command, "download", *_PACKAGES], cwd=draft / "archives", timeout_s=600)
    return sorted((draft / "archives").glob("*.deb"))
