"""The commands about images without a terminal."""

import pytest

from tests.unit.cli.conftest import CREATED, Ds01, catalogue, creation
from tests.unit.scripted_daemon import ScriptedDaemon, chunk, line, ok, problem, stream_head

PULLED = {
    "schema_version": 1,
    "reference": "aimehub/pytorch-2.8.0",
    "id": "sha256:1",
    "size_bytes": 3 * 1024**3,
    "was_current": False,
    "reason": "NVIDIA A100 with a driver for CUDA 12.6; newest for CUDA_ADA",
}


def pulled(*messages: dict[str, object]) -> bytes:
    return stream_head() + b"".join(map(line, messages)) + chunk(b"")


@pytest.mark.parametrize("verb", ["catalogue", "catalog"])
def test_the_catalogue_is_printed_for_people_and_programs(verb: str, daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/catalogue"] = catalogue(("Pytorch", "2.8.0"), ("Mxnet", ""))
    lines = [text.split() for text in ds01("image", verb).out.splitlines()]
    assert lines[0] == ["FRAMEWORK", "VERSION", "FOR", "IMAGE", "ENGINE", "ORIGIN"]
    assert lines[1] == ["Pytorch", "2.8.0", "CUDA_ADA,", "CUDA_AMPERE", "aimehub/pytorch-2.8.0", "unknown", "shipped"]
    assert ds01("image", verb, "-q").out == "aimehub/pytorch-2.8.0\n"
    rows = ds01("image", verb, "--format", "csv").out.splitlines()
    assert rows[1] == "Pytorch,2.8.0,CUDA_ADA;CUDA_AMPERE,aimehub/pytorch-2.8.0,shipped,True,True,"
    assert ds01("image", verb, "--json").document["left_out"] == 7


def test_what_was_typed_for_the_catalogue_reaches_the_daemon(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/catalogue"] = catalogue(("Pytorch", "2.8.0"))
    ds01("image", "catalogue", "--framework", "pytorch", "--arch", "CUDA_ADA", "--all")
    assert daemon.asked()[-1] == "GET /v1/catalogue?framework=pytorch&architecture=CUDA_ADA&all=true"


@pytest.mark.parametrize(
    ("words", "environment", "architecture"),
    [
        ((), {}, None),
        ((), {"MLC_ARCH": "CUDA_ADA"}, "CUDA_ADA"),
        ((), {"MLC_ARCH": "", "DS01_ARCH": ""}, None),
        ((), {"MLC_ARCH": "CUDA", "DS01_ARCH": "CUDA_ADA"}, "CUDA_ADA"),
        (("--arch", "CUDA_AMPERE"), {"MLC_ARCH": "CUDA", "DS01_ARCH": "CUDA_ADA"}, "CUDA_AMPERE"),
    ],
)
def test_the_option_wins_over_the_environment_and_that_over_the_machine(
    words: tuple[str, ...], environment: dict[str, str], architecture: str | None, daemon: ScriptedDaemon, ds01: Ds01
) -> None:
    daemon.answers["POST /v1/containers"] = creation(CREATED)
    daemon.answers["POST /v1/images/pull"] = pulled({"kind": "result", "image": PULLED})
    ds01("create", "a", "pytorch", *words, **environment)
    ds01("image", "pull", "pytorch", *words, **environment)
    asked = [request.document().get("architecture") for request in daemon.requests if request.method == "POST"]
    assert asked == [architecture] * 2


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["pytorch"], {"framework": "pytorch"}),
        (["pytorch", "2.8.0"], {"framework": "pytorch", "version": "2.8.0"}),
        (["ubuntu:24.04"], {"reference": "ubuntu:24.04"}),
        (["aimehub/x"], {"reference": "aimehub/x"}),
    ],
)
def test_frameworks_and_references_are_pulled(
    words: list[str], body: dict[str, object], daemon: ScriptedDaemon, ds01: Ds01
) -> None:
    step = {"kind": "pull", "layer": "a", "current_bytes": 1, "total_bytes": 2}
    daemon.answers["POST /v1/images/pull"] = pulled(
        {"kind": "step", "message": "Pulling"}, step, {"kind": "result", "image": PULLED}
    )
    outcome = ds01("image", "pull", *words)
    assert (outcome.status, outcome.out, outcome.err) == (0, "aimehub/pytorch-2.8.0\n", "")
    assert daemon.requests[-1].document() == body
    assert ds01("image", "pull", *words, "--json").document == PULLED


@pytest.mark.parametrize(("words", "word"), [([], "ds01 image pull pytorch"), (["ubuntu:24.04", "1"], "version")])
def test_a_pull_of_nothing_or_of_two_things_is_refused(
    words: list[str], word: str, daemon: ScriptedDaemon, ds01: Ds01
) -> None:
    outcome = ds01("image", "pull", *words)
    assert outcome.status == 2
    assert word in outcome.err
    assert daemon.requests == []


def test_a_pull_that_fails_halfway_says_why(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    failure = problem(502, "backend_failed", "The registry broke off.").partition(b"\r\n\r\n")[2].decode()
    head = stream_head() + line({"kind": "step", "message": "Pulling"})
    daemon.answers["POST /v1/images/pull"] = head + chunk(
        b'{"kind": "problem", "problem": ' + failure.encode() + b"}\n"
    )
    outcome = ds01("image", "pull", "pytorch")
    assert outcome.status == 7
    assert "The registry broke off." in outcome.err


def test_a_stream_without_a_result_is_no_success(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["POST /v1/images/pull"] = pulled({"kind": "step", "message": "Pulling"})
    assert ds01("image", "pull", "pytorch").status == 7


def test_a_catalogue_that_is_not_well_is_a_degraded_status(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    document = ds01("status", "--json").document
    document["catalogue"] = {"ok": False, "rows": 118, "message": "site.csv:2: the row has 3 columns, not 4."}
    daemon.answers["GET /v1/status"] = ok(document)
    outcome = ds01("status")
    assert outcome.status == 7
    assert "118 images: site.csv:2" in outcome.out
