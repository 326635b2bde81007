"""The routes of drift and re-creation: what is told, the steps, the refusals."""

from pathlib import Path

from tests.unit.daemon.house import open_house
from tests.unit.daemon.test_queue_routes import LINES
from tests.unit.daemon.test_routes import ask
from tests.unit.service.test_drift import stage_with_packages, work
from tests.unit.service.test_recreation import built_anew


async def test_what_was_installed_is_told_with_what_stays_behind(tmp_path: Path) -> None:
    stage = stage_with_packages()
    container = await stage.create()
    work(stage.engine.containers[container].tree)
    async with open_house(tmp_path, stage=stage) as house:
        document = await ask(house, "get_drift", "/v1/containers/demo/drift")
        assert [(one["tool"], one["name"], one["line"]) for one in document["changes"]] == [
            ("pip", "numpy", "numpy==2.1"),
            ("pip", "rich", "rich==13"),
            ("apt", "ffmpeg", "ffmpeg"),
            ("pip", "gone", ""),
        ]
        assert [one["what"] for one in document["left_out"]] == [
            "mine",
            "/home/alice/.netrc",
            "/home/alice/weights.bin",
        ]
        assert (document["own_image"], document["framework"], document["notes"]) == ("", "", [])
        assert (await house.ask("GET", "/v1/containers/nothing/drift")).status == 404
        assert (await house.ask("GET", "/v1/containers/demo/drift?uid=1002")).status == 403


async def test_a_recreation_says_what_it_would_do_and_tells_its_steps(tmp_path: Path) -> None:
    stage = await built_anew(runs=True)
    async with open_house(tmp_path, stage=stage) as house:
        target = "/v1/containers/demo/recreate"
        planned = await ask(house, "recreate_container", target, {"dry_run": True})
        assert (planned["dry_run"], planned["is_current"], planned["was_running"]) == (True, False, True)
        refused = await house.ask("POST", target, {})
        assert (refused.status, refused.document["code"]) == (409, "conflict")
        told = await house.ask("POST", target, {"stop": True}, accept=LINES)
        assert [message["kind"] for message in told.lines] == ["step", "step", "step", "result"]
        made = told.lines[-1]["recreated"]
        assert (made["state"], made["is_current"], made["dry_run"]) == ("running", False, False)
        again = await ask(house, "recreate_container", target, {"image": "thesis", "stop": True})
        assert again["is_current"]
        assert (await house.ask("POST", target, {"image": "nothing", "stop": True})).status == 404
        assert (await house.ask("POST", "/v1/containers/nothing/recreate", {})).status == 404
