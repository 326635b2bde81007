"""Every route has a handler, and every answer is exactly the document that the table promises."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints, is_typeddict

import msgspec
import pytest

from ds01 import VERSION
from ds01.api import schema
from ds01.api.openapi import build_openapi
from ds01.api.route import Route
from ds01.api.routes import ROUTES
from ds01.domain import label
from ds01.domain.containers.container import ContainerState
from ds01.domain.devices.attachment import AttachmentFacts, DeviceRequest
from ds01.domain.devices.gpu import DeviceSample, GpuProcess
from ds01.errors import BackendError
from tests.fakes import ALICE, BOB, ROOT
from tests.unit.daemon.house import Answer, House, open_house
from tests.unit.service.docker_made import docker_made
from tests.unit.service.stage import ADMIN_CALLER, BOB_CALLER, IMAGE

BY_NAME = {route.name: route for route in ROUTES}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as house:
        yield house


def require_document(answer: Answer, kind: Any) -> Any:
    """The answer has the right types, every field that must be there, and none that is unknown."""
    assert answer.status == 200, answer.body
    msgspec.convert(answer.document, kind, strict=True)
    require_known_fields(answer.document, kind)
    return answer.document


def require_known_fields(value: Any, kind: Any) -> None:
    if isinstance(value, list):
        for item in value:
            require_known_fields(item, get_args(kind)[0])
    elif is_typeddict(kind):
        hints = get_type_hints(kind)
        assert set(value) <= set(hints), set(value) - set(hints)
        for key, item in value.items():
            require_known_fields(item, hints[key])


def filled(path: str, **words: str) -> str:
    """Return a path with its parameters; those that are not said name nothing that exists."""
    return re.sub(r"\{(\w+)\}", lambda match: words.get(match[1], "nothing"), path)


async def ask(house: House, name: str, target: str, body: object = None) -> Any:
    """Call a route of the table and check its answer against the table."""
    route = BY_NAME[name]
    pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(route.path))
    assert re.fullmatch(pattern, target.partition("?")[0])
    return require_document(await house.ask(route.method, target, body), route.answer)


async def test_every_route_answers_with_its_document(house: House) -> None:
    stage = house.stage
    stage.devices.samples = {"GPU-0": DeviceSample("GPU-0", 0.5, 2**30, 100.0, 5.0, 40)}
    created = await ask(
        house,
        "create_container",
        "/v1/containers",
        {"name": "demo", "image": IMAGE, "gpu": {"kind": "full"}, "cpus": 2, "ports": [{"container_port": 8888}]},
    )
    assert created["container"]["state"] == "created"
    assert created["container"]["allocation_state"] == "active"
    assert created["container"]["managed"] is True
    assert [gpu["uuid"] for gpu in created["container"]["gpus"]] == ["GPU-0"]
    container = created["container"]["id"]

    started = await ask(house, "start_container", "/v1/containers/demo/start")
    assert (started["was_running"], started["container"]["state"]) == (False, "running")
    stage.cgroups.containers[7] = container
    stage.devices.processes = [GpuProcess(7, "GPU-0", 12)]
    stats = await ask(house, "get_stats", "/v1/stats")
    assert stats["containers"][0]["gpu_memory_used_bytes"] == 12
    assert stats["containers"][0]["gpus"][0]["utilization_ratio"] == 0.5
    assert (await ask(house, "get_stats", "/v1/stats?name=demo"))["containers"] == stats["containers"]
    processes = await ask(house, "list_processes", "/v1/containers/demo/processes")
    assert len(processes["processes"]) == 1

    prepared = await ask(house, "create_exec", "/v1/containers/demo/exec", {"command": ["true"], "terminal": True})
    state = await ask(house, "get_exec", f"/v1/exec/{prepared['exec_id']}")
    assert (state["running"], state["exit_code"]) == (False, None)
    await ask(house, "resize_exec", f"/v1/exec/{prepared['exec_id']}/resize", {"rows": 40, "columns": 100})

    listed = await ask(house, "list_containers", "/v1/containers")
    assert [row["name"] for row in listed["containers"]] == ["demo"]
    details = await ask(house, "get_container", "/v1/containers/demo?inspect=1")
    assert details["inspect"]["Id"] == container
    assert "inspect" not in await ask(house, "get_container", "/v1/containers/demo")
    gpus = await ask(house, "list_gpus", "/v1/gpus")
    assert [gpu["holders"][0]["owner"] for gpu in gpus["gpus"] if gpu["holders"]] == ["alice"]
    limits = await ask(house, "get_limits", "/v1/limits")
    assert limits["usage"] == {"gpus": 1, "gpu_equivalents": 1.0, "containers": 1}
    status = await ask(house, "get_status", "/v1/status")
    assert (status["containers"], status["containers_running"], status["mode"]) == (1, 1, "server")
    assert status["devices"] == {"ok": True, "message": "", "gpus": 4, "free": 3, "out": []}


async def test_stop_release_and_remove_answer_with_their_documents(house: House) -> None:
    await house.stage.create(kind="full")
    await house.stage.start()
    stopped = await ask(house, "stop_container", "/v1/containers/demo/stop", {"grace_s": 5})
    assert stopped["was_running"] is True
    released = await ask(house, "release_gpus", "/v1/containers/demo/release")
    assert released["gpus_released"] == ["GPU-0"]
    planned = await ask(house, "remove_container", "/v1/containers/demo?dry_run=1")
    assert (planned["dry_run"], planned["gpus_released"]) == (True, [])
    removed = await ask(house, "remove_container", "/v1/containers/demo")
    assert removed["workspace"] == "/home/alice/workspace/demo"
    assert await ask(house, "get_openapi", "/v1/openapi.json") == json.loads(json.dumps(build_openapi(VERSION)))


async def test_restart_pause_and_their_plans_answer_with_their_documents(house: House) -> None:
    await house.stage.create(kind="full")
    planned = await ask(house, "start_container", "/v1/containers/demo/start", {"dry_run": True})
    assert (planned["dry_run"], planned["docker_command"]) == (True, "docker start demo._.1001")
    assert next(iter(house.stage.engine.containers.values())).details.state == "created"
    restarted = await ask(house, "restart_container", "/v1/containers/demo/restart", {})
    assert (restarted["was_running"], restarted["container"]["state"]) == (False, "running")
    plan = await ask(house, "restart_container", "/v1/containers/demo/restart", {"dry_run": True, "grace_s": 3})
    assert plan["docker_command"] == "docker restart --time 3 demo._.1001"
    paused = await ask(house, "pause_container", "/v1/containers/demo/pause?dry_run=1")
    assert (paused["dry_run"], paused["state"]) == (True, "running")
    assert (await house.ask("POST", "/v1/containers/demo/restart", {"grace_s": -1})).status == 400


async def test_a_dry_run_of_everything_changes_nothing(house: House) -> None:
    before = await house.stage.picture()
    planned = await ask(house, "create_container", "/v1/containers", {"name": "x", "image": IMAGE, "dry_run": True})
    assert planned["dry_run"] is True
    assert "container" not in planned
    assert await house.stage.picture() == before
    await house.stage.create(kind="full")
    await house.stage.start()
    stop = await ask(house, "stop_container", "/v1/containers/demo/stop", {"dry_run": True, "grace_s": 30})
    assert stop["docker_command"] == "docker stop --time 30 demo._.1001"
    removal = await ask(house, "remove_container", "/v1/containers/demo?dry_run=yes&force=yes")
    assert (removal["gpus_released"], removal["docker_command"]) == (
        ["GPU-0"],
        "docker rm --force --volumes demo._.1001",
    )
    refused = await house.ask("DELETE", "/v1/containers/demo?dry_run=1")
    assert refused.status == 409
    assert next(iter(house.stage.engine.containers.values())).details.state == "running"


async def test_the_table_of_routes_is_what_is_served_and_described(house: House) -> None:
    described = build_openapi(VERSION)["paths"]
    operations = {operation["operationId"] for path in described.values() for operation in path.values()}
    assert operations == set(BY_NAME) == set(house.server._handlers)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_an_unknown_parameter_is_refused_everywhere_by_its_name(house: House, route: Route) -> None:
    target = re.sub(r"\{\w+\}", "demo", route.path)
    answer = await house.ask(route.method, f"{target}?surprise=1")
    assert answer.status == 400
    assert "'surprise'" in answer.document["detail"]


@pytest.mark.parametrize("route", [route for route in ROUTES if route.body], ids=lambda route: route.name)
async def test_an_unknown_field_is_refused_everywhere_by_its_name(tmp_path: Path, route: Route) -> None:
    async with open_house(tmp_path, user=ROOT) as house:
        await house.stage.create(caller=ADMIN_CALLER, count=0)
        await house.stage.start(caller=ADMIN_CALLER)
        prepared = await ask(house, "create_exec", "/v1/containers/demo/exec", {"command": ["true"]})
        target = filled(route.path, name="demo", exec_id=prepared["exec_id"])
        answer = await house.ask(route.method, target, {"surprise": 1})
        assert answer.status == 400
        assert "'surprise'" in answer.document["detail"]


@pytest.mark.parametrize("route", [route for route in ROUTES if "{" in route.path], ids=lambda route: route.name)
async def test_what_belongs_to_somebody_else_is_not_found_by_any_route(house: House, route: Route) -> None:
    await house.stage.create("secret", caller=BOB_CALLER, count=0)
    await house.stage.start("secret", caller=BOB_CALLER)
    target = filled(route.path, name="secret", exec_id="0" * 64)
    bodies: dict[str, object] = {
        "resize_exec": {"rows": 1, "columns": 1},
        "resize_container": {"rows": 1, "columns": 1},
        "move_request": {"place": "first"},
        "rename_container": {"new_name": "mine"},
    }
    raw = json.dumps(bodies.get(route.name, {})).encode()
    answer = await house.ask(route.method, target, raw=raw)
    is_stream = route.answer_kind == "upgrade"
    assert answer.status in ({400} if is_stream else {404}), answer.body
    if not is_stream and any(parameter.name == "uid" for parameter in route.parameters):
        answer = await house.ask(route.method, f"{target}?uid={BOB.uid}", raw=raw)
        assert answer.status == 403, answer.body
    assert next(iter(house.stage.engine.containers.values())).details.state == "running"


async def test_only_an_administrator_drains_and_everybody_sees_why(tmp_path: Path, house: House) -> None:
    refused = await house.ask("POST", "/v1/gpus/drain", {"gpu": "0"})
    assert refused.status == 403
    async with open_house(tmp_path, user=ROOT) as admins:
        drained = await ask(admins, "drain_gpus", "/v1/gpus/drain", {"gpu": "0", "reason": "fan"})
        assert drained["gpus"] == [{"uuid": "GPU-0", "address": "0", "changed": True}]
        gpus = (await ask(admins, "list_gpus", "/v1/gpus"))["gpus"]
        assert [(gpu["state"], gpu["reason"], gpu["free"]) for gpu in gpus[:1]] == [
            (
                "drained",
                "it is drained: fan",
                False,
            )
        ]
        assert (await ask(admins, "get_status", "/v1/status"))["devices"]["out"] == ["GPU 0: it is drained: fan"]
        resumed = await ask(admins, "resume_gpus", "/v1/gpus/resume", {"gpu": "all"})
        assert resumed["gpus"][0]["changed"] is True
        assert (await admins.ask("POST", "/v1/gpus/resume", {"gpu": "0"})).status == 409


async def test_a_container_whose_gpu_is_gone_says_so_in_the_list(house: House) -> None:
    stage = house.stage
    body = {"name": "demo", "image": IMAGE, "gpu": {"kind": "full"}}
    await ask(house, "create_container", "/v1/containers", body)
    stage.devices.unplug("GPU-0")
    (row,) = (await ask(house, "list_containers", "/v1/containers"))["containers"]
    assert row["gpu_doubt"] == "GPU-0 is not on the machine any more"


async def test_an_administrator_acts_for_others(tmp_path: Path) -> None:
    async with open_house(tmp_path, user=ROOT) as house:
        await house.stage.create("theirs", caller=BOB_CALLER, count=0)
        started = await ask(house, "start_container", "/v1/containers/theirs/start?uid=1002")
        assert started["container"]["owner"] == "bob"
        everybody = await ask(house, "list_containers", "/v1/containers?all=1")
        assert [row["owner"] for row in everybody["containers"]] == ["bob"]
        assert (await ask(house, "list_containers", "/v1/containers"))["containers"] == []
        assert (await ask(house, "get_limits", "/v1/limits?uid=1002"))["user"] == "bob"
        assert (await house.ask("GET", "/v1/limits?uid=4711")).status == 404
        stats = await ask(house, "get_stats", "/v1/stats?all=1")
        assert [row["owner"] for row in stats["containers"]] == ["bob"]


async def test_all_shows_a_user_of_a_server_only_their_own(house: House) -> None:
    await house.stage.create("theirs", caller=BOB_CALLER, count=0)
    await house.stage.create("mine", count=0)
    listed = await ask(house, "list_containers", "/v1/containers?all=1")
    assert [row["name"] for row in listed["containers"]] == ["mine"]
    await house.stage.start("theirs", caller=BOB_CALLER)
    await house.stage.start("mine")
    stats = await ask(house, "get_stats", "/v1/stats?all=1")
    assert [row["name"] for row in stats["containers"]] == ["mine"]


async def test_foreign_containers_are_listed_with_where_they_come_from(house: House) -> None:
    house.stage.engine.add_container(docker_made("old._.1001", state=ContainerState.RUNNING))
    row = (await ask(house, "list_containers", "/v1/containers"))["containers"][0]
    assert (row["name"], row["origin"], row["managed"]) == ("old", "mlc", False)
    details = await ask(house, "get_container", "/v1/containers/old")
    assert [gpu["uuid"] for gpu in details["gpus"]] == ["GPU-0"]


async def test_the_list_shows_the_devices_that_are_attached_and_not_those_that_a_label_names(house: House) -> None:
    everything = AttachmentFacts(requests=(DeviceRequest("", -1, (), ("gpu",)),), runtime="runc")
    forged = docker_made("forged._.1001", state=ContainerState.RUNNING, uuid="GPU-0")
    claims = {label.MANAGED: "true", label.ALLOCATION: "ff", label.GPU_UUIDS: "MIG-10;GPU-9"}
    house.stage.engine.add_container(replace(forged, labels=claims))
    house.stage.engine.add_container(docker_made("all._.1001", state=ContainerState.RUNNING, facts=everything))
    house.stage.engine.add_container(docker_made("ended._.1001", state=ContainerState.EXITED))
    rows = (await ask(house, "list_containers", "/v1/containers"))["containers"]
    shown = {row["name"]: [gpu["address"] for gpu in row["gpus"]] for row in rows}
    assert shown == {"forged": ["0"], "all": ["0", "1:0", "1:1", "1:2"], "ended": []}
    house.stage.devices.failure = BackendError("NVML hangs.")
    rows = (await ask(house, "list_containers", "/v1/containers"))["containers"]
    unknown = {row["name"]: [gpu["address"] for gpu in row["gpus"]] for row in rows}
    assert unknown == {"forged": ["?"], "all": ["?"], "ended": []}


@pytest.mark.parametrize("name", ["demo%20", "-x", "a%252fb", "demo%3Fforce=1", "%C3%A4", "a" * 300])
async def test_a_name_that_no_engine_can_have_is_not_found(name: str, house: House) -> None:
    answer = await house.ask("POST", f"/v1/containers/{name}/stop", {})
    assert (answer.status, answer.document["code"]) == (404, "not_found")
    assert "._." not in answer.document["detail"]


async def test_a_container_whose_grant_was_released_has_no_device_in_the_list(house: House) -> None:
    await house.stage.create()
    await house.stage.start()
    await house.stage.stop()
    await ask(house, "release_gpus", "/v1/containers/demo/release")
    row = (await ask(house, "list_containers", "/v1/containers"))["containers"][0]
    assert (row["state"], row["gpus"], row["allocation_state"]) == ("exited", [], None)


async def test_the_list_asks_the_engine_once_and_the_store_for_containers_and_for_what_waits(house: House) -> None:
    await house.stage.create()
    house.stage.trap.arm(0, None)
    await ask(house, "list_containers", "/v1/containers")
    steps = [step for step in house.stage.trap.steps if not step.endswith("done")]
    assert sorted(steps) == ["devices inventory", "engine list_containers", "store read", "store read"]


async def test_what_fails_is_said_in_the_status_and_does_not_hide_the_rest(house: House) -> None:
    house.stage.devices.failure = BackendError("NVML hangs.")
    status = await ask(house, "get_status", "/v1/status")
    assert status["engine"]["ok"] is True
    assert status["devices"] == {"ok": False, "message": "NVML hangs.", "gpus": 0, "free": 0}
    house.stage.engine.unreachable = BackendError("The engine is down.")
    status = await ask(house, "get_status", "/v1/status")
    assert (status["engine"]["ok"], status["engine"]["message"]) == (False, "The engine is down.")
    assert (status["containers"], status["containers_running"]) == (None, None)
    assert status["devices"]["ok"] is False
    assert (await house.ask("GET", "/v1/containers")).status == 502
    assert (await house.ask("GET", "/v1/gpus")).status == 502


async def test_devices_that_the_machine_does_not_say_are_listed_by_their_uuid(house: House) -> None:
    await house.stage.create(kind="full")
    await house.stage.start()
    house.stage.devices.failure = BackendError("NVML hangs.")
    row = (await ask(house, "list_containers", "/v1/containers"))["containers"][0]
    assert row["gpus"] == [
        {"uuid": "GPU-0", "address": "?", "kind": "unknown", "profile": "", "memory_bytes": 0, "gpu_equivalents": 0.0}
    ]
    stats = await ask(house, "get_stats", "/v1/stats?name=demo")
    assert [gpu["uuid"] for gpu in stats["containers"][0]["gpus"]] == ["GPU-0"]


async def test_logs_come_as_bytes(house: House) -> None:
    container = await house.stage.create(count=0)
    house.stage.engine.containers[container].logs += b"one\ntwo\n"
    answer = await house.ask("GET", "/v1/containers/demo/logs?tail=1")
    assert (answer.status, answer.body) == (200, b"two\n")
    assert answer.headers["content-type"] == "application/octet-stream"


async def test_a_creation_is_told_line_by_line(house: House) -> None:
    house.stage.engine.publish("registry.example/other")
    body = {"name": "demo", "image": "registry.example/other", "gpu": {"count": 0}}
    answer = await house.ask("POST", "/v1/containers", body, accept="application/x-ndjson")
    assert answer.headers["content-type"] == "application/x-ndjson"
    for line in answer.lines:
        msgspec.convert(line, schema.ProgressMessage, strict=True)
        require_known_fields(line, schema.ProgressMessage)
    assert {line["kind"] for line in answer.lines} == {"step", "pull", "result"}
    assert answer.lines[-1]["result"]["container"]["name"] == "demo"


async def test_images_are_listed_to_their_owners_alone(house: House) -> None:
    house.stage.add_image(f"ds01.invalid/u{ALICE.uid}/mine")
    house.stage.add_image("ds01.invalid/u4242/theirs")
    answer = await house.ask("GET", "/v1/images")
    document = msgspec.convert(answer.document, schema.ImageList, strict=True)
    require_known_fields(answer.document, schema.ImageList)
    assert document["images"][0]["name"] == "mine"
    assert document["images"][0]["own"]
    assert "theirs" not in {image["name"] for image in document["images"]}


async def test_a_creation_that_fails_says_so_as_its_last_line(house: House) -> None:
    body = {"name": "demo", "image": "registry.example/none"}
    answer = await house.ask("POST", "/v1/containers", body, accept="application/x-ndjson")
    assert answer.status == 200
    problem = msgspec.convert(answer.lines[-1]["problem"], schema.Problem, strict=True)
    assert (problem["code"], problem["status"]) == ("not_found", 404)
    assert await house.stage.held() == {}


async def test_a_client_that_leaves_during_its_creation_gets_everything_undone(house: House) -> None:
    house.stage.engine.publish("registry.example/other")
    before = await house.stage.picture()
    gate = house.stage.engine.hold("pull_image")
    body = json.dumps({"name": "demo", "image": "registry.example/other"}).encode()
    head = f"POST /v1/containers HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\nContent-Length: {len(body)}"
    _, writer = await asyncio.open_unix_connection(str(house.path))
    writer.write(head.encode() + b"\r\n\r\n" + body)
    await eventually(lambda: house.stage.engine.calls["pull_image"] == 1)
    assert await house.stage.states() == {"demo": "claimed"}
    writer.close()
    await eventually(lambda: house.server.requests_under_way == 0)
    gate.set()
    assert await house.stage.picture() == before


async def eventually(condition: Any) -> None:
    """Wait for what the event loop does with real sockets; no fixed sleep."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the condition is of a fake, which has no event
            await asyncio.sleep(0.001)
