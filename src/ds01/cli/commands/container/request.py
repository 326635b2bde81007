"""What was typed for a new container, as the daemon's document. Shared by create and run."""

import os
import re

from ds01.api.schema import CreateContainerBody, GpuRequestBody
from ds01.cli.architecture import ARCH, wanted_architecture
from ds01.cli.call import Call
from ds01.cli.commands.container.displaying import X11
from ds01.cli.commands.container.environment import parse_environment, parse_port
from ds01.cli.commands.container.waiting import WAITING_OPTIONS, put_waiting
from ds01.cli.prompts import Choice, ask_text, pick
from ds01.cli.spec import Argument, Option
from ds01.domain.name import parse_container_name, suggest_container_name
from ds01.domain.request import GpuRequest
from ds01.errors import InvalidRequestError
from ds01.units import parse_size

_OTHER_IMAGE = ""
_ARRANGED = re.compile(r"[/:@]")
_SIZES = (
    ("memory", "memory_bytes"),
    ("memory_swap", "memory_swap_bytes"),
    ("shm_size", "shm_size_bytes"),
)
_FOLDERS = ("workspace", "data", "models")

GUIDED = Option("--guided", "Explain every step before it is asked.")
ARGUMENTS = (
    Argument("name", completes="container"),
    Argument("framework", shown="[FRAMEWORK|IMAGE]", completes="framework_or_image"),
    Argument("version", completes="version"),
)
SETTINGS = (
    Option("--cpus", "CPUs, such as 4 or 0.5.", kind="text", metavar="COUNT"),
    Option("--memory", "Memory, such as 16G.", kind="text", metavar="SIZE"),
    Option("--memory-swap", "Memory and swap together.", kind="text", metavar="SIZE"),
    Option("--shm-size", "Size of /dev/shm.", kind="text", metavar="SIZE"),
    Option("--pids-limit", "Processes and threads.", kind="number", metavar="COUNT"),
    Option("--cgroup-parent", "Accepted when it is the one of your limits.", kind="text", metavar="PATH"),
    Option(
        "-e --env",
        "Set a variable; without a value, yours is passed on.",
        kind="text",
        metavar="NAME[=VALUE]",
        many=True,
    ),
    Option("-p --publish", "Publish a port on 127.0.0.1.", kind="text", metavar="[PORT:]PORT", many=True),
)
"""Options that are the same for every new container, whatever it is made from."""
DATA = Option("-d --data", "Folder at /data.", kind="text", metavar="FOLDER")
MODELS = Option("-m --models", "Folder at /models.", kind="text", metavar="FOLDER")
GPU_MEMORY = Option("--gpu-memory", "Least memory of each GPU, such as 20G.", kind="text", metavar="SIZE")
CPU_ONLY = Option("--cpu-only", "No GPU.")
OPTIONS = (
    Option(
        "--image", "Any image instead of a framework of the catalogue.", kind="text", metavar="REF", completes="image"
    ),
    Option(
        "-w --workspace", "Your folder at /workspace; ~/workspace/NAME if not given.", kind="text", metavar="FOLDER"
    ),
    DATA,
    MODELS,
    ARCH,
    Option("-g --gpus", "How many GPUs; 1 if not given.", kind="number", metavar="COUNT"),
    Option(
        "--gpu-kind",
        "full, mig, a MIG profile such as 1g.5gb, or words of a model's name: any GPU on such a card.",
        kind="text",
        metavar="KIND",
    ),
    GPU_MEMORY,
    CPU_ONLY,
    *SETTINGS,
    X11,
    *WAITING_OPTIONS,
)


def wants_new(call: Call) -> bool:
    """Tell whether a framework or an image was named: a container is to be created."""
    return call.text("framework") is not None or call.text("image") is not None


def creation_body(call: Call) -> CreateContainerBody:
    """Return the document for a new container; a person is asked for what is missing.

    Raises:
        InvalidRequestError: Something is missing or malformed; the hint says how to write it.
    """
    name, framework = call.text("name"), call.text("framework")
    if not call.can_ask and (name is None or not wants_new(call)):
        raise _incomplete(call, has_name=name is not None)
    body: CreateContainerBody = {"name": _name(call, name), "interface": "cli"}
    _put_image(call, body, framework)
    if (architecture := wanted_architecture(call)) is not None:
        body["architecture"] = architecture
    put_settings(call, body)
    return body


def _incomplete(call: Call, *, has_name: bool) -> InvalidRequestError:
    missing = "FRAMEWORK (or --image REF)" if has_name else "NAME and FRAMEWORK (or --image REF)"
    return InvalidRequestError(
        f"What to create? {missing} is missing.",
        hint=f"Write, for example: {call.command('create', 'my-project', 'pytorch')}",
    )


