"""`ds01 image update`: a Dockerfile is changed, its image built anew, and its containers made again from that."""

from collections.abc import Callable, Iterable
from pathlib import Path

from ds01.cli.call import Call
from ds01.cli.commands.image.building import BUILD_OPTIONS, build_file
from ds01.cli.commands.image.choosing import DOCKERFILE, one_dockerfile
from ds01.cli.commands.image.dockerfile_edit import edited, name_of, tell_differences, write_changed
from ds01.cli.commands.image.duplicates import require_new
from ds01.cli.commands.image.recreating import RECREATE, STOP, recreate_containers
from ds01.cli.dockerfiles import read_text
from ds01.cli.prompts import cancelled, confirm
from ds01.cli.spec import ASKING, JSON, Option, Spec
from ds01.domain.images.dockerfile import Dockerfile, parse_dockerfile
from ds01.domain.images.dockerfile_change import repair_dockerfile, update_dockerfile
from ds01.domain.images.recipe import ImageRecipe
from ds01.domain.images.recipe_edit import (
    RecipeChange,
    add_packages,
    add_system,
    remove_packages,
    remove_system,
)
from ds01.domain.images.requirement import parse_package_list
from ds01.domain.images.system_package import parse_system_list
from ds01.errors import InvalidRequestError

_CHANGES = ("add", "remove", "add_system", "remove_system", "repair", "edit")
_ACTS = ("build", "recreate")


def update(call: Call) -> int:
    """Change a Dockerfile; build it, and make containers again, where that was asked for."""
    path = one_dockerfile(call, "update")
    before = read_text(path)
    dockerfile = parse_dockerfile(before)
    is_open = not any(call.values.get(key) for key in (*_CHANGES, *_ACTS))
    _require_possible(call, is_open=is_open)
    if is_open:
        from ds01.cli.commands.image.update_questions import ask_update

        return ask_update(call, path)
    after = _changed(call, path, dockerfile, before) if any(call.values.get(key) for key in _CHANGES) else before
    backup = _apply(call, path, before, after)
    return _go_on(call, path, backup, after, is_changed=after != before)


def _require_possible(call: Call, *, is_open: bool) -> None:
    asks = call.can_ask and not call.flag("yes")
    if is_open and (not asks or call.flag("dry_run")):
        raise InvalidRequestError(
            "What to change?",
            hint=f"Write: ds01 image update {call.text('name') or 'NAME'} --add 'pandas>=2.0' --remove rich",
        )
    if call.flag("guided") and not is_open:
        raise InvalidRequestError(
            "--guided explains questions, and none is asked here.", hint="Use it on a terminal, without other choices."
        )
    if call.flag("edit") and not call.can_ask:
        raise InvalidRequestError(
            "--edit opens an editor, and nobody is there to use it.", hint="Use --add and --remove, or a terminal."
        )
    if call.flag("stop") and not call.flag("recreate"):
        raise InvalidRequestError("--stop is for --recreate.", hint="Add --recreate, or leave it out.")


def _changed(call: Call, path: Path, dockerfile: Dockerfile, before: str) -> str:
    """Return the Dockerfile after the changes of the flags and of the editor."""
    if call.flag("repair"):
        dockerfile = parse_dockerfile(repair_dockerfile(dockerfile))
    if call.texts("add") and not call.flag("allow_duplicates"):
        wanted = [one for text in call.texts("add") for one in parse_package_list(text)]
        require_new(call, dockerfile, wanted, counts_own=False)
    after = update_dockerfile(dockerfile, _changed_recipe(call, dockerfile.recipe))
    if call.flag("edit"):
        after = edited(call, path, after)
    if after == before:
        call.screen.tell("Nothing to change: the Dockerfile says so already.")
    return after


def _apply(call: Call, path: Path, before: str, after: str) -> Path | None:
    """Say what changes, and write it unless that is only a dry run. Return the backup."""
    if after == before:
        return None
    tell_differences(call, parse_dockerfile(before).recipe, parse_dockerfile(after).recipe)
    if call.flag("dry_run"):
        if not call.flag("json"):
            call.screen.data(after.rstrip("\n"))
        return None
    if call.must_confirm and not call.flag("edit") and not confirm(f"Write {path}?"):
        raise cancelled()
    return write_changed(call, path, after)


def _go_on(call: Call, path: Path, backup: Path | None, text: str, *, is_changed: bool) -> int:
    """Build and make again what was asked for, and say what was done."""
    is_dry, is_json = call.flag("dry_run"), call.flag("json")
    recipe = parse_dockerfile(text).recipe
    document: dict[str, object] = {"schema_version": 1, "dockerfile": str(path), "changed": is_changed}
    if is_dry:
        document["text"] = text
    if is_changed and not is_dry:
        document["backup"] = str(backup)
        if not is_json:
            call.done(f"Changed {path}.", str(path))
    if call.flag("build") and not is_dry:
        document["built"] = build_file(call, path)
    elif is_changed and not is_dry:
        call.screen.suggest(f"ds01 image build {call.text('name') or path}")
    status = 0
    if call.flag("recreate"):
        status, document["recreated"] = recreate_containers(call, name_of(path, recipe), recipe)
    if is_json:
        call.screen.document(document)
    return status


def _changed_recipe(call: Call, recipe: ImageRecipe) -> ImageRecipe:
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
        "ds01 image update thesis  three phases on a terminal: edit, rebuild, recreate its containers",
        "ds01 image update thesis --add 'pandas>=2.0 rich'  more packages; one that is there takes the new bounds",
        "ds01 image update thesis --remove rich --add-system ffmpeg --build  out and in, and build it",
        "ds01 image update thesis --edit --build --recreate  in your editor, and its containers get the new image",
        "ds01 image update thesis --repair --dry-run  mend what a shell would read wrongly; only print it",
    ),
    details=(
        "The file before is kept beside it. Lines that you wrote by hand, and files of the older tools, are "
        "kept as they are. NAME is an image, a project or a path; without it the Dockerfile of this folder. "
        "The editor is that of VISUAL or EDITOR; one that fails changes nothing. A container that is made again keeps "
        "its name, folders, options, limits and GPUs; what was written in it elsewhere goes and is named before."
    ),
    arguments=(DOCKERFILE,),
    options=(
        Option("--add", "Packages of Python, with bounds if you like.", kind="text", metavar="LIST", many=True),
        Option("--remove", "Packages of Python.", kind="text", metavar="LIST", many=True),
        Option("--add-system", "Packages of the system.", kind="text", metavar="LIST", many=True),
        Option("--remove-system", "Packages of the system.", kind="text", metavar="LIST", many=True),
        Option("--allow-duplicates", "Install again what is there already."),
        Option("--repair", "Write sections anew that a builder or shell would read wrongly."),
        Option("--edit", "Open the Dockerfile in your editor."),
        Option("--dockerfile", "The Dockerfile.", kind="text", metavar="FILE"),
        Option("--rebuild --build", "Build it afterwards."),
        RECREATE,
        STOP,
        Option("--guided", "Explain each phase."),
        Option("--dry-run", "Only print the Dockerfile as it would be."),
        *BUILD_OPTIONS,
        JSON,
        *ASKING,
    ),
)
