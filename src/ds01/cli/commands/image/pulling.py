"""`ds01 image pull`."""

import re
from collections.abc import Generator
from contextlib import closing
from typing import cast

from ds01.api.schema import ProgressMessage, PulledImage, PullImageBody
from ds01.cli.architecture import ARCH, wanted_architecture
from ds01.cli.call import Call
from ds01.cli.progress import follow_to_result
from ds01.cli.spec import DRY_RUN, JSON, Argument, Option, Spec
from ds01.errors import DaemonUnreachableError, InvalidRequestError
from ds01.units import format_size

_ARRANGED = re.compile(r"[/:@]")


def pull(call: Call) -> int:
    """Fetch an image."""
    body = _body(call)
    if call.flag("dry_run"):
        return _preview(call, call.client.pull_image({**body, "dry_run": True}))
    again = " ".join(["ds01 image pull", *filter(None, [call.text("framework"), call.text("version")])])
    stopped = f"Stopped. Layers that Docker has are not fetched again. To go on: {again}"
    messages = cast("Generator[ProgressMessage]", call.client.stream_pull(body))
    with closing(messages):
        outcome = follow_to_result(call, messages, cancelled=stopped).get("image")
    if outcome is None:
        raise DaemonUnreachableError("ds01d did not say how the pull ended.", hint=f"Try again: {again}")
    _report(call, outcome)
    return 0


def _preview(call: Call, outcome: PulledImage) -> int:
    if call.flag("json"):
        call.screen.document({**outcome, "dry_run": True})
        return 0
    call.screen.note(outcome["reason"])
    is_here = "an image of that name is here" if outcome["id"] else "it is not here"
    call.screen.tell(f"Would ask the registry for {outcome['reference']}; {is_here}.")
    call.screen.data(f"docker pull {outcome['reference']}")
    return 0


def _report(call: Call, outcome: PulledImage) -> None:
    if call.flag("json"):
        call.screen.document(outcome)
        return
    if not call.screen.out_is_terminal:
        call.screen.data(outcome["reference"])
    call.screen.note(outcome["reason"])
    what = "is here already, as its registry has it" if outcome["was_current"] else "is here now"
    call.screen.success(f"{outcome['reference']} {what} ({format_size(outcome['size_bytes'])}).")


def _body(call: Call) -> PullImageBody:
    wanted, version = call.text("framework"), call.text("version")
    if wanted is None:
        raise InvalidRequestError(
            "What to pull? FRAMEWORK or an image is missing.",
            hint="Write, for example: ds01 image pull pytorch",
        )
    if _ARRANGED.search(wanted):
        if version is not None:
            raise InvalidRequestError(
                f"{wanted!r} is an image: a version does not go with it.", hint="Give the image once, with its tag."
            )
        return {"reference": wanted}
    body: PullImageBody = {"framework": wanted}
    if version is not None:
        body["version"] = version
    architecture = wanted_architecture(call)
    if architecture is not None:
        body["architecture"] = architecture
    return body


PULL = Spec(
    pull,
    examples=(
        "ds01 image pull pytorch  the newest PyTorch for this machine",
        "ds01 image pull pytorch 2.8.0  this version",
        "ds01 image pull ubuntu:24.04  any image",
    ),
    details=(
        "The registry is asked even when an image of that name is here, because names of images move on. Layers that "
        "the engine has are not fetched again: a pull that was stopped with Ctrl-C is resumed by typing it again."
    ),
    arguments=(
        Argument("framework", shown="[FRAMEWORK|IMAGE]", completes="framework"),
        Argument("version", completes="version"),
    ),
    options=(ARCH, DRY_RUN, Option("-v --verbose", "Print every step, without a terminal too."), JSON),
)
