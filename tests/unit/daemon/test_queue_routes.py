"""The routes about waiting on a real socket: who sees what, who may do what, what somebody who watches is told."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ds01.domain.containers.container import ContainerState
from ds01.domain.rules.site import Access
from tests.fakes import ROOT
from tests.unit.daemon.house import House, open_house
from tests.unit.daemon.test_routes import ask, eventually
from tests.unit.service.queueing import LIMITS, QueueStage
from tests.unit.service.stage import BOB_CALLER, IMAGE

LINES = "application/x-ndjson"
BODY = {"name": "mine", "image": IMAGE}


async def full_stage(shown: str = "users", number: int = 1) -> QueueStage:
    """A machine whose GPUs bob holds."""
    stage = QueueStage.with_gpus(number)
    access = replace(Access(), show_holders=shown)
    stage.policy = replace(stage.policy, site=replace(stage.policy.site, access=access))
    stage.boot()
    for index in range(number):
        await stage.create(f"theirs{index or ''}", caller=BOB_CALLER, kind="full")
        await stage.start(f"theirs{index or ''}", caller=BOB_CALLER)
    return stage


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, stage=await full_stage()) as house:
        yield house


async def enqueue(house: House, **more: object) -> Any:
    """Ask for a container without watching; return its request."""
    answer = await house.ask("POST", "/v1/containers", {**BODY, "wait": True, **more})
    assert answer.status == 200, answer.body
    return answer.document["request"]


async def serve(house: House) -> None:
    stage = house.stage
    assert isinstance(stage, QueueStage)
    await stage.serve()


async def free(house: House) -> None:
    """Bob gives his GPU back."""
    await house.stage.stop("theirs", caller=BOB_CALLER)
    await serve(house)


async def test_a_request_keeps_its_place_and_is_listed_shown_and_explained(house: House) -> None:
    request = await enqueue(house, time_limit_s=3600)
    assert (request["state"], request["container"], request["mine"]) == ("waiting", "mine", True)
    assert (request["time_limit_s"], request["estimate"]["place"]) == (3600.0, 1)
    listed = await ask(house, "list_queue", "/v1/queue")
    assert [found["id"] for found in listed["requests"]] == [request["id"]]
    assert listed["waiting"] == 1
    assert "GPU" in listed["requests"][0]["reason"]
    for target in (f"/v1/queue/{request['id']}", f"/v1/queue/{request['id'][:6]}", "/v1/queue/mine"):
        why = await ask(house, "explain_request", target)
        assert why["answer"] == "mine waits for 1 GPU."
    by_name = await ask(house, "explain_container", "/v1/containers/mine/why")
    assert by_name == why
    [holder] = why["causes"][0]["holders"]
    assert (holder["owner"], holder["container"], holder["address"], holder["mine"]) == ("bob", "theirs", "0", False)
    containers = await ask(house, "list_containers", "/v1/containers")
    assert [found["container"] for found in containers["waiting"]] == ["mine"]
    status = await ask(house, "get_status", "/v1/status")
    assert status["queue"] == {"waiting": 1, "yours": 1, "reservations": 0}


async def test_the_container_is_there_when_the_gpu_is_free_although_nobody_watches(house: House) -> None:
    await enqueue(house)
    await free(house)
    listed = await ask(house, "list_containers", "/v1/containers")
    assert [(found["name"], found["state"]) for found in listed["containers"]] == [("mine", "created")]
    assert "waiting" not in listed
    assert (await ask(house, "list_queue", "/v1/queue"))["requests"] == []


async def watching(house: House, body: object, target: str = "/v1/containers") -> "asyncio.Task[Any]":
    """Begin a request that is watched, and wait until it waits."""
    task = asyncio.create_task(house.ask("POST", target, body, accept=LINES))
    async with asyncio.timeout(5):
        while not await house.stage.services.queue.list_():  # noqa: ASYNC110 - the store has no event
            await asyncio.sleep(0.001)
    return task


async def test_somebody_who_watches_is_told_the_place_then_the_steps_then_the_result(house: House) -> None:
    task = await watching(house, {**BODY, "wait": True})
    await serve(house)
    await free(house)
    lines = (await task).lines
    kinds = [line["kind"] for line in lines]
    assert kinds[0] == "waiting"
    assert kinds[-1] == "result"
    assert lines[0]["waiting"]["container"] == "mine"
    assert (lines[0]["waiting"]["estimate"]["place"], lines[0]["waiting"]["waiting"]) == (1, 1)
    assert {"kind": "step", "message": "The GPUs are granted."} in lines
    assert lines[-1]["result"]["container"]["gpus"][0]["uuid"] == "GPU-0"


async def test_what_fits_now_is_made_at_once_also_when_it_might_wait(tmp_path: Path) -> None:
    async with open_house(tmp_path, stage=QueueStage.with_gpus(1)) as house:
        answer = await house.ask("POST", "/v1/containers", {**BODY, "wait": True}, accept=LINES)
        assert answer.lines[-1]["kind"] == "result"
        assert "waiting" not in {line["kind"] for line in answer.lines}


async def test_who_leaves_keeps_the_place_and_the_same_words_return_to_it(house: House) -> None:
    body = json.dumps({**BODY, "wait": True}).encode()
    head = f"POST /v1/containers HTTP/1.1\r\nHost: x\r\nAccept: {LINES}\r\nContent-Length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_unix_connection(str(house.path))
    writer.write(head.encode() + body)
    await reader.readuntil(b'"waiting"')
    writer.close()
    await eventually(lambda: house.server.requests_under_way == 0)
    [kept] = (await ask(house, "list_queue", "/v1/queue"))["requests"]
    again = await enqueue(house)
    assert again["id"] == kept["id"]
    task = await watching(house, {**BODY, "wait": True, "time_limit_s": 60})
    await free(house)
    assert (await task).lines[-1]["kind"] == "result"


async def test_other_words_for_a_name_that_waits_are_refused(house: House) -> None:
    await enqueue(house)
    for changed in ({"gpu": {"kind": "full"}}, {"exclusive": True}, {"workspace": "/home/alice/x"}):
        answer = await house.ask("POST", "/v1/containers", {**BODY, "wait": True, **changed})
        assert (answer.status, "waits already" in answer.document["detail"]) == (409, True)
    answer = await house.ask("POST", "/v1/containers", BODY)
    assert (answer.status, "ds01 queue cancel mine" in answer.document["hint"]) == (409, True)


async def test_a_wait_that_is_over_says_so_and_gives_the_place_up(house: House) -> None:
    task = await watching(house, {**BODY, "wait": True, "wait_s": 60})
    house.stage.clock.advance(timedelta(seconds=61))
    await serve(house)
    house.stage.services.bell.ring()
    house.stage.services.starter.progress.ring_all()
    assert (await task).lines[-1] == {"kind": "gave_up"}
    assert (await ask(house, "list_queue", "/v1/queue"))["requests"] == []


async def test_a_request_that_is_cancelled_elsewhere_ends_for_who_watches(house: House) -> None:
    task = await watching(house, {**BODY, "wait": True})
    gone = await ask(house, "cancel_request", "/v1/queue/mine")
    assert (gone["container"], gone["owner"]) == ("mine", "alice")
    last = (await task).lines[-1]
    assert (last["problem"]["code"], "cancelled by alice" in last["problem"]["detail"]) == ("conflict", True)
    assert (await house.ask("DELETE", "/v1/queue/mine")).status in {404, 409}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"wait_s": 5}, "wait_s goes with wait"),
        ({"wait": True, "wait_s": 0}, "wait_s"),
        ({"wait": True, "wait_s": -1}, "wait_s"),
        ({"wait": True, "wait_s": 1e12}, "wait_s"),
        ({"wait": True, "not_before": "tomorrow"}, "not a time"),
        ({"wait": True, "not_before": "2030-01-01T10:00:00"}, "no time zone"),
        ({"not_before": "2030-01-01T10:00:00Z"}, "place in the queue"),
        ({"time_limit_s": 0}, "time_limit_s"),
        ({"time_limit_s": 1e300}, "time_limit_s"),
        ({"wait": True, "gpu": {"count": 2}}, "2 GPUs"),
        ({"wait": True, "gpu": {"kind": "1g.99gb"}}, "1g.99gb"),
        ({"wait": True, "gpu": {"memory_bytes": 2**50}}, "memory"),
    ],
)
async def test_what_can_never_be_does_not_get_a_place(house: House, body: dict[str, object], said: str) -> None:
    answer = await house.ask("POST", "/v1/containers", {**BODY, **body})
    assert answer.status == 400, answer.body
    assert said in answer.document["detail"]
    assert (await ask(house, "list_queue", "/v1/queue"))["waiting"] == 0


async def test_a_time_above_the_policys_is_refused_with_both(tmp_path: Path) -> None:
    stage = QueueStage.with_gpus(1, replace(LIMITS, time_limit=timedelta(hours=8)))
    async with open_house(tmp_path, stage=stage) as house:
        answer = await house.ask("POST", "/v1/containers", {**BODY, "wait": True, "time_limit_s": 9 * 3600})
        assert (answer.status, answer.document["code"]) == (403, "quota_exceeded")
        assert "9h" in answer.document["detail"]
        assert "8h" in answer.document["detail"]
        assert (await enqueue(house, time_limit_s=8 * 3600))["time_limit_s"] == 8 * 3600


async def test_the_nearest_kind_is_proposed_and_the_most_that_can_be_said(tmp_path: Path) -> None:
    async with open_house(tmp_path, stage=await full_stage(number=2)) as house:
        typo = await house.ask("POST", "/v1/containers", {**BODY, "wait": True, "gpu": {"kind": "ful"}})
        assert (typo.status, "full" in typo.document["hint"]) == (400, True)
        mig = await house.ask("POST", "/v1/containers", {**BODY, "wait": True, "gpu": {"kind": "1g.5gb"}})
        assert (mig.status, "there are: full" in mig.document["detail"]) == (400, True)
        large = await house.ask("POST", "/v1/containers", {**BODY, "wait": True, "gpu": {"memory_bytes": 2**40}})
        assert (large.status, "--gpu-memory" in large.document["hint"]) == (400, True)


async def test_a_dry_run_of_a_creation_that_would_wait_says_so_and_takes_no_place(house: House) -> None:
    planned = await house.ask("POST", "/v1/containers", {**BODY, "wait": True, "dry_run": True})
    assert planned.status == 200, planned.body
    assert planned.document["dry_run"] is True
    assert planned.document["reasons"][0] == "it would wait: place 1"
    assert "GPU" in planned.document["reasons"][1]
    assert (await house.ask("POST", "/v1/containers", {**BODY, "dry_run": True})).status == 409
    assert (await ask(house, "list_queue", "/v1/queue"))["waiting"] == 0


async def test_a_clock_that_is_set_back_keeps_the_place_and_the_promise(house: House) -> None:
    request = await enqueue(house, time_limit_s=3600)
    for hours in (-5, 10):
        house.stage.clock.advance(timedelta(hours=hours))
        await serve(house)
        [found] = (await ask(house, "list_queue", "/v1/queue"))["requests"]
        assert (found["id"], found["estimate"]["place"]) == (request["id"], 1)
    await free(house)
    assert (await ask(house, "list_containers", "/v1/containers"))["containers"][0]["name"] == "mine"


async def test_a_reservation_that_does_not_exist_is_not_found(house: House) -> None:
    answer = await house.ask("POST", "/v1/containers", {**BODY, "wait": True, "reservation": "nothing"})
    assert answer.status == 404


async def test_a_refusal_says_what_waiting_would_bring_and_what_would_help(tmp_path: Path) -> None:
    stage = await full_stage(number=2)
    await stage.stop("theirs1", caller=BOB_CALLER)
    async with open_house(tmp_path, stage=stage) as house:
        body = {**BODY, "gpu": {"count": 2}}
        answer = await house.ask("POST", "/v1/containers", body)
        assert answer.document["code"] == "no_capacity"
        details = answer.document["details"]
        assert details["estimate"]["place"] == 1
        found = {item["kind"]: item for item in details["why"]["counterfactuals"]}
        assert found["fewer_gpus"]["command"] == f"ds01 create mine --image {IMAGE} --gpus 1"
        streamed = await house.ask("POST", "/v1/containers", body, accept=LINES)
        assert streamed.lines[-1]["problem"]["details"]["why"]["causes"]
        made = await house.ask("POST", "/v1/containers", {**BODY, "gpu": {"count": 1}})
        assert made.status == 200


# --- others -----------------------------------------------------------------------------------------------------------


async def others_request(stage: QueueStage) -> str:
    return (await stage.enqueue("next", caller=BOB_CALLER)).id


@pytest.mark.parametrize(
    ("shown", "owner", "group", "container"),
    [("users", "bob", "student", "next"), ("groups", "", "student", ""), ("none", "", "", "")],
)
async def test_of_others_the_queue_shows_what_the_site_allows(
    tmp_path: Path, shown: str, owner: str, group: str, container: str
) -> None:
    async with open_house(tmp_path, stage=await full_stage(shown)) as house:
        stage = house.stage
        assert isinstance(stage, QueueStage)
        request_id = await others_request(stage)
        stage.clock.advance(timedelta(seconds=1))
        own = await enqueue(house)
        assert [found["id"] for found in (await ask(house, "list_queue", "/v1/queue"))["requests"]] == [own["id"]]
        every = {found["id"]: found for found in (await ask(house, "list_queue", "/v1/queue?all=1"))["requests"]}
        theirs, mine = every[request_id], every[own["id"]]
        assert (theirs["owner"], theirs["container"]) == (owner, container)
        assert theirs["mine"] is False
        assert theirs["reason"] == ""
        assert (theirs["owner_uid"] is None) == (owner == "")
        assert mine["container"] == "mine"
        why = await ask(house, "explain_request", "/v1/queue/mine")
        [holder] = why["causes"][0]["holders"]
        assert (holder["owner"], holder["container"]) == (owner, "theirs" if owner else "")
        device = await ask(house, "explain_gpu", "/v1/gpus/0/why")
        [gpu] = (await ask(house, "list_gpus", "/v1/gpus"))["gpus"]
        for found in (device["causes"][0]["holders"][0], gpu["holders"][0]):
            assert (found["owner"], found["container"]) == (owner, "theirs" if owner else "")
        if not owner:
            everything = json.dumps([why, device, gpu, theirs])
            assert "bob" not in everything
            assert "theirs" not in everything
        assert device["gpu"] == gpu
        assert group in {"", theirs["group"], "student"}


async def test_nobody_cancels_moves_or_explains_the_request_of_another(house: House) -> None:
    stage = house.stage
    assert isinstance(stage, QueueStage)
    request_id = await others_request(stage)
    assert (await house.ask("DELETE", "/v1/queue/next")).status == 404
    for method, target, body in (
        ("DELETE", f"/v1/queue/{request_id}", None),
        ("GET", f"/v1/queue/{request_id}", None),
        ("POST", f"/v1/queue/{request_id}/move", {"place": "first"}),
        ("DELETE", "/v1/queue/next?uid=1002", None),
    ):
        answer = await house.ask(method, target, body)
        assert answer.status == 403, (target, answer.body)
    assert (await stage.entries())["next"] == "waiting"
    own = await enqueue(house)
    assert (await house.ask("POST", f"/v1/queue/{own['id']}/move", {"place": "first"})).status == 403


async def test_an_administrator_moves_and_cancels_for_others(tmp_path: Path) -> None:
    async with open_house(tmp_path, stage=await full_stage(), user=ROOT) as house:
        stage = house.stage
        assert isinstance(stage, QueueStage)
        first = await others_request(stage)
        stage.clock.advance(timedelta(seconds=1))
        second = (await stage.enqueue("later", caller=BOB_CALLER)).id
        await stage.serve()
        moved = await ask(house, "move_request", f"/v1/queue/{second}/move", {"place": "first", "reason": "exam"})
        assert (moved["request"]["id"], moved["request"]["moved"]) == (second, True)
        order = [found["id"] for found in (await ask(house, "list_queue", "/v1/queue?all=1"))["requests"]]
        assert order == [second, first]
        await ask(house, "move_request", f"/v1/queue/{second}/move", {"place": "last"})
        back = await ask(house, "move_request", f"/v1/queue/{second[:6]}/move", {"place": "before", "before": first})
        assert back["request"]["estimate"]["place"] == 1
        nobody = {"place": "before", "before": "9" * 16}
        for wrong in ({"place": "before"}, {"place": "first", "before": first}, nobody):
            assert (await house.ask("POST", f"/v1/queue/{first}/move", wrong)).status == 400
        gone = await ask(house, "cancel_request", "/v1/queue/next?uid=1002")
        assert (gone["id"], gone["owner"]) == (first, "bob")
        names = await stage.events()
        assert {"request.moved", "request.cancelled"} <= set(names)


# --- containers and devices -------------------------------------------------------------------------------------------


async def test_why_of_a_container_says_what_it_has_or_what_its_start_waits_for(tmp_path: Path) -> None:
    stage = QueueStage.with_gpus(1)
    await stage.create("mine", kind="full")
    await stage.start("mine")
    async with open_house(tmp_path, stage=stage) as house:
        has = await ask(house, "explain_container", "/v1/containers/mine/why")
        assert (has["subject"], has["blocked"]) == ("container", False)
        assert has["answer"] == "mine waits for nothing: it has GPU 0."
        await stage.stop("mine")
        free_again = await ask(house, "explain_container", "/v1/containers/mine/why")
        assert "ds01 start mine" in free_again["answer"]
        await stage.create("theirs", caller=BOB_CALLER, kind="full")
        await stage.start("theirs", caller=BOB_CALLER)
        blocked = await ask(house, "explain_container", "/v1/containers/mine/why")
        assert blocked["blocked"] is True
        assert blocked["causes"][0]["holders"][0]["container"] == "theirs"
        refused = await house.ask("POST", "/v1/containers/mine/start", {})
        assert refused.document["code"] == "no_capacity"
        waits = await house.ask("POST", "/v1/containers/mine/start", {"wait": True})
        assert waits.document["request"]["container"] == "mine"
        assert waits.document["container"]["state"] == ContainerState.EXITED.value
        task = asyncio.create_task(house.ask("POST", "/v1/containers/mine/start", {"wait": True}, accept=LINES))
        await eventually(lambda: house.server.requests_under_way == 1)
        await stage.stop("theirs", caller=BOB_CALLER)
        await serve(house)
        last = (await task).lines[-1]
        assert (last["kind"], last["started"]["container"]["state"]) == ("result", "running")
        again = await house.ask("POST", "/v1/containers/mine/start", {"wait": True}, accept=LINES)
        assert again.lines[-1]["started"]["was_running"] is True


async def test_why_of_a_device_names_the_known_ones_when_it_does_not_exist(house: House) -> None:
    for target in ("/v1/gpus/0/why", "/v1/gpus/GPU-0/why"):
        found = await ask(house, "explain_gpu", target)
        assert (found["name"], found["blocked"], found["answer"]) == ("0", True, "GPU 0 cannot be granted now.")
    missing = await house.ask("GET", "/v1/gpus/7/why")
    assert (missing.status, "there are: 0" in missing.document["detail"]) == (404, True)
    await house.stage.stop("theirs", caller=BOB_CALLER)
    assert (await ask(house, "explain_gpu", "/v1/gpus/0/why"))["blocked"] is False
