"""What the predecessor noted of an image beside it: read where it is found, never written.

Source: files `~/ds01-config/images/*.info` of the DS01 shell layer, a line `Key: value` for each fact.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FOLDER = ("ds01-config", "images")
SUFFIX = ".info"
MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class OldFacts:
    """What such a file says; what it does not say is empty.

    Attributes:
        path: The file.
        image: Name of the image on the engine.
        framework: Framework and version.
        use_case: What the image is for.
        created: When it was made, in the predecessor's words.
        dockerfile: Where its Dockerfile is.
        packages: What was installed, in the predecessor's words.
    """

    path: Path
    image: str = ""
    framework: str = ""
    use_case: str = ""
    created: str = ""
    dockerfile: str = ""
    packages: str = ""


def find_old_facts(home: Path, name: str, *, uid: int, handle: str) -> OldFacts | None:
    """Return what was noted of an image, or None. A file that cannot be read says nothing.

    Args:
        home: The user's home folder.
        name: Short name of the image.
        uid: The user's number: newer files have it in their names.
        handle: The user's name: older ones have that.
    """
    folder = home.joinpath(*FOLDER)
    short = name.removesuffix(f"-{handle}")
    for stem in dict.fromkeys((f"ds01-{uid}_{short}", f"{short}-{handle}", short)):
        path = folder / f"{stem}{SUFFIX}"
        try:
            with path.open("rb") as opened:
                lines = opened.read(MAX_BYTES).decode("utf-8", "replace").splitlines()
        except (OSError, ValueError):  # a name with a NUL is no file's
            continue
        return _facts(path, lines)
    return None


def _facts(path: Path, lines: Iterable[str]) -> OldFacts:
    found: dict[str, str] = {}
    for line in lines:
        key, separator, value = line.partition(":")
        if separator and not line.startswith("#"):
            found.setdefault(key.strip().lower().replace(" ", "_"), value.strip())
    known = ("image", "framework", "use_case", "created", "dockerfile", "packages")
    return OldFacts(path, **{key: found[key] for key in known if key in found})
