"""`ds01 image update` on a terminal: three phases, each of which may be left out."""

from pathlib import Path

from ds01.cli.call import Call
from ds01.cli.commands.image.basis import look_into, offered_tiers
from ds01.cli.commands.image.building import build_file
from ds01.cli.commands.image.dockerfile_edit import edited, name_of, tell_differences, write_changed
from ds01.cli.commands.image.draft import recipe_lines
from ds01.cli.commands.image.duplicates import require_new, tell_mistake
from ds01.cli.commands.image.recreating import containers_of, recreate_containers
from ds01.cli.commands.image.wizard import read_guide
from ds01.cli.dockerfiles import read_text
from ds01.cli.image_state import NEWER, state_of
from ds01.cli.prompts import Choice, ask_text, confirm, pick, pick_several
from ds01.domain.images.dockerfile import Dockerfile, parse_dockerfile
from ds01.domain.images.dockerfile_change import update_dockerfile
from ds01.domain.images.recipe import ImageRecipe
from ds01.domain.images.recipe_choice import base_contents
from ds01.domain.images.recipe_edit import add_packages, add_system, remove_packages, remove_system
from ds01.domain.images.requirement import parse_package_list, parse_requirement
from ds01.domain.images.system_package import parse_system_list, system_package_name
from ds01.errors import Ds01Error, NotFoundError

_PHASES = 3
_ADD, _ADD_SYSTEM, _REMOVE, _EDIT, _DONE, _DISCARD = "add", "add_system", "remove", "edit", "done", "discard"
_QUESTIONS = {
    _ADD: "Packages of Python, such as rich 'pandas>=2.0'?",
    _ADD_SYSTEM: "Packages of the system, such as ffmpeg?",
}
_CHOICES = (
    Choice(_DONE, "nothing more"),
    Choice(_ADD, "add packages of Python, or pin one to a version"),
    Choice(_ADD_SYSTEM, "add packages of the system (apt)"),
    Choice(_REMOVE, "remove packages"),
    Choice(_EDIT, "edit the Dockerfile in an editor"),
    Choice(_DISCARD, "discard the changes"),
)


def ask_update(call: Call, path: Path) -> int:
    """Go through the phases.

    Raises:
        Ds01Error: The person left, or something failed; what was done before stays.
    """
    _begin(call, 1, "Edit Dockerfile", "update_edit")
    _edit(call, path)
    text = read_text(path)
    recipe = parse_dockerfile(text).recipe
    name = name_of(path, recipe)
    _begin(call, 2, "Rebuild image", "update_rebuild")
    if not _rebuild(call, path, name, text):
        call.screen.suggest(f"ds01 image update {name} --build")
    _begin(call, 3, "Recreate containers", "update_recreate")
    if not containers_of(call, name):
        call.screen.tell(f"No container was made from {name}.")
        call.screen.suggest(f"ds01 create my-project --image {name}")
        return 0
    status, _ = recreate_containers(call, name, recipe)
    return status


def _begin(call: Call, number: int, title: str, topic: str) -> None:
    call.screen.tell("")
    call.screen.heading(f"Phase {number}/{_PHASES}: {title}")
    if call.flag("guided"):
        for line in read_guide(topic).splitlines():
            call.screen.note(f"  {line}")


def _edit(call: Call, path: Path) -> None:
    """Phase 1: change the file until the person is content; it is written once."""
    before = text = read_text(path)
    call.screen.tell(f"Location: {path}")
    for line in recipe_lines(parse_dockerfile(text).recipe):
        call.screen.tell(f"  {line}")
    _tell_base(call, parse_dockerfile(text).recipe)
    while (chosen := pick(call, "What to change?", _CHOICES)) not in {_DONE, _DISCARD}:
        try:
            text = _change(call, path, text, chosen)
        except Ds01Error as mistake:  # the text is as before; whoever has left is noticed at the next question
            call.screen.failure(mistake.message, mistake.hint)
    if chosen == _DISCARD or text == before:
        call.screen.tell("The Dockerfile is as it was.")
        return
    tell_differences(call, parse_dockerfile(before).recipe, parse_dockerfile(text).recipe)
    if confirm(f"Write {path}?"):
        write_changed(call, path, text)
        call.screen.success(f"Changed {path}.")
    else:
        call.screen.tell("The Dockerfile is as it was.")


def _tell_base(call: Call, recipe: ImageRecipe) -> None:
    """Say what the base has of what people ask for most; it is left out where nobody can say."""
    try:
        tiers = offered_tiers(call)
        base = look_into(call, recipe.base, recipe.framework, "").image
        has = {parse_requirement(text).key for text in base_contents(base, tiers)}
    except Ds01Error:
        return
    usual = [text for text in tiers.base.pip if parse_requirement(text).key in has]
    if usual:
        call.screen.tell(f"  {'Pre-installed':<14} {' '.join(usual)}")


def _change(call: Call, path: Path, text: str, chosen: str) -> str:
    if chosen == _EDIT:
        return edited(call, path, text)
    dockerfile = parse_dockerfile(text)
    if chosen in _QUESTIONS:
        return update_dockerfile(dockerfile, _added(call, dockerfile, chosen))
    return update_dockerfile(dockerfile, _without_some(call, dockerfile.recipe))


def _added(call: Call, dockerfile: Dockerfile, chosen: str) -> ImageRecipe:
    """Ask for packages until they can be added; an empty line adds nothing."""
    recipe = dockerfile.recipe
    while typed := ask_text(_QUESTIONS[chosen]):
        try:
            if chosen == _ADD_SYSTEM:
                return add_system(recipe, parse_system_list(typed)).recipe
            packages = parse_package_list(typed)
            require_new(call, dockerfile, packages, counts_own=True)
            return add_packages(recipe, [package.text for package in packages]).recipe
        except Ds01Error as mistake:
            tell_mistake(call, mistake)
            call.screen.tell("Write other packages, or only Enter for none.")
    return recipe


def _without_some(call: Call, recipe: ImageRecipe) -> ImageRecipe:
    python = {package.name: package.text for package in recipe.all_packages()}
    system = {system_package_name(text): text for text in recipe.system}
    if not python and not system:
        raise NotFoundError("The image installs no packages.")
    choices = [Choice(f"pip {name}", f"{text}  (pip)") for name, text in python.items()]
    choices += [Choice(f"apt {name}", f"{text}  (apt)") for name, text in system.items()]
    gone = [value.partition(" ") for value in pick_several(call, "Which packages to remove?", choices)]
    recipe = remove_packages(recipe, [name for tool, _, name in gone if tool == "pip"]).recipe
    return remove_system(recipe, [name for tool, _, name in gone if tool == "apt"]).recipe


def _rebuild(call: Call, path: Path, name: str, text: str) -> bool:
    """Phase 2: build it, if that is wanted. Tell whether it was built."""
    try:
        state = state_of(text, call.client.get_image(name)["digest"])
    except NotFoundError:
        state = "not built yet"
    if state == NEWER:
        call.screen.tell("The Dockerfile is newer than the image: a rebuild is recommended.")
    elif state == "as built":
        call.screen.tell("The image was built from this very Dockerfile.")
    if not confirm(f"Build {name} now?"):
        return False
    build_file(call, path)
    return True
