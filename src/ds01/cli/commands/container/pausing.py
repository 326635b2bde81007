"""`ds01 container pause` and `unpause`."""

from typing import NamedTuple

from ds01.api.schema import ContainerDocument, PausedContainer
from ds01.cli.call import Call
from ds01.cli.commands.container.power import say_docker
from ds01.cli.selection import for_each, some_names
from ds01.cli.spec import ASKING, DRY_RUN, JSON, NAMES, Option, Spec


def pause(call: Call) -> int:
    """Freeze the programs of containers."""
    names = some_names(call, "pause", fits=_is_running, kind="running")
    is_dry = call.flag("dry_run")
    words = _Words("Paused", "pause", "is paused")
    return for_each(call, names, lambda name: _said(call, call.client.pause_container(name, dry_run=is_dry), words))


def unpause(call: Call) -> int:
    """Let the programs of containers go on."""
    names = some_names(call, "unpause", fits=_is_paused, kind="paused")
    is_dry = call.flag("dry_run")
    words = _Words("Unpaused", "unpause", "runs")
    return for_each(call, names, lambda name: _said(call, call.client.unpause_container(name, dry_run=is_dry), words))


class _Words(NamedTuple):
    """What is said of one verb."""

    done: str
    verb: str
    state: str


def _said(call: Call, outcome: PausedContainer, words: _Words) -> dict[str, object]:
    name = outcome["name"]
    if outcome["was_so"]:
        call.done(f"{name} {words.state} already.", name)
    elif outcome["dry_run"]:
        call.screen.tell(f"Would {words.verb} {name}.")
        say_docker(call, outcome["docker_command"])
    else:
        call.done(f"{words.done} {name}.", name)
    return dict(outcome)


def _is_running(container: ContainerDocument) -> bool:
    return container["state"] == "running"


def _is_paused(container: ContainerDocument) -> bool:
    return container["state"] == "paused"


PAUSE = Spec(
    pause,
    examples=("ds01 container pause my-project  freeze its programs where they are",),
    details="Memory and GPUs stay with the container, so nobody else gets them meanwhile.",
    arguments=(NAMES,),
    options=(Option("-a --all", "All of your running containers."), DRY_RUN, JSON, *ASKING),
)
UNPAUSE = Spec(
    unpause,
    examples=("ds01 container unpause my-project  its programs go on where they were",),
    arguments=(NAMES,),
    options=(Option("-a --all", "All of your paused containers."), DRY_RUN, JSON, *ASKING),
)
