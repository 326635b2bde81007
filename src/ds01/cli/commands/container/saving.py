"""`ds01 save`: what was installed in a container becomes lines of a Dockerfile. Also offered before a removal."""

import os
from dataclasses import dataclass
from pathlib import Path

from ds01.api.schema import DriftDocument
from ds01.cli.call import Call
from ds01.cli.commands.image.building import BUILD_OPTIONS, build_file
from ds01.cli.dockerfiles import dockerfile_of, find_dockerfile, login_name, project_dockerfile, read_text, write_text
from ds01.cli.drift import drift_of
from ds01.cli.moment import day_of_making
from ds01.cli.prompts import cancelled, confirm
from ds01.cli.selection import naming, one_name
from ds01.cli.spec import ASKING, JSON, Argument, Option, Spec
from ds01.domain.images.dockerfile import parse_dockerfile
from ds01.domain.images.dockerfile_change import render_dockerfile, update_dockerfile
from ds01.domain.images.image import parse_reference
from ds01.domain.images.image_name import parse_image_name, suggest_image_name
from ds01.domain.images.installed import save_drift
from ds01.domain.images.recipe import DEFAULT_ENVIRONMENT, ImageRecipe
from ds01.errors import ConflictError, Ds01Error, InvalidRequestError, NotFoundError

NO_SAVE = Option("--no-save", "Do not offer to save packages first.")
SAVE_FIRST = Option("--save", "Save packages to a Dockerfile first; what fails then removes nothing.")


@dataclass(frozen=True, slots=True)
class Saving:
    """What is about to be written.

    Attributes:
        found: What was installed.
        image: Short name of the image that the Dockerfile is for.
        path: The Dockerfile.
        before: Its text; None: it is a new one.
        after: Its text from then on.
        left_out: What is not in it, with the reason.
    """

    found: DriftDocument
    image: str
    path: Path
    before: str | None
    after: str
    left_out: tuple[tuple[str, str], ...]

    @property
    def is_needed(self) -> bool:
        """The Dockerfile does not say all of it yet."""
        return bool(self.found["changes"]) and self.after != self.before


def save(call: Call) -> int:
    """Write what was installed in a container into the Dockerfile of its image."""
    if call.flag("build") and call.flag("dry_run"):
        raise InvalidRequestError("--build excludes --dry-run.", hint="Leave one of them out.")
    name = one_name(call, "save")
    with naming(call, name):
        saving = plan_saving(call, call.client.get_drift(name))
    tell_drift(call, saving)
    backup: Path | None = None
    is_written = saving.is_needed and not call.flag("dry_run")
    if is_written:
        if call.must_confirm and not confirm(f"Write {saving.path}?"):
            raise cancelled()
        backup = write_saving(call, saving)
    if call.flag("json"):
        call.screen.document(_document(call, saving, backup))
    elif call.flag("dry_run"):
        call.screen.data(saving.after.rstrip("\n"))
    elif is_written:
        call.done(f"Wrote {saving.path}.", str(saving.path))
    if call.flag("build"):
        build_file(call, saving.path, saving.image)
    elif is_written:
        call.screen.suggest(f"ds01 image build {saving.image}")
    return 0


def save_of_image(call: Call) -> int:
    """The same, typed under the noun `image`: hints are about containers all the same."""
    try:
        return save(Call(call.process, call.values, verb="save", tail=call.tail))
    except NotFoundError as missing:
        missing.hint = " ".join(
            [*([missing.hint] if missing.hint else []), "A container's packages are saved: name the container."]
        )
        raise


def plan_saving(call: Call, found: DriftDocument) -> Saving:
    """Return what saving would write. Nothing is written.

    Raises:
        NotFoundError: There is no Dockerfile to change, and none can be begun.
        ConflictError: The Dockerfile that would be changed is of another image.
    """
    drift = drift_of(found)
    path, image, is_begun = _place(call, found)
    before = read_text(path) if os.path.lexists(path) else None
    if before is None:
        recipe = _new_recipe(call, found, image)
        saved = save_drift(recipe, drift)
        after = render_dockerfile(saved.recipe)
    else:
        dockerfile = parse_dockerfile(before)
        if is_begun and not _is_same_image(dockerfile.recipe.base, found["base"]):
            raise ConflictError(
                f"{path} is there already, for an image on {dockerfile.recipe.base}; {found['name']} was made from "
                f"{found['base'] or 'an image without a name'}.",
                hint="Give the new image another name: --image NAME",
            )
        saved = save_drift(dockerfile.recipe, drift)
        after = update_dockerfile(dockerfile, saved.recipe)
    left_out = [(one["what"], one["reason"]) for one in found["left_out"]]
    return Saving(found, image, path, before, after, (*left_out, *saved.left_out))


def _is_same_image(one: str, other: str) -> bool:
    try:
        return parse_reference(one) == parse_reference(other)
    except InvalidRequestError:  # a base with a variable in it, or none at all
        return one == other


def _place(call: Call, found: DriftDocument) -> tuple[Path, str, bool]:
    """Return the Dockerfile, the image that it is for, and whether it is one that saving itself begins."""
    own, typed_image = found["own_image"], call.text("image")
    image = typed_image or own or suggest_image_name(found["name"]) or ""
    typed, project = call.text("dockerfile"), call.text("project_dockerfile")
    if typed is not None:
        path = Path(os.path.expanduser(typed)).absolute()
        return (path / "Dockerfile" if os.path.isdir(path) else path), image, False
    if project is not None:
        return project_dockerfile(call.environment, project), image, False
    if own and (typed_image is None or typed_image == own):
        try:
            return find_dockerfile(call.environment, own), own, False
        except NotFoundError as missing:
            missing.message = f"{found['name']} was made from your image {own}, whose Dockerfile is not there any more."
            missing.hint = f"Begin a new image on top of it: --image {own}-more; or name the file: --dockerfile FILE"
            raise
    parse_image_name(image)
    return dockerfile_of(call.environment, image), image, True


