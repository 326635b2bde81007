"""`ds01 start --move`: a container whose GPUs are taken goes on with others, when its owner agrees to the copy."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from datetime import timedelta
from typing import cast

from ds01.api.schema import MovedContainer, ProgressMessage, StartedContainer
from ds01.cli.call import Call
from ds01.cli.commands.container.waiting import start_container
from ds01.cli.progress import follow_to_result
from ds01.cli.prompts import confirm
from ds01.cli.spec import Option
from ds01.errors import DaemonUnreachableError, InvalidRequestError, NoCapacityError
from ds01.units import format_duration, format_size

MOVE = Option(
    "--move", "If its GPU is taken, go on with another: what it has installed is copied, which takes a while."
)
_CANCELLED = "Cancelled: the container is left as it was."


def require_one_way(call: Call) -> None:
    """Raise if both ways out of a taken GPU were typed.

    Raises:
        InvalidRequestError: --move and --wait.
    """
    if call.flag("move") and call.text("wait") is not None:
        raise InvalidRequestError("--move and --wait exclude each other.", hint="Leave one of them out.")


def start_or_move(call: Call, name: str) -> StartedContainer | None:
    """Start a container; one whose GPUs are taken goes on with others, if that is wanted. None: it was declined.

    Raises:
        Ds01Error: It could not be started, or moved; it is as it was.
    """
    try:
        return start_container(call, name)
    except NoCapacityError as taken:
        if taken.details.get("any_gpu"):
            raise  # its GPUs are chosen at each start: there is no other that it could be moved to
        if not call.flag("move"):
            way = f"On another GPU, after a copy of its files: {call.command('start', name, '--move')}"
            taken.hint = "\n".join([*([taken.hint] if taken.hint else []), way])
            raise
        reason = taken.message
    call.screen.tell(reason)
    if not _is_agreed(call, name, call.client.move_container(name, {"dry_run": True})):
        call.screen.note(f"{name} was left as it is.")
        return None
    moved = _move(call, name)
    return {
        "schema_version": moved["schema_version"],
        "container": call.client.get_container(name),
        "was_running": False,
        "warnings": moved["warnings"],
    }


def _is_agreed(call: Call, name: str, plan: MovedContainer) -> bool:
    """Say what it costs, to everybody; ask where somebody can answer."""
    gpu = f"GPU {', '.join(plan['gpus'])}" if plan["gpus"] else "another GPU"
    length = format_duration(timedelta(seconds=plan["expected_s"]))
    call.screen.tell(
        f"{name} can go on with {gpu}: {format_size(plan['size_bytes'])} of its own files are copied, about {length}. "
        "Mounts, limits and environment stay as they are."
    )
    return not call.must_confirm or confirm(f"Move {name}?")


def _move(call: Call, name: str) -> MovedContainer:
    messages = cast("Generator[ProgressMessage]", call.client.stream_move(name))
    with closing(messages):
        last = follow_to_result(call, messages, cancelled=_CANCELLED)
    if "moved" not in last:
        raise DaemonUnreachableError("ds01d did not say how the move ended.", hint="Look with ds01 list")
    return last["moved"]
