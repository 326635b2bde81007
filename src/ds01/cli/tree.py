"""Every command: where it is typed, which module has it, and its line in the help. No module is loaded to read this."""

from __future__ import annotations

from collections.abc import Sequence

PACKAGE = "ds01.cli.commands"


class Entry:
    """One command of the table.

    Attributes:
        noun: Its noun.
        verb: Its name under the noun.
        module: Module below `ds01.cli.commands`.
        attribute: Name of its `Spec` there.
        summary: One sentence for the help.
        aliases: Other spellings of the verb.
        daily: Spellings at the top level, the first is the one that help shows.
    """

    __slots__ = ("aliases", "attribute", "daily", "module", "noun", "summary", "verb")

    def __init__(self, path: str, place: str, summary: str, *, aliases: str = "", daily: str = "") -> None:
        self.noun, _, self.verb = path.rpartition(" ")
        self.module, _, self.attribute = place.partition(":")
        self.summary = summary
        self.aliases = tuple(aliases.split())
        self.daily = tuple(daily.split())


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "container create", "container.creation:CREATE", "Create a container with GPUs and your files.", daily="create"
    ),
    Entry(
        "container open",
        "container.shell:OPEN",
        "Open a shell in a container; starts it first if needed.",
        daily="open",
    ),
    Entry(
        "container run",
        "container.running:RUN",
        "Open a container, or create one and run a command in it.",
        daily="run",
    ),
    Entry(
        "container attach",
        "container.attaching:ATTACH",
        "Connect to the main process of a running container.",
        daily="attach",
    ),
    Entry("container exec", "container.shell:EXEC", "Run a command in a running container.", daily="exec"),
    Entry("container list", "container.listing:LIST", "List your containers.", aliases="ls", daily="list ls"),
    Entry("container start", "container.power:START", "Start containers.", daily="start"),
    Entry("container stop", "container.power:STOP", "Stop containers; their files stay.", daily="stop"),
    Entry("container restart", "container.power:RESTART", "Stop containers and start them again.", daily="restart"),
    Entry("container pause", "container.pausing:PAUSE", "Freeze the programs of running containers."),
    Entry("container unpause", "container.pausing:UNPAUSE", "Let the programs of paused containers go on."),
    Entry("container ports", "container.ports:PORTS", "Show what listens in a container, and how to reach it."),
    Entry("container cp", "container.copying:COPY", "Copy files into a container or out of it.", daily="cp"),
    Entry("container export", "container.exporting:EXPORT", "Write a container into one file."),
    Entry("container import", "container.importing:IMPORT", "Make a container from a file, here or elsewhere."),
    Entry("container rename", "container.renaming:RENAME", "Give a stopped container another name."),
    Entry("container deploy", "container.workday:DEPLOY", "Create a container, start it and open it.", daily="deploy"),
    Entry("container retire", "container.workday:RETIRE", "Stop containers and remove them.", daily="retire"),
    Entry(
        "container remove",
        "container.removal:REMOVE",
        "Remove containers; workspaces stay.",
        aliases="rm",
        daily="rm remove",
    ),
    Entry(
        "container save",
        "container.saving:SAVE",
        "Save what was installed in a container to a Dockerfile.",
        daily="save",
    ),
    Entry("container logs", "container.watching:LOGS", "Show the output of a container's main process.", daily="logs"),
    Entry("container stats", "container.watching:STATS", "Show what running containers use.", daily="stats"),
    Entry("container top", "container.watching:TOP", "List the processes of a running container.", daily="top"),
    Entry("container inspect", "container.inspection:INSPECT", "Show everything about a container.", daily="inspect"),
    Entry(
        "image catalogue",
        "image.catalogue:CATALOGUE",
        "List the framework images, and which of them this machine gets.",
        aliases="catalog",
    ),
    Entry(
        "image create", "image.creation:CREATE", "Write the Dockerfile of an image of your own, by questions or flags."
    ),
    Entry("image build", "image.building:BUILD", "Build an image of your own."),
    Entry("image inspect", "image.looking:INSPECT", "Show an image of your own, its Dockerfile and who uses it."),
    Entry("image packages", "image.looking:PACKAGES", "List the packages of Python in an image."),
    Entry("image update", "image.updating:UPDATE", "Add packages to the Dockerfile of an image, or remove them."),
    Entry("image delete", "image.deletion:DELETE", "Delete an image of your own; its Dockerfile goes to the trash."),
    Entry("image save", "container.saving:SAVE_OF_IMAGE", "Save what was installed in a container to a Dockerfile."),
    Entry("image list", "image.listing:LIST", "List the images that are here.", aliases="ls"),
    Entry("image pull", "image.pulling:PULL", "Fetch an image from its registry before it is needed."),
    Entry("container adopt", "container.adoption:ADOPT", "Take a container that mlc or docker made under management."),
    Entry("container cleanup", "container.cleanup:CLEANUP", "Remove your stopped and half-made containers."),
    Entry("admin adopt", "container.adoption:ADOPT_FOR", "Give a container an owner and take it under management."),
    Entry("gpu list", "gpu:LIST", "List the GPUs and who holds them.", aliases="ls", daily="gpus"),
    Entry("gpu release", "gpu:RELEASE", "Give back the GPUs of a stopped container."),
    Entry("gpu why", "why:WHY_GPU", "Say why a GPU cannot be granted now."),
    Entry("why", "why:WHY", "Say why you wait, and what would help.", daily="why"),
    Entry("queue list", "queue:LIST", "List the requests that wait for GPUs.", aliases="ls"),
    Entry("queue show", "queue:SHOW", "Show one request: its place, its start, its causes."),
    Entry("queue cancel", "queue:CANCEL", "Give up a place in the queue."),
    Entry("queue move", "queue:MOVE", "Give a request another place (administrators)."),
    Entry("reservation create", "reservation:CREATE", "Keep GPUs for a window of time."),
    Entry("reservation list", "reservation:LIST", "List reservations.", aliases="ls"),
    Entry("reservation show", "reservation:SHOW", "Show one reservation."),
    Entry("reservation cancel", "reservation:CANCEL", "End a reservation before its time."),
    Entry("reservation timeline", "timeline:TIMELINE", "Draw who has which GPU until when.", daily="timeline"),
    Entry("limits show", "limits:SHOW", "Show what you may use, and what set each limit."),
    Entry("admin drain", "upkeep:DRAIN", "Give no new grants on a GPU; what runs on it goes on."),
    Entry("admin resume", "upkeep:RESUME", "Let a drained GPU be granted again."),
    Entry("admin config check", "config:CHECK", "Look at a policy file without its taking effect."),
    Entry("admin config show", "config:SHOW", "Show the policy in force, and what set each value."),
    Entry("admin mig plan", "mig:PLAN", "Show what a file of MIG layouts would change, and who is in the way."),
    Entry("admin mig apply", "mig:APPLY", "Cut GPUs into MIG instances as a file says."),
    Entry("admin catalogue diff", "catalogue:DIFF", "Show what AIME's own list has other than the catalogue."),
    Entry("admin catalogue update", "catalogue:UPDATE", "Take new and changed rows of AIME's own list over."),
    Entry("admin simulate", "simulation:SIMULATE", "Play a list of jobs on a machine that need not exist."),
    Entry("status", "status:STATUS", "Show the machine at a glance.", daily="status"),
    Entry("events", "events:EVENTS", "Show what happened, who did it and why.", daily="events"),
    Entry("version", "status:VERSION_SPEC", "Show the versions of ds01 and ds01d.", daily="version"),
    Entry("help", "topic:HELP", "Explain a topic: gpu, queue, reservations, images, workspace, ssh.", daily="help"),
    Entry("completion", "completion:COMPLETION", "Print the completion for bash, zsh or fish.", daily="completion"),
)
NOUNS = {
    "container": "Containers: everything you can do with them.",
    "image": "Images: the catalogue, and your own.",
    "gpu": "GPUs: who holds them.",
    "queue": "Requests that wait for GPUs.",
    "reservation": "GPUs kept for a window of time.",
    "limits": "Show what you may use, and what set each limit.",
    "admin": "For administrators.",
    "admin mig": "How GPUs are cut into MIG instances.",
    "admin catalogue": "The catalogue, and AIME's own list of images.",
    "admin config": "The site's policy: check a file, show what is in force.",
}
DEFAULT_VERBS = {"limits": "show", "queue": "list", "reservation": "list"}
"""A noun that is typed alone does this."""

