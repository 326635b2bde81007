"""`ds01 image update`: packages in and out of a Dockerfile, every other line as it is."""

from collections.abc import Callable, Iterable
from pathlib import Path

from ds01.cli.call import Call
from ds01.cli.commands.image.building import BUILD_OPTIONS, build_file
from ds01.cli.commands.image.choosing import DOCKERFILE, one_dockerfile
from ds01.cli.dockerfiles import read_text, write_text
from ds01.cli.prompts import cancelled, confirm
from ds01.cli.spec import ASKING, JSON, Option, Spec
from ds01.domain.dockerfile import parse_dockerfile
from ds01.domain.dockerfile_change import repair_dockerfile, update_dockerfile
from ds01.domain.recipe import ImageRecipe
from ds01.domain.recipe_edit import (
    RecipeChange,
    add_packages,
    add_system,
    find_differences,
    remove_packages,
    remove_system,
)
from ds01.domain.requirement import parse_package_list
from ds01.domain.system_package import parse_system_list
from ds01.errors import InvalidRequestError

_CHANGES = ("add", "remove", "add_system", "remove_system")


def update(call: Call) -> int:
    """Change a Dockerfile, and build it where that was asked for."""
    path = one_dockerfile(call, "update")
    before = read_text(path)
    dockerfile = parse_dockerfile(before)
    if not any(call.texts(key) for key in _CHANGES) and not call.flag("repair"):
        raise InvalidRequestError(
            "What to change?",
            hint=f"Write: ds01 image update {call.text('name') or 'NAME'} --add 'pandas>=2.0' --remove rich",
        )
    if call.flag("repair"):
        dockerfile = parse_dockerfile(repair_dockerfile(dockerfile))
    recipe = _changed(call, dockerfile.recipe)
    after = update_dockerfile(dockerfile, recipe)
    if after == before:
        call.screen.tell("Nothing to change: the Dockerfile says so already.")
        return 0
    _tell_differences(call, parse_dockerfile(before).recipe, recipe)
    if call.flag("dry_run"):
        call.screen.data(after.rstrip("\n"))
        return 0
    return _write(call, path, after)


def _tell_differences(call: Call, before: ImageRecipe, after: ImageRecipe) -> None:
    for difference in find_differences(before, after):
        for sign, texts in (("-", difference.removed), ("+", difference.added)):
            for text in texts:
                call.screen.tell(f"  {sign} {text}  ({difference.where})")


def _write(call: Call, path: Path, after: str) -> int:
    if call.must_confirm and not confirm(f"Write {path}?"):
        raise cancelled()
    backup = write_text(path, after, replaces=True)
    call.screen.note(f"The file before is kept: {backup}")
    if call.flag("json"):
        call.screen.document({"schema_version": 1, "dockerfile": str(path), "backup": str(backup)})
    else:
        call.done(f"Changed {path}.", str(path))
    if call.flag("build"):
        build_file(call, path)
    else:
        call.screen.suggest(f"ds01 image build {call.text('name') or path}")
    return 0


def _changed(call: Call, recipe: ImageRecipe) -> ImageRecipe:
    def packages(key: str) -> list[str]:
        return [package.text for text in call.texts(key) for package in parse_package_list(text)]

    def system(key: str) -> list[str]:
        return [name for text in call.texts(key) for name in parse_system_list(text)]

    steps: tuple[tuple[Callable[[ImageRecipe, Iterable[str]], RecipeChange], list[str]], ...] = (
        (remove_packages, packages("remove")),
        (remove_system, system("remove_system")),
        (add_packages, packages("add")),
        (add_system, system("add_system")),
    )
    for change, texts in steps:
        if texts:
            recipe = change(recipe, texts).recipe
    return recipe


UPDATE = Spec(
    update,
    examples=(
        "ds01 image update thesis --add 'pandas>=2.0 rich'  more packages; one that is there takes the new bounds",
        "ds01 image update thesis --remove rich --add-system ffmpeg --build  out and in, and build it",
        "ds01 image update thesis --repair --dry-run  mend what a shell would read wrongly; only print it",
    ),
    details=(
        "The file before is kept beside it. Lines that you wrote by hand, and files of the older tools, are "
        "kept as they are. NAME is an image, a project or a path; without it the Dockerfile of this folder."
    ),
    arguments=(DOCKERFILE,),
    options=(
        Option("--add", "Packages of Python, with bounds if you like.", kind="text", metavar="LIST", many=True),
        Option("--remove", "Packages of Python.", kind="text", metavar="LIST", many=True),
        Option("--add-system", "Packages of the system.", kind="text", metavar="LIST", many=True),
        Option("--remove-system", "Packages of the system.", kind="text", metavar="LIST", many=True),
        Option("--repair", "Write sections anew that a builder or shell would read wrongly."),
        Option("--dockerfile", "The Dockerfile.", kind="text", metavar="FILE"),
        Option("--build", "Build it afterwards."),
        Option("--dry-run", "Only print the Dockerfile as it would be."),
        *BUILD_OPTIONS,
        JSON,
        *ASKING,
    ),
)
