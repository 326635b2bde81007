"""Which boot of the machine this is."""

from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read_boot(path: Path = BOOT_ID) -> str:
    """Return the kernel's name of the present boot; empty if it does not say.

    Source: random(4), /proc/sys/kernel/random/boot_id.
    """
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
