"""A Dockerfile is changed by its owner: in an editor, said before, written with a backup. By flags and questions."""

from pathlib import Path

from ds01.cli.call import Call
from ds01.cli.dockerfiles import image_name_of, write_text
from ds01.cli.editor import edit_text
from ds01.cli.prompts import confirm
from ds01.domain.images.dockerfile import parse_dockerfile
from ds01.domain.images.recipe import ImageRecipe
from ds01.domain.images.recipe_edit import find_differences
from ds01.errors import Ds01Error, InvalidRequestError


def edited(call: Call, path: Path, text: str) -> str:
    """Return a Dockerfile as its owner left it in the editor; one that cannot be read may be edited further.

    Raises:
        Ds01Error: The editor failed, or left no Dockerfile: nothing is changed.
    """
    while True:
        text = edit_text(call.environment, text, path.name)
        try:
            parse_dockerfile(text)
        except InvalidRequestError as broken:
            call.screen.failure(broken.message, broken.hint)
            if confirm("Edit it further?"):
                continue
            raise Ds01Error("What was edited is no Dockerfile: nothing was changed.") from broken
        return text


def write_changed(call: Call, path: Path, after: str) -> Path | None:
    """Write a Dockerfile and return the backup of the one before."""
    backup = write_text(path, after, replaces=True)
    call.screen.note(f"The file before is kept: {backup}")
    for note in parse_dockerfile(after).notes:
        call.screen.warn(f"{path.name}:{note.line}: {note.problem}")
    return backup


def tell_differences(call: Call, before: ImageRecipe, after: ImageRecipe) -> None:
    """Say what two recipes have differently."""
    for difference in find_differences(before, after):
        for sign, texts in (("-", difference.removed), ("+", difference.added)):
            for text in texts:
                call.screen.tell(f"  {sign} {text}  ({difference.where})")


def name_of(path: Path, recipe: ImageRecipe) -> str:
    """Return the name of the image that a Dockerfile is for."""
    return recipe.name or image_name_of(path)
