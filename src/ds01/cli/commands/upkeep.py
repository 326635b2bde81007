"""`ds01 admin drain` and `ds01 admin resume`: take GPUs out, let them in again."""

from ds01.api.schema import DrainedGpus, DrainGpuBody
from ds01.cli.call import Call
from ds01.cli.spec import JSON, Argument, Option, Spec
from ds01.errors import EXIT_OK, InvalidRequestError


def drain(call: Call) -> int:
    """Give no new grants on a device."""
    body = DrainGpuBody(gpu=_gpu(call, "drain"))
    reason = call.text("reason")
    if reason is not None:
        body["reason"] = reason
    return _tell(call, call.client.drain_gpus(body), "gets no new grants; what runs on it goes on", "is so already")


def resume(call: Call) -> int:
    """Let a device be granted again."""
    outcome = call.client.resume_gpus({"gpu": _gpu(call, "resume")})
    return _tell(call, outcome, "can be granted again", "was not drained")


def _gpu(call: Call, verb: str) -> str:
    gpu = call.text("gpu")
    if gpu is None:
        raise InvalidRequestError("GPU is missing.", hint=f"Write ds01 admin {verb} 0; ds01 gpus shows the devices.")
    return gpu


def _tell(call: Call, outcome: DrainedGpus, changed: str, unchanged: str) -> int:
    if call.flag("json"):
        call.screen.document(outcome)
        return EXIT_OK
    for gpu in outcome["gpus"]:
        call.screen.success(f"GPU {gpu['address']} {changed if gpu['changed'] else unchanged}.")
    if not outcome["gpus"]:
        call.screen.tell("No GPU is concerned.")
    call.screen.suggest("ds01 gpus")
    return EXIT_OK


GPU = Argument("gpu", shown="GPU|all", completes="gpu")
DRAIN = Spec(
    drain,
    examples=(
        'ds01 admin drain 0 --reason "fan is loud"  nobody new gets GPU 0; what runs there goes on',
        "ds01 admin drain 1:0  one MIG instance",
        'ds01 admin drain all --reason "driver update on Monday"  the whole machine',
    ),
    details="People see the reason in ds01 gpus and in refusals. It lasts until ds01 admin resume, restarts included.",
    arguments=(GPU,),
    options=(Option("--reason", "Why; one line, for everybody.", kind="text", metavar="TEXT"), JSON),
)
RESUME = Spec(
    resume,
    examples=(
        "ds01 admin resume 0  GPU 0 can be granted again",
        "ds01 admin resume all  everything that was drained",
    ),
    details="Also after a repair: what the driver reported of the GPU is forgotten. What it still reports stays.",
    arguments=(GPU,),
    options=(JSON,),
)
