"""`ds01 container cleanup`: one's own leftovers, chosen one by one. Never a prune of everything."""

from collections.abc import Sequence

from ds01.api.schema import ClearBody, ClearedList, LeftoverDocument
from ds01.cli.call import Call
from ds01.cli.prompts import Choice, nothing_picked, pick_any
from ds01.cli.spec import ASKING, JSON, NAMES, Option, Spec
from ds01.cli.table import Cell, relative_time, render
from ds01.errors import InvalidRequestError, NotFoundError
from ds01.units import format_size, parse_duration

UNKNOWN = "?"
CONTAINERS = frozenset({"stopped", "never started", "half made"})
HOLD_PREFIX = "hold:"
KEPT_GPUS = "kept GPUs"


def cleanup(call: Call) -> int:
    """Offer leftovers, and remove those that were chosen."""
    age = call.text("older_than")
    older_than_s = None if age is None else int(parse_duration(age).total_seconds())
    document = call.client.list_leftovers(older_than_s=older_than_s)
    found = _named(document["leftovers"], call.texts("names"))
    is_told_yes = call.flag("yes") or call.flag("script")
    if call.flag("dry_run") or not found or not (is_told_yes or call.can_ask):
        return _show(call, found, can_go_on=not call.flag("dry_run"))
    chosen = _whole([item["id"] for item in found])
    if not is_told_yes:
        chosen = _picked(call, found)
    body: ClearBody = {"items": chosen}
    if older_than_s is not None:
        body["older_than_s"] = older_than_s
    outcome = call.client.clear_leftovers(body)
    return _tell(call, outcome)


def _whole(chosen: Sequence[str]) -> list[str]:
    """Leave out what goes with its container anyway."""
    return [one for one in chosen if not (one.startswith(HOLD_PREFIX) and one.removeprefix(HOLD_PREFIX) in chosen)]


def _picked(call: Call, found: Sequence[LeftoverDocument]) -> list[str]:
    """Ask for containers first; what else lies about is asked for then, without what has gone with them."""
    containers = [item for item in found if item["kind"] in CONTAINERS]
    others = [item for item in found if item["kind"] not in CONTAINERS]
    chosen: list[str] = []
    if containers:
        chosen = pick_any(call, "Which containers shall go? Workspaces stay.", [_choice(item) for item in containers])
    remaining = set(_whole([*chosen, *(item["id"] for item in others)]))
    left = [item for item in others if item["id"] in remaining]
    if left:
        chosen += pick_any(call, "Which images and kept GPUs shall go?", [_choice(item) for item in left])
    if not chosen:
        raise nothing_picked()
    return chosen


def _named(found: Sequence[LeftoverDocument], names: Sequence[str]) -> list[LeftoverDocument]:
    missing = [name for name in names if not any(name in {item["name"], item["id"]} for item in found)]
    if missing:
        raise NotFoundError(
            f"{missing[0]} is not a leftover of yours.",
            hint="See them all: ds01 container cleanup --dry-run. One that runs is stopped first.",
        )
    return [item for item in found if not names or {item["name"], item["id"]} & set(names)]


def _show(call: Call, found: Sequence[LeftoverDocument], *, can_go_on: bool) -> int:
    if call.flag("json"):
        call.screen.document({"schema_version": 1, "leftovers": list(found), "freed_bytes": _total(found)})
    elif not found:
        call.screen.tell("Nothing of yours lies about.")
    else:
        rows: list[list[Cell | str]] = [
            [item["name"], item["kind"], relative_time(item["since"]), _size(item), str(len(item["gpus"]) or "-")]
            for item in found
        ]
        call.screen.data(render(call.screen, ["NAME", "WHAT", "SINCE", "FREES", "GPUS"], rows))
        call.screen.tell(f"Together {format_size(_total(found))}. Workspaces stay.")
    if found and can_go_on:
        raise InvalidRequestError(
            "Nothing was removed: which of these shall go was not said.",
            hint="Remove them all: ds01 container cleanup -y; only some: name them.",
        )
    return 0


def _tell(call: Call, outcome: ClearedList) -> int:
    problems = [result for result in outcome["results"] if not result["removed"]]
    if call.flag("json"):
        call.screen.document(outcome)
    else:
        for result in outcome["results"]:
            if result["removed"]:
                gpus = len(result["gpus"])
                done = "Gave back the GPUs of" if result["kind"] == KEPT_GPUS else "Removed"
                freed = f"; GPUs that are free again: {gpus}." if gpus else "."
                call.done(f"{done} {result['name']}{freed}", result["name"])
            else:
                call.screen.failure(f"{result['name']} is still there. {result.get('problem', '')}".strip(), "")
        call.screen.tell(f"Freed {format_size(outcome['freed_bytes'])}.")
    return 1 if problems else 0


def _total(found: Sequence[LeftoverDocument]) -> int:
    return sum(item["size_bytes"] or 0 for item in found)


def _size(item: LeftoverDocument) -> str:
    return UNKNOWN if item["size_bytes"] is None else format_size(item["size_bytes"])


def _choice(item: LeftoverDocument) -> Choice:
    facts = [item["kind"], relative_time(item["since"])]
    if item["kind"] != KEPT_GPUS:
        facts.append(f"frees {_size(item)}")
    if item["gpus"]:
        count = len(item["gpus"])
        facts.append(f"frees {count} GPU{'s' if count > 1 else ''}")
    return Choice(item["id"], f"{item['name']}  ({', '.join(facts)})")


CLEANUP = Spec(
    cleanup,
    examples=(
        "ds01 container cleanup  pick what shall go",
        "ds01 container cleanup --dry-run  only list it, with what it would free",
        "ds01 container cleanup --older-than 7d -y  everything that has been at rest for a week",
    ),
    details="Only your own: stopped, never started and half-made containers (what an interrupted `mlc create` leaves), "
    "then images whose container is gone, builds without a name, what an interrupted export or import left, and GPUs "
    "that stopped containers keep. Workspaces are never touched. What may still be in the making is left out.",
    arguments=(NAMES,),
    options=(
        Option("--older-than", "Only what has been at rest for longer.", kind="text", metavar="DURATION"),
        Option("--dry-run", "Only list it."),
        JSON,
        *ASKING,
    ),
)
