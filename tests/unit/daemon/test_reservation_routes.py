"""The routes about reservations and the timeline: who may make which, what is refused, whose names show."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ds01.domain.rules.site import Access
from tests.fakes import ROOT
from tests.unit.daemon.house import House, open_house
from tests.unit.daemon.test_queue_routes import BODY, full_stage
from tests.unit.daemon.test_routes import ask
from tests.unit.service.queueing import QueueStage
from tests.unit.service.stage import BOB_CALLER


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, stage=await full_stage()) as house:
        yield house


def window(house: House, begin: float, end: float, **more: object) -> dict[str, object]:
    """Return the body of a reservation, in hours from now."""
    now = house.stage.clock.now()
    start_at, end_at = ((now + timedelta(hours=hours)).isoformat() for hours in (begin, end))
    return {"start_at": start_at, "end_at": end_at, "name": "exam", "reason": "written exam", **more}


async def test_a_reservation_is_made_shown_used_and_cancelled(tmp_path: Path) -> None:
    async with open_house(tmp_path, stage=QueueStage.with_gpus(2)) as house:
        before = await house.stage.picture()
        planned = await ask(house, "create_reservation", "/v1/reservations", window(house, 0, 8, dry_run=True))
        assert (planned["dry_run"], planned["reservation"]["name"]) == (True, "exam")
        assert await house.stage.picture() == before
        made = await ask(house, "create_reservation", "/v1/reservations", window(house, 0, 8, kind="FULL"))
        found = made["reservation"]
        assert (found["owner"], found["mine"], found["gpus"], found["kind"]) == ("alice", True, 1, "full")
        assert (found["state"], found["reason"], found["origin"]) == ("active", "written exam", "command")
        listed = await ask(house, "list_reservations", "/v1/reservations")
        assert [item["id"] for item in listed["reservations"]] == [found["id"]]
        created = await house.ask("POST", "/v1/containers", {**BODY, "reservation": "exam", "gpu": {"kind": "full"}})
        assert created.status == 200, created.body
        for text in ("exam", found["id"], found["id"][:6]):
            assert (await ask(house, "get_reservation", f"/v1/reservations/{text}"))["containers"] == ["mine"]
        timeline = await ask(house, "get_timeline", "/v1/timeline")
        assert [row["address"] for row in timeline["rows"]][:2] == ["0", "1"]
        spans = [span for row in timeline["rows"] for span in row["spans"]]
        assert {(span["kind"], span["name"], span["mine"]) for span in spans} >= {("grant", "mine", True)}
        status = await ask(house, "get_status", "/v1/status")
        assert status["queue"]["reservations"] == 1
        gone = await ask(house, "cancel_reservation", "/v1/reservations/exam")
        assert gone["reservation"]["state"] == "cancelled"
        assert (await ask(house, "list_reservations", "/v1/reservations"))["reservations"] == []
        over = await ask(house, "list_reservations", "/v1/reservations?over=1")
        assert [item["state"] for item in over["reservations"]] == ["cancelled"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"start_at": "2030-01-01T10:00"}, 400),
        ({"start_at": "soon"}, 400),
        ({"start_at": "2020-01-01T10:00Z"}, 400),
        ({"end_at": "2020-01-01T10:00Z"}, 400),
        ({"gpus": 0}, 400),
        ({"gpus": -1}, 400),
        ({"gpus": 99}, 400),
        ({"kind": "1g.99gb"}, 400),
        ({"memory_bytes": 2**50}, 400),
        ({"name": "No Name"}, 400),
        ({"user": "alice", "group": "student"}, 400),
        ({"user": "nobody-here"}, 404),
        ({"user": "bob"}, 403),
        ({"group": "student"}, 403),
    ],
)
async def test_a_reservation_that_cannot_be_is_refused_with_the_reason(
    house: House, changes: dict[str, object], status: int
) -> None:
    answer = await house.ask("POST", "/v1/reservations", window(house, 1, 2, **changes))
    assert answer.status == status, answer.body
    assert (await ask(house, "list_reservations", "/v1/reservations?all=1&over=1"))["reservations"] == []


@pytest.mark.parametrize(("shown", "name"), [("users", "theirs"), ("groups", ""), ("none", "")])
async def test_what_is_in_the_way_is_named_as_far_as_the_site_shows_it(tmp_path: Path, shown: str, name: str) -> None:
    async with open_house(tmp_path, stage=await full_stage(shown)) as house:
        answer = await house.ask("POST", "/v1/reservations", window(house, 0, 2))
        assert answer.status == 409, answer.body
        [conflict] = answer.document["details"]["conflicts"]
        assert (conflict["what"], conflict["name"], conflict["gpus"]) == ("grant", name, 1)
        assert ("theirs" in json.dumps(answer.document)) == bool(name)
        timeline = await ask(house, "get_timeline", "/v1/timeline")
        [span] = timeline["rows"][0]["spans"]
        assert (span["kind"], span["name"], span["mine"]) == ("grant", name, False)


async def test_a_reservation_that_ends_up_beside_a_grant_that_ends_a_moment_before_names_it(tmp_path: Path) -> None:
    stage = QueueStage.with_gpus(1)
    await stage.enqueue("theirs", caller=BOB_CALLER, hours=1)
    await stage.serve()
    async with open_house(tmp_path, stage=stage) as house:
        answer = await house.ask("POST", "/v1/reservations", window(house, 1.01, 2))
        assert answer.status == 409
        assert [item["name"] for item in answer.document["details"]["conflicts"]] == ["theirs"]
        assert (await house.ask("POST", "/v1/reservations", window(house, 1.1, 2))).status == 200
        again = await house.ask("POST", "/v1/reservations", window(house, 1.5, 3, name="other"))
        assert again.status == 409
        assert [item["name"] for item in again.document["details"]["conflicts"]] == ["exam"]


async def test_others_reservations_show_their_window_and_nobody_cancels_them(tmp_path: Path) -> None:
    stage = QueueStage.with_gpus(2)
    access = replace(Access(), show_holders="none")
    stage.policy = replace(stage.policy, site=replace(stage.policy.site, access=access))
    (tmp_path / "root").mkdir()
    async with open_house(tmp_path / "root", stage=stage, user=ROOT) as house:
        made = await ask(house, "create_reservation", "/v1/reservations", window(house, 1, 2, user="bob"))
        assert made["reservation"]["owner"] == "bob"
    stage = house.stage  # type: ignore[assignment]  # the same stage, served to alice now
    async with open_house(tmp_path, stage=stage) as house:
        assert (await ask(house, "list_reservations", "/v1/reservations"))["reservations"] == []
        [found] = (await ask(house, "list_reservations", "/v1/reservations?all=1"))["reservations"]
        assert (found["name"], found["owner"], found["reason"], found["created_by"]) == ("", "", "", "")
        assert found["start_at"] == made["reservation"]["start_at"]
        answer = await house.ask("DELETE", f"/v1/reservations/{found['id']}")
        assert answer.status == 403
        assert (await house.ask("DELETE", "/v1/reservations/exam")).status == 404
        assert (await house.ask("GET", "/v1/reservations/exam")).status == 404
        assert "exam" not in json.dumps(answer.document)


async def test_a_timeline_without_a_length_is_refused(house: House) -> None:
    for query in ("to_at=2020-01-01T00:00Z", "from_at=2030-01-02T00:00Z&to_at=2030-01-01T00:00Z", "from_at=x"):
        assert (await house.ask("GET", f"/v1/timeline?{query}")).status == 400
