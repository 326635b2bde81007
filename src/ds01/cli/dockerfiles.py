"""Dockerfiles of this user: where they are, and how they are read and written."""

import itertools
import os
import pwd
import shlex
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ds01.cli.predecessor_image import OldFacts, find_old_facts
from ds01.domain.images.image_name import dockerfile_name
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
    if not project or "/" in project or project.startswith(".") or not folder.is_dir():
        raise NotFoundError(f"There is no project {project!r}.", hint=f"Make its folder first: mkdir -p {folder}")
    return folder / "Dockerfile"


def find_dockerfile(environment: Mapping[str, str], text: str | None) -> Path:
    """Return the Dockerfile that is meant: a path, a name, a project; without a text the one of this folder.

    Raises:
        NotFoundError: There is none.
    """
    if text is None:
        here = Path("Dockerfile")
        if here.is_file():
            return here.absolute()
        raise NotFoundError("There is no Dockerfile here.", hint="Name the image: ds01 image build NAME")
    if "/" in text or text.endswith(("Dockerfile", ".")):
        path = Path(os.path.expanduser(text))
        path = path / "Dockerfile" if path.is_dir() else path
        if path.is_file():
            return path.absolute()
        raise NotFoundError(f"There is no Dockerfile {text}.")
    own, name = handle(os.getuid(), login_name()), text
    for candidate in (
        dockerfile_of(environment, name),
        home(environment) / FOLDER / f"{name.removesuffix(f'-{own}')}-{own}{SUFFIX}",
        home(environment) / FOLDER / f"{name}{SUFFIX}",
        home(environment) / "workspace" / name / "Dockerfile",
    ):
        if candidate.is_file():
            return candidate
    noted = old_facts_of(environment, name)
    if noted is not None and noted.dockerfile and Path(noted.dockerfile).expanduser().is_file():
        return Path(noted.dockerfile).expanduser().absolute()
    raise NotFoundError(
        f"There is no Dockerfile for {text!r}.", hint=f"Make one: ds01 image create {text}. Looked in ~/{FOLDER}."
    )


def dockerfile_names(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the images whose Dockerfiles are kept; none where their folders cannot be read."""
    try:
        return sorted({image_name_of(path) for path in list_dockerfiles(environment)})
    except (OSError, InvalidRequestError):
        return []


def list_dockerfiles(environment: Mapping[str, str]) -> list[Path]:
    """Return the Dockerfiles of images and of projects, by their names."""
    own = (home(environment) / FOLDER).glob(f"[!.]*{SUFFIX}")
    projects = (home(environment) / "workspace").glob("[!.]*/Dockerfile")
    return [path for path in (*sorted(own), *sorted(projects)) if path.is_file()]


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
        path: Where; its folder is made.
        text: The text.
        replaces: One that is there is moved aside, unless it says the same.

    Raises:
        ConflictError: One is there, and it is not to be replaced, or its owner has made it read-only.
        Ds01Error: It cannot be written; what was there is as it was.
    """
    if not replaces and os.path.lexists(path):
        raise ConflictError(f"{path} is there already.", hint="Change it with `ds01 image update`, or add --force.")
    if path.exists() and not os.access(path, os.W_OK):  # its folder alone would let us replace it
        raise ConflictError(f"{path} is read-only.", hint=f"If it may be changed: chmod u+w {shlex.quote(str(path))}")
    backup: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}-", encoding="utf-8", newline="", delete=False
        ) as new:
            new.write(text)
        os.chmod(new.name, 0o644)
        if os.path.lexists(path):
            backup = _back_up(path)
        os.replace(new.name, path)
    except OSError as failure:
        raise _said(path, failure) from failure
    return backup


def _back_up(path: Path) -> Path:
    """Keep a file under a second name; it is there under its own until the new one takes its place."""
    while True:
        backup = _unused(path, ".bak")
        try:
            os.link(path, backup, follow_symlinks=False)
        except FileExistsError:
            continue  # another process took the name
        except OSError:  # a file system without hard links
            with backup.open("xb") as kept:
                kept.write(path.read_bytes())
        return backup


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
