"""`ds01 help TOPIC`: short texts, kept as files beside this module."""

from importlib.resources import files

from ds01.cli.call import Call
from ds01.cli.spec import Argument, Spec
from ds01.cli.tree import nearest
from ds01.errors import NotFoundError

TOPICS = ("gpu", "queue", "reservations", "images", "workspace", "ssh")


def explain(call: Call) -> int:
    """Print a topic, or the list of them."""
    topic = call.text("topic")
    if topic is None:
        call.screen.data("Topics: " + ", ".join(TOPICS) + "\nRead one: ds01 help gpu\nCommands: ds01 --help")
        return 0
    if topic not in TOPICS:
        near = nearest(topic.lower(), TOPICS)
        hint = (
            f"Did you mean: ds01 help {near}"
            if near
            else f"Topics are {', '.join(TOPICS)}. About a command: ds01 {topic} --help"
        )
        raise NotFoundError(f"There is no topic {topic!r}.", hint=hint)
    call.screen.data(read_topic(topic).rstrip())
    return 0


def read_topic(topic: str) -> str:
    """Return the text of a topic."""
    return (files("ds01.cli.commands") / "topics" / f"{topic}.txt").read_text(encoding="utf-8")


HELP = Spec(
    explain,
    examples=("ds01 help gpu  how GPUs are shared and granted", "ds01 help  the topics"),
    arguments=(Argument("topic", completes="topic"),),
)
