"""`ds01 why`: every cause for which a request waits or a device cannot be granted, and what would help."""

import re

from ds01.api.schema import WhyDocument
from ds01.cli.call import Call
from ds01.cli.commands.queue import print_why
from ds01.cli.selection import naming_among
from ds01.cli.spec import JSON, Argument, Spec
from ds01.errors import InvalidRequestError

DEVICE = re.compile(r"[0-9]+(:[0-9]+)?|(GPU|MIG)-.+")


def why(call: Call) -> int:
    """Explain one thing, or everything of the caller's that waits."""
    name = call.text("name")
    if name is None:
        return _everything(call)
    _print(call, _explain_gpu(call, name) if DEVICE.fullmatch(name) else _explain_name(call, name))
    return 0


def _explain_name(call: Call, name: str) -> WhyDocument:
    def known() -> list[str]:
        containers = [container["name"] for container in call.client.list_containers()["containers"]]
        return containers + [request["container"] for request in call.client.list_queue()["requests"]]

    with naming_among(name, known, "ds01 queue"):
        return call.client.explain_container(name)


def why_gpu(call: Call) -> int:
    """Explain one device."""
    name = call.text("name")
    if name is None:
        raise InvalidRequestError("Which GPU? GPU is missing.", hint="Write ds01 gpu why 0; ds01 gpus shows all.")
    _print(call, _explain_gpu(call, name))
    return 0


def _explain_gpu(call: Call, name: str) -> WhyDocument:
    with naming_among(name, lambda: [gpu["address"] for gpu in call.client.list_gpus()["gpus"]], "ds01 gpus"):
        return call.client.explain_gpu(name)


def _everything(call: Call) -> int:
    requests = [request for request in call.client.list_queue()["requests"] if request["state"] == "waiting"]
    documents = [call.client.explain_request(request["id"]) for request in requests]
    if call.flag("json"):
        call.screen.document({"schema_version": 1, "results": documents})
    elif documents:
        print_why(call, *documents)
    else:
        call.screen.tell("Nothing of yours waits. About a container or a GPU: ds01 why NAME, ds01 why 0")
        call.screen.suggest("ds01 gpus")
    return 0


def _print(call: Call, document: WhyDocument) -> None:
    if call.flag("json"):
        call.screen.document(document)
    else:
        print_why(call, document)


WHY = Spec(
    why,
    examples=(
        "ds01 why  everything of yours that waits",
        "ds01 why my-project  one request, or the GPUs of a container",
        "ds01 why 0:1  why nobody can get this GPU now",
    ),
    details=(
        "It names every cause, not only the first, who holds the GPUs until when, when it starts, and changes that the "
        "scheduler has tried: each with the command for it. 0 and 0:1 are GPUs; everything else is a container's name."
    ),
    arguments=(Argument("name", shown="[NAME|GPU]", completes="subject"),),
    options=(JSON,),
)
WHY_GPU = Spec(
    why_gpu,
    examples=("ds01 gpu why 0  why nobody can get this GPU now", "ds01 gpu why 0:1 --json  for programs"),
    arguments=(Argument("name", shown="GPU", completes="gpu"),),
    options=(JSON,),
)