def _new_recipe(call: Call, found: DriftDocument, image: str) -> ImageRecipe:
    if not found["base"]:
        raise NotFoundError(
            f"The image that {found['name']} was made from has no name any more, so no Dockerfile can begin with it.",
            hint="Add the packages to one that is there: --dockerfile FILE",
        )
    return ImageRecipe(
        found["base"],
        name=image,
        author=login_name().replace(",", ";"),
        framework=found["framework"],
        created=day_of_making(call.environment),
        env=DEFAULT_ENVIRONMENT,
    )


def tell_drift(call: Call, saving: Saving) -> None:
    """Say what was installed, what stays behind, and what is not known."""
    found, tell = saving.found, call.screen.tell
    if not found["changes"]:
        tell(f"Nothing was installed in {found['name']} since it was made.")
    elif not saving.is_needed:
        tell(f"{saving.path} says already what was installed in {found['name']}.")
    else:
        tell(f"Installed or removed in {found['name']} since it was made:")
    for change in found["changes"]:
        if not change["line"]:
            tell(f"  - {change['name']} {change['before']}".rstrip() + f"  ({change['tool']})")
        elif change["before"]:
            tell(f"  ~ {change['line']}  ({change['tool']}; was {change['before']})")
        else:
            tell(f"  + {change['line']}  ({change['tool']})")
    if saving.left_out:
        tell("Left out:")
    for what, reason in saving.left_out:
        tell(f"  {what}: {reason}")
    for note in found["notes"]:
        call.screen.warn(note)


def write_saving(call: Call, saving: Saving) -> Path | None:
    """Write the Dockerfile and return the backup of the one that was there.

    Raises:
        Ds01Error: It cannot be written; what was there is as it was.
    """
    backup = write_text(saving.path, saving.after, replaces=saving.before is not None)
    if backup is not None:
        call.screen.note(f"The file before is kept: {backup}")
    return backup


def _document(call: Call, saving: Saving, backup: Path | None) -> dict[str, object]:
    return {
        "schema_version": 1,
        "name": saving.found["name"],
        "image": saving.image,
        "dockerfile": str(saving.path),
        "backup": str(backup) if backup is not None else None,
        "changed": saving.is_needed,
        "dry_run": call.flag("dry_run"),
        "changes": saving.found["changes"],
        "left_out": [{"what": what, "reason": reason} for what, reason in saving.left_out],
        "notes": saving.found["notes"],
        "text": saving.after,
    }


def offer_to_save(call: Call, name: str) -> None:
    """Before a container is removed: say what was installed in it, and save it where that is wanted.

    Raises:
        Ds01Error: --save was given, and it could not be saved.
    """
    if call.flag("save") and call.flag("no_save"):
        raise InvalidRequestError("--save and --no-save exclude each other.", hint="Leave one of them out.")
    if call.flag("no_save") or call.flag("dry_run") or not (call.flag("save") or call.must_confirm):
        return
    try:
        saving = plan_saving(call, call.client.get_drift(name))
    except Ds01Error as failure:
        if call.flag("save"):
            raise
        call.screen.warn(f"What was installed in {name} cannot be saved: {failure.message}")
        return
    if call.flag("save") and saving.found["notes"]:
        raise Ds01Error(" ".join(saving.found["notes"]), hint="Look into it yourself, then remove it with --no-save.")
    if not (saving.is_needed or saving.left_out or saving.found["notes"]):
        return
    tell_drift(call, saving)
    if saving.is_needed and (call.flag("save") or confirm(f"Save this to {saving.path} first?")):
        write_saving(call, saving)
        call.screen.success(f"Wrote {saving.path}.")
        call.screen.suggest(f"ds01 image build {saving.image}")


_OPTIONS = (
    Option(
        "--image", "Name of the image whose Dockerfile is written.", kind="text", metavar="IMAGE", completes="own_image"
    ),
    Option("--dockerfile", "The Dockerfile.", kind="text", metavar="FILE"),
    Option("--project-dockerfile", "The Dockerfile in a project's folder.", kind="text", metavar="PROJECT"),
    Option("--build", "Build it afterwards."),
    Option("--dry-run", "Only print the Dockerfile as it would be."),
    *BUILD_OPTIONS,
    JSON,
    *ASKING,
)
_DETAILS = (
    "Packages of pip, apt and conda that came, went or changed since the container was made. A container of an image "
    "of your own changes that image's Dockerfile; any other one begins a Dockerfile on its image. Files are not saved: "
    "big ones, and what looks like a secret, are named. The container is only read; it may run or be stopped."
)
_EXAMPLES = (
    "save thesis  what pip, apt and conda installed there, into the Dockerfile of its image",
    "save thesis --image vision --build  into a Dockerfile of another name, and build it",
    "save thesis --dry-run  only print the Dockerfile as it would be",
)
SAVE = Spec(
    save,
    examples=tuple(f"ds01 {example}" for example in _EXAMPLES),
    details=_DETAILS,
    arguments=(Argument("name", completes="container"),),
    options=_OPTIONS,
)
SAVE_OF_IMAGE = Spec(
    save_of_image,
    examples=tuple(f"ds01 image {example}" for example in _EXAMPLES),
    details=_DETAILS,
    arguments=(Argument("name", shown="[CONTAINER]", completes="container"),),
    options=_OPTIONS,
)
