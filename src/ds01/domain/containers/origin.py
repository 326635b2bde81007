"""Who made a container, whose it is, and which image is its alone: read from its name and labels.

Containers that AIME's `mlc`, the predecessor of DS01, docker compose, devcontainers or plain docker made stay what they
are. Nothing automatic touches them; their owner can open, start, stop and remove them, and have them adopted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ds01.domain import label
from ds01.domain.containers.container import ContainerDetails, ContainerState, ContainerSummary
from ds01.domain.containers.pid1 import is_our_entrypoint
from ds01.domain.images.image import is_private_tag
from ds01.domain.name import parse_engine_name

COMPOSE_PREFIX = "com.docker.compose."
DEVCONTAINER_PREFIX = "devcontainer."
PREDECESSOR_PREFIX = "ds01."
_COMMON_TAGS = frozenset({"", "latest"})
_SET_UP_SHELLS = frozenset({"bash", "/bin/bash"})


class Origin(StrEnum):
    """What made a container."""

    DS01 = "ds01"
    MLC = "mlc"
    DOCKER = "docker"
    COMPOSE = "compose"
    DEVCONTAINER = "devcontainer"


def origin_of(labels: Mapping[str, str], name: str = "") -> Origin:
    """Return what made a container.

    Args:
        labels: Its labels.
        name: Its engine name: a name of AIME's form without any label is what an interrupted `mlc create` leaves.
    """
    if label.is_ours(labels):
        return Origin.DS01
    # the predecessor's docker wrapper put its labels on everything, so the more particular ones come first
    if any(key.startswith(DEVCONTAINER_PREFIX) for key in labels):
        return Origin.DEVCONTAINER
    if any(key.startswith(COMPOSE_PREFIX) for key in labels):
        return Origin.COMPOSE
    if labels.get(label.MANAGED) == "true" or any(key.startswith(PREDECESSOR_PREFIX) for key in labels):
        return Origin.DS01
    if label.OWNER in labels or label.USER in labels or parse_engine_name(name) is not None:
        return Origin.MLC
    return Origin.DOCKER


@dataclass(frozen=True, slots=True)
class Ownership:
    """Whose a container is.

    Attributes:
        uid: Owner; None if nobody can be named, or if what is known contradicts itself.
        doubt: What contradicts, in words; empty without.
    """

    uid: int | None
    doubt: str = ""


def claimed_logins(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the different login names that the labels give as owner.

    Source: containers of AIME MLC 1.x and 2.x, and of the predecessor, as `docker inspect` shows them.
    """
    found = [labels.get(key, "") for key in (label.USER, label.OWNER, "ds01.user")]
    return tuple(dict.fromkeys(name for name in found if name))


def ownership_of(name: str, labels: Mapping[str, str], uids: Mapping[str, int | None]) -> Ownership:
    """Return whose a container is: the uid in its name decides, else the login name in its labels.

    Where the name has no uid and the labels contradict each other it is nobody's, so that only administrators act on
    it. A uid in the name that differs from the label (AIME's tool under sudo) is the owner, and the doubt is said.

    Args:
        name: Engine name.
        labels: Labels.
        uids: Uid by login name, of every name of `claimed_logins`; None: this machine has no such account.
    """
    parsed = parse_engine_name(name)
    claimed = {login: uids.get(login) for login in claimed_logins(labels)}
    known = {uid for uid in claimed.values() if uid is not None}
    said = ", ".join(claimed)
    if parsed is not None:
        others = known - {parsed.uid}
        return Ownership(parsed.uid, f"its name says uid {parsed.uid}, its labels say {said}" if others else "")
    if len(known) == 1:
        return Ownership(known.pop())
    return Ownership(None, f"its labels name several owners: {said}" if known else "")


def shown_name(name: str) -> str:
    """Return the name that people know: without the uid; the oldest layout of AIME's tool has none."""
    parsed = parse_engine_name(name)
    return parsed.name if parsed else name


def private_image_of(name: str, image: str, labels: Mapping[str, str]) -> str | None:
    """Return the reference of the image that is this container's alone, or None.

    It is private when its tag is the container's name: `<repo>:<name>._.<uid>`, and `<repo>:<name>` in AIME's oldest
    layout. Everything else may be shared and stays.
    """
    repository, _, tag = image.rpartition(":")
    if not repository or tag != name:
        return None
    if is_private_tag(image):
        return image
    is_oldest_layout = origin_of(labels, name) is Origin.MLC and tag not in _COMMON_TAGS
    return image if is_oldest_layout else None


def is_half_made(container: ContainerSummary, command: tuple[str, ...]) -> bool:
    """Tell whether an interrupted `mlc create` left it: AIME's name, no label of its own, its set-up as command.

    Args:
        container: The container.
        command: Program and arguments of PID 1.
    """
    is_at_rest = container.state in {ContainerState.CREATED, ContainerState.EXITED}
    is_set_up = len(command) >= 3 and command[0] in _SET_UP_SHELLS and command[1] == "-c"
    return is_at_rest and may_be_half_made(container) and is_set_up


def may_be_half_made(container: ContainerSummary) -> bool:
    """Tell, before its command is asked for, whether it can be such a leftover."""
    has_owner = any(key in container.labels for key in (label.OWNER, label.USER, label.MANAGED))
    return container.parsed_name is not None and not has_owner


def ignores_term(details: ContainerDetails) -> bool:
    """Tell whether PID 1 is AIME's interactive bash, which does not react to SIGTERM but ends on SIGHUP.

    Source: bash(1), SIGNALS: interactive shells ignore SIGTERM and resend SIGHUP to their jobs.
    """
    is_labelled = label.OWNER in details.labels or label.USER in details.labels
    runs_bash = details.command[:1] in {("bash",), ("/bin/bash",)}
    return is_labelled and runs_bash and not is_our_entrypoint(details.entrypoint)