def _name(call: Call, typed: str | None) -> str:
    if typed is None:
        here = suggest_container_name(os.path.basename(os.getcwd())) or "my-project"
        typed = ask_text("Name of the container?", here)
    try:
        return parse_container_name(typed)
    except InvalidRequestError as error:
        proposal = error.details.get("proposal")
        if not call.can_ask or not isinstance(proposal, str):
            raise
        call.screen.tell(f"The name becomes {proposal}: letters, digits, - and _ are allowed.")
        return proposal


def _put_image(call: Call, body: CreateContainerBody, framework: str | None) -> None:
    image, version = call.text("image"), call.text("version")
    if framework is None and image is None:
        framework = _ask_framework(call)
    if framework is not None and _ARRANGED.search(framework):
        if image is not None or version is not None:
            what = "--image" if image is not None else "a version"
            raise InvalidRequestError(
                f"{framework!r} is an image: {what} does not go with it.", hint="Give the image once, with its tag."
            )
        image, framework = framework, None
    if image is not None:
        body["image"] = image
    if framework is not None:
        body["framework"] = framework
    if version is not None:
        body["version"] = version


def _ask_framework(call: Call) -> str:
    offered = call.client.get_catalogue(architecture=wanted_architecture(call))["choices"]
    choices = [
        Choice(choice["framework"], f"{choice['framework']} {choice['version']}")
        for choice in offered
        if choice["image"]
    ]
    chosen = pick(call, "Which framework?", [*choices, Choice(_OTHER_IMAGE, "another image")])
    if chosen != _OTHER_IMAGE:
        return chosen
    image = ask_text("Which image (repository:tag)?")
    if not image:
        raise InvalidRequestError(
            "No image was named.", hint=f"Write {call.command('create', 'NAME', '--image', 'REF')}."
        )
    return image if _ARRANGED.search(image) else f"{image}:latest"


def put_settings(call: Call, body: CreateContainerBody) -> None:
    """Add what was typed to a creation, but for what it is made from; what was not typed stays as it is.

    Raises:
        InvalidRequestError: Contradictory or malformed.
    """
    for folder in _FOLDERS:
        path = call.text(folder)
        if path is not None:
            body[folder] = absolute_path(path)  # type: ignore[literal-required]  # keys of the document
    _put_limits(call, body)
    if (gpu := gpu_request(call)) is not None:
        body["gpu"] = gpu
    if environment := parse_environment(call.texts("env"), call.environment):
        body["environment"] = {**body.get("environment", {}), **environment}
    if ports := [parse_port(text) for text in call.texts("publish")]:
        body["ports"] = ports
    if call.flag("x11"):
        body["x11"] = True
    put_waiting(call, body)


def _put_limits(call: Call, body: CreateContainerBody) -> None:
    if (cgroup_parent := call.text("cgroup_parent")) is not None:
        body["cgroup_parent"] = cgroup_parent
    cpus = call.text("cpus")
    if cpus is not None:
        body["cpus"] = _cpus(cpus)
    for option, field in _SIZES:
        text = call.text(option)
        if text is not None:
            body[field] = parse_size(text)  # type: ignore[literal-required]  # keys of the document
    pids = call.number("pids_limit")
    if pids is not None:
        body["pids_limit"] = pids


def _cpus(text: str) -> float:
    try:
        count = float(text)
    except ValueError:
        count = -1
    if not 0 < count < 1_000_000:
        raise InvalidRequestError(
            f"--cpus {text!r} is not a number of CPUs.", hint="Write a number above 0, such as 4 or 0.5."
        )
    return count


def gpu_request(call: Call) -> GpuRequestBody | None:
    """Return what was typed about GPUs; None if nothing was.

    Raises:
        InvalidRequestError: Contradictory or malformed.
    """
    count, kind, memory = call.number("gpus"), call.text("gpu_kind"), call.text("gpu_memory")
    if call.flag("cpu_only"):
        if (count or 0) > 0 or kind is not None or memory is not None:
            raise InvalidRequestError("--cpu-only and GPU options exclude each other.", hint="Leave one of them out.")
        return {"count": 0}
    body: GpuRequestBody = {}
    if count is not None:
        body["count"] = count
    if kind is not None:
        body["kind"] = kind.strip().lower()
    if memory is not None:
        body["memory_bytes"] = parse_size(memory)
    GpuRequest(body.get("count", 1), body.get("kind", "any"), body.get("memory_bytes"))  # refuses what can never be
    return body or None


def absolute_path(path: str) -> str:
    """Return a typed path from the root on; links and `..` are left to the daemon, which resolves them as the user.

    Raises:
        InvalidRequestError: Empty, or relative to a folder that is gone.
    """
    if not path:
        raise InvalidRequestError("A folder's path is empty.", hint="Write a path, such as ~/project.")
    expanded = os.path.expanduser(path)
    if os.path.isabs(expanded):
        return expanded
    try:
        return os.path.join(os.getcwd(), expanded)
    except FileNotFoundError as failure:
        message = f"{path!r} is relative, and the folder you are in does not exist any more."
        raise InvalidRequestError(message, hint="Write the path from / on, or change to another folder.") from failure
