"""Waiting for GPUs: the options for it, and what a person sees while a request keeps its place. Create, run, start."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import cast

from ds01.api.explanation import estimate_text, request_text, waiting_text
from ds01.api.moment import parse_coming_moment, parse_time_limit
from ds01.api.schema import (
    CreateContainerBody,
    EstimateDocument,
    ProgressMessage,
    RequestDocument,
    StartContainerBody,
    StartedContainer,
    WaitingDocument,
    WhyDocument,
)
from ds01.cli.call import Call
from ds01.cli.moment import SystemZone, clock, present
from ds01.cli.progress import follow_to_result
from ds01.cli.spec import Option
from ds01.errors import DaemonUnreachableError, InvalidRequestError, NoCapacityError, WaitTimeoutError
from ds01.units import format_duration, parse_duration

TIME = Option(
    "--time",
    "How long the GPUs are needed: 8h, or 'until 18:00'. They go back then; short ones start earlier.",
    kind="text",
    metavar="LENGTH",
)
WAIT = Option(
    "--wait",
    "Wait in the queue for the GPUs; with a length such as --wait=30m, give up after it.",
    kind="optional",
    metavar="LENGTH",
)
NO_WAIT = Option("--no-wait", "Do not wait: no free GPU is a failure. This is the default.")
RESERVATION = Option(
    "--reservation", "Start inside this reservation.", kind="text", metavar="NAME", completes="reservation"
)
EXCLUSIVE = Option("--exclusive", "Share the GPU with nobody, also where the site shares them.")
MOST_ALTERNATIVES = 2
START_OPTIONS = (WAIT, NO_WAIT)
WAITING_OPTIONS = (
    TIME,
    WAIT,
    NO_WAIT,
    Option("--at", "Start at this time and not before: '18:00', 'tomorrow 09:00'.", kind="text", metavar="WHEN"),
    RESERVATION,
    EXCLUSIVE,
)


def wants_to_wait(call: Call) -> bool:
    """Tell whether a request may wait for its GPUs.

    Raises:
        InvalidRequestError: --wait and --no-wait, or --at without waiting.
    """
    waits, start = call.text("wait") is not None, call.text("at")
    if call.flag("no_wait") and (waits or start is not None):
        other = "--wait" if waits else "--at"
        raise InvalidRequestError(f"{other} and --no-wait exclude each other.", hint="Leave one of them out.")
    return waits or start is not None


def watches(call: Call, body: CreateContainerBody) -> bool:
    """Tell whether the command stays until the container is there: not when only a later start was asked for."""
    return call.text("wait") is not None or not body.get("wait", False)


def wait_length(call: Call) -> timedelta | None:
    """Return how long a request may wait; None: without end.

    Raises:
        InvalidRequestError: No length of time.
    """
    text = call.text("wait")
    if not text:
        return None
    try:
        length = parse_duration(text)
    except InvalidRequestError as failure:
        raise InvalidRequestError(f"--wait: {failure.message}", hint="Write --wait=30m, or --wait alone.") from failure
    if length <= timedelta():
        raise InvalidRequestError(f"--wait={text} is no time at all.", hint="Leave it out: not waiting is the default.")
    return length


def time_limit(call: Call) -> timedelta | None:
    """Return how long the GPUs are needed; None: as long as the policy allows.

    Raises:
        InvalidRequestError: Neither a length nor an end.
    """
    text = call.text("time")
    return None if text is None else parse_time_limit(text, "--time", now=present(), zone=SystemZone())


def put_waiting(call: Call, body: CreateContainerBody) -> None:
    """Add to a creation what was typed about time, waiting and reservations.

    Raises:
        InvalidRequestError: Contradictory or malformed.
    """
    if (limit := time_limit(call)) is not None:
        body["time_limit_s"] = limit.total_seconds()
    if (start := call.text("at")) is not None:
        now = present()
        moment = parse_coming_moment(start, "--at", now=now, zone=SystemZone())
        if moment < now - timedelta(minutes=1):
            raise InvalidRequestError(f"--at {start!r} has passed already.", hint="Write a later time, such as 18:00.")
        body["not_before"] = moment.isoformat()
    if wants_to_wait(call):
        body["wait"] = True
    if (length := wait_length(call)) is not None:
        body["wait_s"] = length.total_seconds()
    if (reservation := call.text("reservation")) is not None:
        body["reservation"] = reservation
    if call.flag("exclusive"):
        body["exclusive"] = True


class Watch:
    """Somebody watches a request: one line that changes on a terminal, a line for each change elsewhere."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._last = ""

    def show(self, waiting: WaitingDocument) -> None:
        """Say the place, the start and the reason, if they have changed."""
        text = waiting_text(waiting, clock())
        if self._call.screen.error_is_terminal:
            self._call.screen.update(text)
        elif text != self._last:
            self._call.screen.tell(text)
        self._last = text


