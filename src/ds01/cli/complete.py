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
    for candidate in dict.fromkeys(_candidates(process, before, current)):
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
    typed = _typed_arguments(spec, rest)
    position = len(typed)
    if spec.arguments and spec.arguments[-1].many:
        position = min(position, len(spec.arguments) - 1)
    if position >= len(spec.arguments):
        return []
    kind = spec.arguments[position].completes
    return _versions(process, typed[-1]) if kind == "version" else _of_kind(process, kind)


def _option(spec: Spec, word: str) -> Option | None:
    return next((option for option in spec.options if word in option.names), None)


def _typed_arguments(spec: Spec, rest: list[str]) -> list[str]:
    found, takes_value = [], False
    for word in rest:
        option = _option(spec, word)
        if takes_value:
            takes_value = False
        elif option is not None:
            takes_value = option.kind not in _ALONE
        elif not word.startswith("-"):
            found.append(word)
    return found


def _values(process: Process, option: Option) -> list[str]:
    if option.key in {"gpu_kind", "kind"}:
        return [*_KINDS, *_of_kind(process, "profile")]
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
    return [name for ask in _SOURCES.get(kind, ()) for name in _from_daemon(process, ask)]


def _versions(process: Process, framework: str) -> list[str]:
    return _from_daemon(
        process, lambda client: [row["version"] for row in client.get_catalogue(framework=framework)["rows"]]
    )


def _from_daemon(process: Process, ask: Callable[[Client], list[str]]) -> list[str]:
    try:
        return ask(_quick_client(process))
    except Ds01Error:
        return []


def _quick_client(process: Process) -> Client:
    return Client.from_environment(process.environment, os.getuid(), may_start=False, timeout_s=TIMEOUT_S)


def _containers(client: Client) -> list[str]:
    return [container["name"] for container in client.list_containers()["containers"]]


def _frameworks(client: Client) -> list[str]:
    return [choice["framework"].lower() for choice in client.get_catalogue()["choices"]]


def _architectures(client: Client) -> list[str]:
    rows = client.get_catalogue(everything=True)["rows"]
    return sorted({name for row in rows for name in row["architectures"]})


def _images(client: Client) -> list[str]:
    return [image["name"] for image in client.list_images()["images"]]


def _own_images(client: Client) -> list[str]:
    return [image["name"] for image in client.list_images()["images"] if image["own"]]


def _requests(client: Client) -> list[str]:
    return [request["container"] for request in client.list_queue()["requests"]]


def _queue_ids(client: Client) -> list[str]:
    return [request["id"] for request in client.list_queue(everybody=True)["requests"]]


def _reservations(client: Client) -> list[str]:
    return [found["name"] for found in client.list_reservations()["reservations"]]


def _gpus(client: Client) -> list[str]:
    return [gpu["address"] for gpu in client.list_gpus()["gpus"]]


def _use_cases(client: Client) -> list[str]:
    return [tier["name"] for tier in client.get_package_tiers()["use_cases"]]


def _profiles(client: Client) -> list[str]:
    return sorted({gpu["profile"] for gpu in client.list_gpus()["gpus"] if gpu["profile"]})


_SOURCES: dict[str, tuple[Callable[[Client], list[str]], ...]] = {
    "container": (_containers,),
    "request": (_requests,),
    "queue": (_queue_ids,),
    "reservation": (_reservations,),
    "subject": (_requests, _containers, _gpus),
    "gpu": (_gpus,),
    "framework": (_frameworks,),
    "framework_or_image": (_own_images, _frameworks),
    "architecture": (_architectures,),
    "image": (_images,),
    "own_image": (_own_images,),
    "use_case": (_use_cases,),
    "profile": (_profiles,),
}
"""What is asked for each kind of word; a question that fails does not take the others' answers away."""
