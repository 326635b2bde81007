"""What the Tab key offers. No click: it has to be quick. Silent when the daemon is off."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module

from ds01.cli.call import Process
from ds01.cli.screen import clean
from ds01.cli.spec import Option, Spec
from ds01.cli.tree import DEFAULT_VERBS, PACKAGE, Entry, nouns_below, verbs_of
from ds01.client import Client
from ds01.errors import Ds01Error

TIMEOUT_S = 0.1
_ALONE = frozenset({"flag", "optional"})
_KINDS = ("any", "full", "mig")


def complete(process: Process, words: Sequence[str]) -> int:
    """Print the candidates for the last of `words`, which are those after `ds01`; the last may be empty."""
    before, current = list(words[:-1]), words[-1] if words else ""
    for candidate in _candidates(process, before, current):
        if candidate.startswith(current) and candidate == clean(candidate):
            process.screen.data(candidate)
    return 0


def _candidates(process: Process, before: list[str], current: str) -> list[str]:
    noun, rest = "", before
    while rest and rest[0] in nouns_below(noun):
        noun, rest = nouns_below(noun)[rest[0]], rest[1:]
    verbs = verbs_of(noun)
    if noun and DEFAULT_VERBS.get(noun) and (not rest or rest[0] not in verbs) and (rest or current.startswith("-")):
        rest = [DEFAULT_VERBS[noun], *rest]
    if not rest:
        return sorted({*verbs, *nouns_below(noun)})
    entry = verbs.get(rest[0])
    return _of_command(process, entry, rest[1:], current) if entry else []


def _of_command(process: Process, entry: Entry, rest: list[str], current: str) -> list[str]:
    spec: Spec = getattr(import_module(f"{PACKAGE}.{entry.module}"), entry.attribute)
    if spec.tail and "--" in rest:
        return []
    waiting = _option(spec, rest[-1]) if rest else None
    if waiting is not None and waiting.kind not in _ALONE:
        return _values(process, waiting)
    if current.startswith("-"):
        return [name for option in spec.options for name in option.names] + ["--help"]
    position = _count_arguments(spec, rest)
    if spec.arguments and spec.arguments[-1].many:
        position = min(position, len(spec.arguments) - 1)
    return _of_kind(process, spec.arguments[position].completes) if position < len(spec.arguments) else []


def _option(spec: Spec, word: str) -> Option | None:
    return next((option for option in spec.options if word in option.names), None)


def _count_arguments(spec: Spec, rest: list[str]) -> int:
    count, takes_value = 0, False
    for word in rest:
        option = _option(spec, word)
        if takes_value:
            takes_value = False
        elif option is not None:
            takes_value = option.kind not in _ALONE
        elif not word.startswith("-"):
            count += 1
    return count


def _values(process: Process, option: Option) -> list[str]:
    if option.key in {"gpu_kind", "kind"}:
        return [*_KINDS, *_of_kind(process, "profile")]
    if option.key in {"reservation", "before"}:
        return _of_kind(process, "reservation" if option.key == "reservation" else "queue")
    return _of_kind(process, option.completes) if option.completes else list(option.choices)


def _of_kind(process: Process, kind: str) -> list[str]:
    if kind == "topic":
        from ds01.cli.commands.topic import TOPICS

        return list(TOPICS)
    if kind == "shell":
        from ds01.cli.commands.completion import SHELLS

        return list(SHELLS)
    if kind == "dockerfile":
        from ds01.cli.dockerfiles import dockerfile_names

        return dockerfile_names(process.environment)
    try:
        return _from_daemon(process, kind)
    except Ds01Error:
        return []


def _from_daemon(process: Process, kind: str) -> list[str]:
    ask = _SOURCES.get(kind)
    if ask is None:
        return []
    return ask(Client.from_environment(process.environment, os.getuid(), may_start=False, timeout_s=TIMEOUT_S))


def _containers(client: Client) -> list[str]:
    return [container["name"] for container in client.list_containers()["containers"]]


def _requests(client: Client) -> list[str]:
    return [request["container"] for request in client.list_queue()["requests"]]


def _frameworks(client: Client) -> list[str]:
    return [choice["framework"].lower() for choice in client.get_catalogue()["choices"]]


def _own_images(client: Client) -> list[str]:
    return [image["name"] for image in client.list_images()["images"] if image["own"]]


def _frameworks_and_images(client: Client) -> list[str]:
    """The engine, which knows the images, may be off; a daemon that does not answer is not asked twice."""
    frameworks = _frameworks(client)
    try:
        return [*_own_images(client), *frameworks]
    except Ds01Error:
        return frameworks


def _subjects(client: Client) -> list[str]:
    return [*_requests(client), *_containers(client), *(gpu["address"] for gpu in client.list_gpus()["gpus"])]


_SOURCES: dict[str, Callable[[Client], list[str]]] = {
    "container": _containers,
    "request": _requests,
    "queue": lambda client: [request["id"] for request in client.list_queue(everybody=True)["requests"]],
    "reservation": lambda client: [found["name"] for found in client.list_reservations()["reservations"]],
    "subject": _subjects,
    "gpu": lambda client: [gpu["address"] for gpu in client.list_gpus()["gpus"]],
    "framework": _frameworks,
    "own_image": _own_images,
    "image": lambda client: [image["name"] for image in client.list_images()["images"]],
    "framework_or_image": _frameworks_and_images,
    "use_case": lambda client: [tier["name"] for tier in client.get_package_tiers()["use_cases"]],
    "profile": lambda client: sorted({gpu["profile"] for gpu in client.list_gpus()["gpus"] if gpu["profile"]}),
}
