"""Where packages of this distribution, and of another Debian release, come from."""

import shutil
from pathlib import Path

from dev.enginekit.commands import DevError, run
from dev.enginekit.packages import updated_options

UNSTABLE = "sid"


def package_sources() -> str:
    """Return the machine's own Debian or Ubuntu package sources in apt's one-line format.

    Source: apt-get(8), indextargets.
    """
    keyrings = {
        "Debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
        "Ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    }
    mirrors = {"Debian": "http://deb.debian.org/debian", "Ubuntu": "http://archive.ubuntu.com/ubuntu"}
    distribution, release = _distribution(), suite()
    if distribution not in mirrors or shutil.which("apt-get") is None:
        raise DevError("base images are built from Debian or Ubuntu packages, and this machine is neither")
    wanted = _listed_sources([]) or _listed_sources(updated_options()) or [f"{mirrors[distribution]} {release} main"]
    signed = f"[signed-by={keyrings[distribution]}] " if Path(keyrings[distribution]).exists() else ""
    return "".join(f"deb {signed}{line}\n" for line in wanted)


def debian_sources(release: str) -> str:
    """Return sources of another Debian release, at the mirrors that this Debian has for its own.

    Unstable has no further pockets: what is new is in it.
    """
    if _distribution() != "Debian":
        raise DevError(f"packages of Debian {release} are had on Debian only: its signing keys are needed")
    lines = package_sources().splitlines()
    if release == UNSTABLE:
        lines = [line for line in lines if f" {suite()} " in line]
    return "".join(f"{line.replace(f' {suite()}', f' {release}')}\n" for line in lines)


def _listed_sources(options: list[str]) -> list[str]:
    """Return address, suite and component of each package list that apt has of this release."""
    suites = {suite() + pocket for pocket in ("", "-updates", "-security")}
    listing = run(
        ["apt-get", *options, "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    )
    return sorted({line for line in listing.splitlines() if line.split()[1] in suites})


def _distribution() -> str:
    return {"debian": "Debian", "ubuntu": "Ubuntu"}.get(_os_release("ID"), "")


def suite() -> str:
    """Return the name of this release, such as bookworm."""
    return _os_release("VERSION_CODENAME")


def _os_release(key: str) -> str:
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{key}="):
            return line.partition("=")[2].strip('"')
    return ""
