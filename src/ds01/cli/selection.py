"""Which containers a command is about: typed, the only one, or picked from a list."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from ds01.api.schema import ContainerDocument
from ds01.cli.call import Call
from ds01.cli.container_text import gpu_text, image_text
from ds01.cli.prompts import Choice, pick, pick_several
from ds01.cli.tree import nearest
from ds01.errors import Ds01Error, InvalidRequestError, NotFoundError

ACTIVE_STATES = frozenset({"running", "paused", "restarting"})
Filter = Callable[[ContainerDocument], bool]


def is_active(container: ContainerDocument) -> bool:
    """Tell whether a container has processes."""
    return container["state"] in ACTIVE_STATES


def is_inactive(container: ContainerDocument) -> bool:
    """Tell whether a container can be started."""
    return container["state"] in {"created", "exited"}


def is_any(_container: ContainerDocument) -> bool:
    """Tell that every container will do."""
    return True


def one_name(call: Call, verb: str, *, fits: Filter = is_any, kind: str = "") -> str:
    """Return the container a command is about.

    Args:
        call: The call; its value `name` counts first.
        verb: For the messages.
        fits: Which containers are offered.
        kind: What those are called, such as `running`.

    Raises:
        InvalidRequestError: No name, and nobody who could be asked.
        NotFoundError: There is nothing to choose from.
    """
    typed = call.text("name")
    if typed is not None:
        return typed
    found = _candidates(call, verb, fits, kind)
    if len(found) == 1:
        name = found[0]["name"]
        call.screen.note(f"Taking {name}: it is your only {kind + ' ' if kind else ''}container.")
        return name
    return pick(call, f"Which container to {verb}?", [_choice(container) for container in found])


def pick_one(call: Call, verb: str) -> ContainerDocument:
    """Let a person choose one of their containers, also when there is only one.

    Raises:
        InvalidRequestError: Nobody can be asked.
        NotFoundError: There is nothing to choose from.
    """
    found = {container["name"]: container for container in _candidates(call, verb, is_any, "")}
    return found[pick(call, f"Which container to {verb}?", [_choice(container) for container in found.values()])]


def some_names(call: Call, verb: str, *, fits: Filter = is_any, kind: str = "") -> list[str]:
    """Return the containers a command is about; a person may pick several.

    Raises:
        InvalidRequestError: No name, and nobody who could be asked; or names and `--all`.
        NotFoundError: There is nothing to choose from.
    """
    typed = list(dict.fromkeys(call.texts("names")))
    if call.flag("all"):
        if typed:
            raise InvalidRequestError(
                "--all and names exclude each other.", hint=f"Use {call.command(call.verb, '--all')}"
            )
        return [container["name"] for container in _mine(call) if fits(container)]
    if typed:
        return typed
    found = _candidates(call, verb, fits, kind)
    if len(found) == 1:
        name = found[0]["name"]
        call.screen.note(f"Taking {name}: it is your only {kind + ' ' if kind else ''}container.")
        return [name]
    return pick_several(call, f"Which containers to {verb}?", [_choice(container) for container in found])


def require_name(call: Call, verb: str) -> InvalidRequestError:
    """Return the error for a missing name where nobody can be asked."""
    return InvalidRequestError(
        f"Which container to {verb}? NAME is missing.",
        hint=f"Write {call.command(call.verb, 'NAME')}; {call.command('list')} shows yours.",
    )


@contextmanager
def naming(call: Call, name: str) -> Iterator[None]:
    """Let an error about a container that does not exist propose the nearest one that does."""
    with naming_among(name, lambda: [container["name"] for container in _mine(call)], call.command("list")):
        yield


@contextmanager
def naming_among(name: str, known: Callable[[], list[str]], listing: str) -> Iterator[None]:
    """Let an error about a name that does not exist propose the nearest one that does.

    Args:
        name: What was typed.
        known: Returns the names that exist.
        listing: Command that lists them.
    """
    try:
        yield
    except NotFoundError as error:
        names = _quietly(known)
        near = nearest(name, names) if name not in names else None
        if near:
            error.hint = f"Did you mean {near}? {listing} shows yours."
        raise


def for_each(
    call: Call, names: list[str], act: Callable[[str], dict[str, object] | None], *, are_containers: bool = True
) -> int:
    """Do something to every container, whatever happens to the others.

    Args:
        call: The call; with --json the documents that `act` returns are printed as `results`.
        names: The containers.
        act: Does it to one; None means that a person said no.
        are_containers: For a name that does not exist, the nearest one of a container is proposed.

    Returns:
        0, or the exit status of the first failure.
    """
    status = 0
    results: list[dict[str, object]] = []
    for name in names:
        try:
            with naming(call, name) if are_containers else nullcontext():
                result = act(name)
        except Ds01Error as error:
            status = status or error.exit_status
            call.process.report(error)
        else:
            if result is None:
                status = status or 1
            else:
                results.append(result)
    if call.flag("json"):
        call.screen.document({"schema_version": 1, "results": results})
    return status


def _candidates(call: Call, verb: str, fits: Filter, kind: str) -> list[ContainerDocument]:
    if not call.can_ask:
        raise require_name(call, verb)
    found = [container for container in _mine(call) if fits(container)]
    if not found:
        raise NotFoundError(
            f"You have no {kind + ' ' if kind else ''}container to {verb}.",
            hint=f"See what you have: {call.command('list')}",
        )
    return found


def _mine(call: Call) -> list[ContainerDocument]:
    return call.client.list_containers()["containers"]


def _quietly(known: Callable[[], list[str]]) -> list[str]:
    try:
        return known()
    except Ds01Error:
        return []  # the first error is the one to tell


def _choice(container: ContainerDocument) -> Choice:
    facts = [container["state"], image_text(container)]
    if container["gpus"]:
        facts.append(f"GPU {gpu_text(container['gpus'])}")
    return Choice(container["name"], f"{container['name']}  ({', '.join(facts)})")
