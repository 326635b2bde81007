"""Which image or Dockerfile a command is about: typed, the only one, or picked from a list."""

import os
from pathlib import Path

from ds01.cli.call import Call
from ds01.cli.commands.image.listing import short_id
from ds01.cli.dockerfiles import find_dockerfile, image_name_of, list_dockerfiles
from ds01.cli.prompts import Choice, pick, pick_several
from ds01.cli.spec import Argument
from ds01.cli.table import relative_time
from ds01.errors import InvalidRequestError, NotFoundError
from ds01.units import format_size

IMAGE = Argument("name", completes="own_image")
IMAGES = Argument("names", many=True, shown="[NAME]...", completes="own_image")
ANY_IMAGE = Argument("name", shown="[IMAGE]", completes="image")
DOCKERFILE = Argument("name", shown="[NAME|FILE]", completes="dockerfile")
_ACTS = {"packages": "list the packages of"}
"""What a command does, where its word is no verb."""


def one_image(call: Call, verb: str, *, own_only: bool = True) -> str:
    """Return the image that a command is about.

    Args:
        call: The call; its value `name` counts first.
        verb: For the messages.
        own_only: Only the user's own are offered.

    Raises:
        InvalidRequestError: None is named, and nobody can be asked.
        NotFoundError: There is none to choose from.
    """
    name = call.text("name")
    if name is not None:
        return name
    choices = _offered(call, verb, own_only=own_only)
    if len(choices) == 1:
        call.screen.note(f"Taking {choices[0].value}: it is your only image.")
        return choices[0].value
    return pick(call, f"Which image to {_ACTS.get(verb, verb)}?", choices)


def some_images(call: Call, verb: str) -> list[str]:
    """Return the images of the user's own that a command is about; a person may pick several, also when there is one.

    Raises:
        InvalidRequestError: None is named, and nobody can be asked.
        NotFoundError: There is none to choose from.
    """
    typed = list(dict.fromkeys(call.texts("names")))
    return typed or pick_several(call, f"Which images to {verb}?", _offered(call, verb, own_only=True))


def _offered(call: Call, verb: str, *, own_only: bool) -> list[Choice]:
    if not call.can_ask:
        raise InvalidRequestError(
            f"Which image to {_ACTS.get(verb, verb)}? NAME is missing.",
            hint=f"Write: ds01 image {verb} NAME; `ds01 image list` shows yours.",
        )
    images = [image for image in call.client.list_images()["images"] if image["own"] or not own_only]
    if not images:
        raise NotFoundError(f"You have no image to {_ACTS.get(verb, verb)}.", hint="Make one: ds01 image create")
    return [
        Choice(
            image["name"], f"{image['name']}  ({_facts(image['size_bytes'], image['created_at'])}, {short_id(image)})"
        )
        for image in images
    ]


def one_dockerfile(call: Call, verb: str) -> Path:
    """Return the Dockerfile that a command is about; one in this folder counts before those that are kept.

    Args:
        call: The call; its values `dockerfile` and `name` count first.
        verb: For the messages.

    Raises:
        NotFoundError: There is none.
    """
    typed = call.text("dockerfile") or call.text("name")
    if typed is not None or os.path.isfile("Dockerfile"):
        return find_dockerfile(call.environment, typed)
    known = list_dockerfiles(call.environment) if call.can_ask else []
    if not known:
        raise NotFoundError("There is no Dockerfile here.", hint=f"Name the image: ds01 image {verb} NAME")
    if len(known) == 1:
        call.screen.note(f"Taking {known[0]}: it is your only Dockerfile.")
        return known[0]
    choices = [Choice(str(path), f"{image_name_of(path)}  ({path})") for path in known]
    return Path(pick(call, f"Which Dockerfile to {verb}?", choices))


def _facts(size_bytes: int, created_at: str | None) -> str:
    return f"{format_size(size_bytes)}, built {relative_time(created_at)}"
