"""Dockerfiles of this user: where they are, and how they are read and written."""

import errno
import itertools
import os
import pwd
import shlex
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ds01.cli.predecessor_image import OldFacts, find_old_facts
from ds01.domain.images.image_name import dockerfile_name, nearest_images
from ds01.domain.images.import_text import MAX_BYTES, decode_text
from ds01.domain.user import handle
from ds01.errors import ConflictError, Ds01Error, InvalidRequestError, NotFoundError

FOLDER = "dockerfiles"
TRASH = ".trash"
SUFFIX = ".Dockerfile"


def login_name() -> str:
    """Return this user's login name; the number where the account has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def home(environment: Mapping[str, str]) -> Path:
    """Return the home folder.

    Raises:
        InvalidRequestError: HOME is not set.
    """
    found = environment.get("HOME", "")
    if not os.path.isabs(found):
        raise InvalidRequestError("HOME is not set.", hint="Set it, or name the Dockerfile: --dockerfile PATH")
    return Path(found)


def dockerfile_of(environment: Mapping[str, str], name: str) -> Path:
    """Return where the Dockerfile of an image is kept."""
    return home(environment) / FOLDER / dockerfile_name(name, handle(os.getuid(), login_name()))


def project_dockerfile(environment: Mapping[str, str], project: str) -> Path:
    """Return the Dockerfile of a project.

    Raises:
        NotFoundError: There is no such project.
    """
    folder = home(environment) / "workspace" / project
    if not project or "/" in project or project.startswith(".") or not os.path.isdir(folder):
        raise NotFoundError(f"There is no project {project!r}.", hint=f"Make its folder first: mkdir -p {folder}")
    return folder / "Dockerfile"


def find_dockerfile(environment: Mapping[str, str], text: str | None) -> Path:
    """Return the Dockerfile that is meant: a path, a name, a project; without a text the one of this folder.

    Raises:
        NotFoundError: There is none.
    """
    if text is None:
        here = Path("Dockerfile")
        if _is_file(here):
            return here.absolute()
        raise NotFoundError("There is no Dockerfile here.", hint="Name the image: ds01 image build NAME")
    if "/" in text or text.endswith(("Dockerfile", ".")):
        path = Path(os.path.expanduser(text))
        path = path / "Dockerfile" if os.path.isdir(path) else path
        if _is_file(path):
            return path.absolute()
        raise NotFoundError(f"There is no Dockerfile {text[:200]!r}.")
    own, name = handle(os.getuid(), login_name()), text
    for candidate in (
        dockerfile_of(environment, name),
        home(environment) / FOLDER / f"{name.removesuffix(f'-{own}')}-{own}{SUFFIX}",
        home(environment) / FOLDER / f"{name}{SUFFIX}",
        home(environment) / "workspace" / name / "Dockerfile",
    ):
        if _is_file(candidate):
            return candidate
    noted = old_facts_of(environment, name)
    if noted is not None and noted.dockerfile:
        path = Path(os.path.expanduser(noted.dockerfile))
        if _is_file(path):
            return path.absolute()
    near = nearest_images(text, dockerfile_names(environment))
    raise NotFoundError(
        f"There is no Dockerfile for {text[:80]!r}.",
        hint=f"Did you mean {near[0]}?" if near else f"Make one: ds01 image create. Looked in ~/{FOLDER}.",
    )


def _is_file(path: Path) -> bool:
    """Tell whether a file is there.

    Raises:
        Ds01Error: That cannot be told: a folder above it may not be entered, for example.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a name with a NUL is no file's
        return False
    except OSError as failure:
        if failure.errno in {errno.ENAMETOOLONG, errno.ELOOP}:
            return False
        raise _said(path, failure) from failure