SECTIONS: tuple[tuple[str, str], ...] = (
    ("Every day", "create open run exec list start stop restart rm logs stats top inspect cp save deploy retire"),
    ("The machine", "gpus queue why timeline reservation limits status events"),
    ("More", "container image gpu admin help completion version"),
)
"""Help of `ds01`: headings and the names below them."""


def verbs_of(noun: str) -> dict[str, Entry]:
    """Return the commands of a noun by every spelling; of the top level with an empty noun."""
    if not noun:
        return {name: entry for entry in ENTRIES for name in entry.daily}
    return {name: entry for entry in ENTRIES if entry.noun == noun for name in (entry.verb, *entry.aliases)}


def nouns_below(noun: str) -> dict[str, str]:
    """Return the nouns that are typed directly after a noun, or first with an empty one, with their full names."""
    prefix = f"{noun} " if noun else ""
    short = {name.removeprefix(prefix): name for name in NOUNS if name.startswith(prefix)}
    return {name: full for name, full in short.items() if name and " " not in name}


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that a mistyped one most likely means."""
    from difflib import get_close_matches

    by_lower_case = {text.lower(): text for text in reversed(known)}
    found = get_close_matches(name, known, n=1) or get_close_matches(name.lower(), by_lower_case, n=1)
    return by_lower_case.get(found[0].lower(), found[0]) if found else None
