"""`ds01 admin mig`."""

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Ds01
from tests.unit.scripted_daemon import ScriptedDaemon, ok, problem

STEPS = [{"step": "destroy 1g.5gb at 0", "reason": "it is not in the new layout"}]


def card(**more: object) -> dict[str, object]:
    return {
        "uuid": "GPU-0",
        "address": "0",
        "model": "NVIDIA A100",
        "layout": "static",
        "instances": ["3g.20gb"],
        "steps": STEPS,
        "blockers": [],
        "needs_reset": False,
        "note": "",
        **more,
    }


def answer(*cards: dict[str, object], applied: bool = False) -> bytes:
    return ok({"schema_version": 1, "applied": applied, "cards": list(cards)})


@pytest.fixture
def layout(tmp_path: Path) -> str:
    path = tmp_path / "layout.yaml"
    path.write_text("gpus: {0: {mig: true, instances: [3g.20gb]}}\n", encoding="utf-8")
    return str(path)


def test_a_plan_shows_every_step_with_its_reason(ds01: Ds01, daemon: ScriptedDaemon, layout: str) -> None:
    daemon.answers["POST /v1/mig"] = answer(card())
    outcome = ds01("admin", "mig", "plan", layout)
    assert outcome.status == 0
    assert "destroy 1g.5gb at 0" in outcome.out
    assert "it is not in the new layout" in outcome.out
    sent = daemon.requests[-1].document()
    assert sent == {"text": Path(layout).read_text(encoding="utf-8"), "name": "layout.yaml", "dry_run": True}


def test_a_plan_with_somebody_in_the_way_ends_with_8_and_names_them(
    ds01: Ds01, daemon: ScriptedDaemon, layout: str
) -> None:
    daemon.answers["POST /v1/mig"] = answer(card(blockers=["job of alice (active)", "the process 7"]))
    outcome = ds01("admin", "mig", "plan", layout)
    assert outcome.status == 8
    assert "GPU 0: in the way: job of alice (active)" in outcome.err
    assert "the process 7" in outcome.err


def test_what_waits_for_a_reset_is_said_with_the_command(ds01: Ds01, daemon: ScriptedDaemon, layout: str) -> None:
    daemon.answers["POST /v1/mig"] = answer(card(needs_reset=True, note="then apply this again"), applied=True)
    outcome = ds01("admin", "mig", "apply", layout, "-y")
    assert outcome.status == 0
    assert "nvidia-smi --gpu-reset -i 0" in outcome.err
    assert "then apply this again" in outcome.err
    assert daemon.requests[-1].document()["dry_run"] is False


def test_nothing_to_do_is_said(ds01: Ds01, daemon: ScriptedDaemon, layout: str) -> None:
    daemon.answers["POST /v1/mig"] = answer(card(steps=[]))
    outcome = ds01("admin", "mig", "apply", layout, "--dry-run")
    assert outcome.status == 0
    assert "Nothing to do" in outcome.err
    assert daemon.requests[-1].document()["dry_run"] is True


def test_json_is_the_document(ds01: Ds01, daemon: ScriptedDaemon, layout: str) -> None:
    daemon.answers["POST /v1/mig"] = answer(card(blockers=["x"]))
    outcome = ds01("admin", "mig", "plan", layout, "--json")
    assert outcome.status == 8
    assert outcome.document["cards"][0]["blockers"] == ["x"]


def test_a_refusal_is_passed_on(ds01: Ds01, daemon: ScriptedDaemon, layout: str) -> None:
    daemon.answers["POST /v1/mig"] = problem(409, "conflict", "The layout cannot be changed: GPU 0: job of alice.")
    outcome = ds01("admin", "mig", "apply", layout, "-y")
    assert outcome.status == 8
    assert "job of alice" in outcome.err


def test_a_file_that_is_not_there_or_is_no_text_is_refused(ds01: Ds01, tmp_path: Path) -> None:
    assert ds01("admin", "mig", "plan", str(tmp_path / "none.yaml")).status == 3
    assert ds01("admin", "mig", "plan", str(tmp_path)).status == 2
    (tmp_path / "bad.yaml").write_bytes(b"gpus:\n\xff")
    outcome = ds01("admin", "mig", "plan", str(tmp_path / "bad.yaml"))
    assert outcome.status == 2
    assert "bad.yaml:2: the file is not UTF-8" in outcome.err
