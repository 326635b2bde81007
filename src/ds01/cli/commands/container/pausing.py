"""`ds01 container pause` and `unpause`."""

from ds01.api.schema import ContainerDocument, PausedContainer
from ds01.cli.call import Call
from ds01.cli.selection import for_each, some_names
from ds01.cli.spec import ASKING, JSON, NAMES, Option, Spec


def pause(call: Call) -> int:
    """Freeze the programs of containers."""
    names = some_names(call, "pause", fits=_is_running, kind="running")
    return for_each(call, names, lambda name: _said(call, call.client.pause_container(name), "Paused", "is paused"))


def unpause(call: Call) -> int:
    """Let the programs of containers go on."""
    names = some_names(call, "unpause", fits=_is_paused, kind="paused")
    return for_each(call, names, lambda name: _said(call, call.client.unpause_container(name), "Unpaused", "runs"))


def _said(call: Call, outcome: PausedContainer, done: str, state: str) -> dict[str, object]:
    name = outcome["name"]
    call.done(f"{name} {state} already." if outcome["was_so"] else f"{done} {name}.", name)
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
    options=(Option("-a --all", "All of your running containers."), JSON, *ASKING),
)
UNPAUSE = Spec(
    unpause,
    examples=("ds01 container unpause my-project  its programs go on where they were",),
    arguments=(NAMES,),
    options=(Option("-a --all", "All of your paused containers."), JSON, *ASKING),
)