def watched(call: Call, name: str, messages: Iterator[ProgressMessage]) -> Iterator[ProgressMessage]:
    """Show the messages about waiting and pass the others on.

    Raises:
        WaitTimeoutError: The time to wait is over, and the place is given up.
    """
    watch = Watch(call)
    for message in messages:
        if message["kind"] == "waiting":
            watch.show(message["waiting"])
        elif message["kind"] == "gave_up":
            raise _gave_up(call, name)
        else:
            yield message


def detached_text(name: str) -> str:
    """Return what somebody is told who presses Ctrl-C while waiting: nothing is lost, and how to come back."""
    return (
        f"{name} goes on without you: it keeps its place in the queue, and is there when its turn has come.\n"
        f"Look: ds01 queue. Watch it again: the same command. Why it waits: ds01 why {name}\n"
        f"Give the place up: ds01 queue cancel {name}"
    )


def _gave_up(call: Call, name: str) -> WaitTimeoutError:
    length = wait_length(call)
    waited = f" {format_duration(length)}" if length is not None else " as long as it was to"
    return WaitTimeoutError(
        f"{name} has waited{waited} and got no GPU. Its place in the queue is given up.",
        hint="Wait longer: --wait=8h, or without an end: --wait\nSee who holds what until when: ds01 gpus",
    )


def start_container(call: Call, name: str) -> StartedContainer:
    """Start a container as it was typed; one that may wait is watched until it runs.

    Raises:
        WaitTimeoutError: The time to wait is over.
        Ds01Error: It could not be started.
    """
    body: StartContainerBody = {}
    if (length := wait_length(call)) is not None:
        body["wait_s"] = length.total_seconds()
    with hinting_at_waiting(call):
        if not wants_to_wait(call):
            return call.client.start_container(name, body)
        body["wait"] = True
        messages = cast("Generator[ProgressMessage]", call.client.stream_start(name, body))
        with closing(messages):
            last = follow_to_result(call, watched(call, name, messages), cancelled=detached_text(name))
    if "started" not in last:
        raise DaemonUnreachableError("ds01d did not say how the start ended.", hint="Look with ds01 list")
    return last["started"]


def say_place(call: Call, name: str, request: RequestDocument) -> None:
    """Tell a person that a request has its place and nobody watches it."""
    call.done(f"{request_text(request, clock()).removesuffix('.')}.", name)
    call.screen.suggest("ds01 queue")


@contextmanager
def hinting_at_waiting(call: Call) -> Iterator[None]:
    """Let a refusal that waiting would end say so."""
    try:
        yield
    except NoCapacityError as error:
        if call.text("wait") is None and error.exit_status == NoCapacityError.exit_status:
            hints = [f"Keep a place in the queue and wait{_expected(error)}: {_with_wait(call.process.words)}"]
            hints += _alternatives(error) + ([error.hint] if error.hint else [])
            error.hint = "\n".join(hints)
        raise


def _expected(error: NoCapacityError) -> str:
    """Return when it would start, if the daemon has said so."""
    estimate = error.details.get("estimate")
    if not isinstance(estimate, dict) or estimate.get("start_at") is None:
        return ""
    return f" ({estimate_text(cast('EstimateDocument', estimate), clock())})"


def _alternatives(error: NoCapacityError) -> list[str]:
    """Return what could be had now instead, as commands to copy."""
    why = error.details.get("why")
    found = cast("WhyDocument", why)["counterfactuals"] if isinstance(why, dict) else []
    commands = [item for item in found if item["command"] and item["start_at"] is None][:MOST_ALTERNATIVES]
    return [f"Or now ({item['message']}): {item['command']}" for item in commands]


def _with_wait(words: Sequence[str]) -> str:
    """Return what was typed with --wait in it, before the program's own words."""
    kept = [word for word in words if word != "--no-wait"]
    position = kept.index("--") if "--" in kept else len(kept)
    return shlex.join(["ds01", *kept[:position], "--wait", *kept[position:]])
