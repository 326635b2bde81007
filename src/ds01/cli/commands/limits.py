"""`ds01 limits`: what a user may hold and use, with the origin of every value."""

import pwd
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from ds01.api.schema import LimitsDocument, LimitValue
from ds01.cli.call import Call
from ds01.cli.spec import JSON, Argument, Option, Spec
from ds01.cli.table import Cell, render
from ds01.errors import InvalidRequestError, NotFoundError
from ds01.units import format_duration, format_number, format_size

UNLIMITED = "unlimited"
_SIZES = frozenset({"memory", "memory_swap", "shm_size", "storage"})
_DURATIONS = frozenset({"time_limit", "idle_timeout", "gpu_hold_after_stop", "container_hold_after_stop"})
_USED: dict[str, Literal["gpus", "gpu_equivalents", "containers"]] = {
    "max_gpus": "gpus",
    "max_gpu_equivalents": "gpu_equivalents",
    "max_containers": "containers",
}
_SINGLE = ("docker_args", "max_gpus", "max_containers", "priority", "group")


def show(call: Call) -> int:
    """Print limits as a table, or one of them for a script."""
    asked = [key for key in _SINGLE if call.flag(key)]
    if len(asked) > 1:
        flags = ", ".join("--" + key.replace("_", "-") for key in asked)
        raise InvalidRequestError(
            f"{flags} exclude each other: each prints one value.", hint="Use one of them, or --json."
        )
    document = call.client.get_limits(uid=_uid(_user(call)))
    if call.flag("json"):
        call.screen.document(document)
    elif asked:
        call.screen.data(_single(document, asked[0]))
    else:
        _print(call, document)
    return 0


def _user(call: Call) -> str | None:
    """Both spellings are the predecessor's and ours: `limits show bob`, `limits show --user bob`."""
    typed, option = call.text("name"), call.text("user")
    if typed is not None and option is not None and typed != option:
        raise InvalidRequestError(f"{typed!r} and --user {option!r} are two users.", hint="Name one of them.")
    return typed if typed is not None else option


def _uid(user: str | None) -> int | None:
    if user is None:
        return None
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError as failure:
        number = user.removeprefix("uid:")
        if number.isascii() and number.isdigit():  # after the names: some consist of digits
            return int(number)
        raise NotFoundError(
            f"There is no user {user!r} on this machine.", hint="Write a login name or a number."
        ) from failure


def _single(document: LimitsDocument, key: str) -> str:
    if key == "docker_args":
        return " ".join(document["docker_args"])
    if key == "group":
        return document["group"]
    return limit_text(key, document["limits"][key])


def _print(call: Call, document: LimitsDocument) -> None:
    call.screen.tell(f"Limits of {document['user']} (group {document['group']}, {document['mode']} mode)")
    held = document["usage"]
    usage: dict[str, float] = {name: held[key] for name, key in _USED.items()}
    rows: list[list[Cell | str]] = []
    for name, limit in document["limits"].items():
        used = format_number(usage[name]) if name in usage else ""
        rows.append([name, limit_text(name, limit), used or "-", Cell(limit["origin"], "dim")])
    rows += _shared_rows("aggregate", document.get("aggregate"), {})
    together = document.get("group_usage")
    in_use: dict[str, float] = (
        {"gpus": together["gpus"], "gpu_equivalents": together["gpu_equivalents"]} if together else {}
    )
    rows += _shared_rows("group_quota", document.get("group_quota"), in_use)
    call.screen.data(render(call.screen, ["LIMIT", "VALUE", "USED", "SET BY"], rows))
    recent, half_life = document.get("recent_use_s"), document.get("fair_share_half_life_s")
    if recent is not None and half_life is not None:
        halved = format_duration(timedelta(seconds=half_life))
        hours = format_number(recent / 3600)
        call.screen.tell(f"Used lately: {hours} GPU-hours (halved every {halved}); who used less is served earlier.")
    if document["cgroup_parent"]:
        call.screen.tell(f"Containers are in the cgroup {document['cgroup_parent']}.")
    if document["not_enforced"]:
        call.screen.tell(f"Not enforced here: {', '.join(document['not_enforced'])}.")


def _shared_rows(
    section: str, limits: Mapping[str, LimitValue] | None, used: Mapping[str, float]
) -> list[list[Cell | str]]:
    """What is set for several containers or users together."""
    return [
        [
            f"{section}.{name}",
            limit_text(name, limit),
            format_number(used[name]) if name in used else "-",
            Cell(limit["origin"], "dim"),
        ]
        for name, limit in (limits or {}).items()
        if limit["value"] is not None
    ]


def limit_text(name: str, limit: LimitValue) -> str:
    """Return one limit as people write it."""
    value = limit["value"]
    if value is None:
        return UNLIMITED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(name, value)
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(value)
    return ", ".join(f"{key}={_entry(entry)}" for key, entry in value.items())


def _entry(entry: int | str | None) -> str:
    return "-" if entry is None else UNLIMITED if entry == -1 else str(entry)


def _number(name: str, value: float) -> str:
    if name in _SIZES:
        return format_size(int(value))
    return format_duration(timedelta(seconds=value)) if name in _DURATIONS else format_number(value)


SHOW = Spec(
    show,
    examples=(
        "ds01 limits  what you may use, what you hold, what set each value",
        "ds01 limits --docker-args  as flags of docker create",
        "ds01 limits show bob  another user's (administrators)",
        "ds01 limits --user bob --json  another user's, for programs (administrators)",
    ),
    arguments=(Argument("name", shown="[USER]"),),
    options=(
        Option("--docker-args", "Print the limits as flags of docker create."),
        Option("--max-gpus", "Print how many GPUs may be held."),
        Option("--max-containers", "Print how many containers may exist."),
        Option("--priority", "Print the priority."),
        Option("--group", "Print the group."),
        Option("--user", "Of this user; administrators only.", kind="text", metavar="NAME"),
        JSON,
    ),
)