def dockerfile_names(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the images whose Dockerfiles are kept; none where their folders cannot be read."""
    try:
        return sorted({image_name_of(path) for path in list_dockerfiles(environment)})
    except (OSError, Ds01Error):
        return []


def list_dockerfiles(environment: Mapping[str, str]) -> list[Path]:
    """Return the Dockerfiles of images and of projects, by their names."""
    own = (home(environment) / FOLDER).glob(f"[!.]*{SUFFIX}")
    projects = (home(environment) / "workspace").glob("[!.]*/Dockerfile")
    return [path for path in (*sorted(own), *sorted(projects)) if _is_file(path)]


def old_facts_of(environment: Mapping[str, str], name: str) -> OldFacts | None:
    """Return what the predecessor noted of an image of this user's, or None."""
    return find_old_facts(home(environment), name, uid=os.getuid(), handle=handle(os.getuid(), login_name()))


def image_name_of(path: Path) -> str:
    """Return the name of the image that a Dockerfile is for by where it is."""
    own = handle(os.getuid(), login_name())
    if path.name == "Dockerfile":
        return path.parent.name
    return path.name.removesuffix(SUFFIX).removesuffix(f"-{own}")


def read_text(path: Path) -> str:
    """Return the text of a file of this user's, with the line ends that it has.

    Raises:
        Ds01Error: It cannot be read, or is no text.
    """
    try:
        with path.open("rb") as file:
            return decode_text(file.read(MAX_BYTES + 1), str(path))
    except OSError as failure:
        raise _said(path, failure) from failure


def write_text(path: Path, text: str, *, replaces: bool) -> Path | None:
    """Write a file as a whole; return the backup of the one that was there.

    Args:
        path: Where; its folder is made. A link stays one: the file that it leads to is replaced.
        text: The text.
        replaces: One that is there is kept under another name beside `path`, with the rights that the new one gets too.

    Raises:
        ConflictError: One is there, and it is not to be replaced, its owner has made it read-only, or it is no file.
        Ds01Error: It cannot be written; what was there is as it was.
    """
    if not replaces and os.path.lexists(path):
        raise ConflictError(f"{path} is there already.", hint="Change it with `ds01 image update`, or add --force.")
    target = Path(os.path.realpath(path))
    mode = _mode_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = _written_beside(target, text, mode=0o644 if mode is None else mode)
        try:
            backup = None if mode is None else _back_up(path, target)
            os.replace(new, target)
        except OSError:
            new.unlink(missing_ok=True)
            raise
    except OSError as failure:
        raise _said(path, failure) from failure
    return backup


def _mode_of(path: Path) -> int | None:
    """Return the rights of a file that may be replaced; None: there is none.

    Raises:
        ConflictError: It may not.
        Ds01Error: That cannot be told.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as failure:
        raise _said(path, failure) from failure
    if not stat.S_ISREG(found.st_mode):  # a folder, or a device that everybody on the machine needs
        raise ConflictError(f"{path} is no file.", hint="Name another place for the Dockerfile.")
    if not os.access(path, os.W_OK):  # its folder alone would let us replace it
        raise ConflictError(f"{path} is read-only.", hint=f"If it may be changed: chmod u+w {shlex.quote(str(path))}")
    return stat.S_IMODE(found.st_mode)


def _written_beside(target: Path, text: str, *, mode: int) -> Path:
    """Write a new file beside the one whose place it is to take; one that cannot be written is not left behind."""
    with tempfile.NamedTemporaryFile(
        "w", dir=target.parent, prefix=f".{target.name[:100]}-", encoding="utf-8", newline="", delete=False
    ) as new:
        try:
            new.write(text)
            new.flush()
            os.chmod(new.name, mode)
        except OSError:
            os.unlink(new.name)
            raise
    return Path(new.name)


def _back_up(path: Path, target: Path) -> Path:
    """Keep a file under a second name; it is there under its own until the new one takes its place.

    Args:
        path: What it is called.
        target: Where it is: somewhere else if `path` is a link.
    """
    while True:
        backup = _unused(path, ".bak")
        try:
            os.link(target, backup)
        except FileExistsError:
            continue  # another process took the name
        except OSError:  # a file system without hard links, or another one
            _copy(target, backup)
        return backup


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copy2(source, target)
    except OSError:
        target.unlink(missing_ok=True)  # half a backup is none
        raise


def _unused(path: Path, suffix: str) -> Path:
    """Return a name that says when, and that nothing has yet: two changes may fall into one second."""
    stem = f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}"
    names = itertools.chain([stem + suffix], (f"{stem}-{number}{suffix}" for number in itertools.count(2)))
    return next(found for found in map(path.with_name, names) if not os.path.lexists(found))


def move_to_trash(path: Path) -> Path:
    """Move a Dockerfile to the trash folder beside it and return where it is now.

    Raises:
        Ds01Error: It cannot be moved.
    """
    place = _unused(path.parent / TRASH / path.name, "")
    try:
        place.parent.mkdir(exist_ok=True)
        os.replace(path, place)
    except OSError as failure:
        raise _said(path, failure) from failure
    return place


def _said(path: Path, failure: OSError) -> Ds01Error:
    return Ds01Error(f"{path}: {failure.strerror or failure}.", hint="Look at the folder, its owner and its space.")
