"""The route of a move: what it costs, its steps, its refusals."""

from pathlib import Path

from tests.unit.daemon.house import open_house
from tests.unit.daemon.test_queue_routes import LINES
from tests.unit.daemon.test_routes import ask
from tests.unit.service.queueing import QueueStage
from tests.unit.service.stage import BOB_CALLER


async def test_a_move_says_what_it_costs_and_tells_its_steps(tmp_path: Path) -> None:
    stage = QueueStage.with_gpus(2)
    container = await stage.create("mine", kind="full")
    await stage.start("mine")
    await stage.stop("mine")
    [own] = stage.engine.containers[container].details.attachment.requests[0].device_ids
    while own not in await stage.held():
        await stage.create(f"theirs{len(await stage.held())}", caller=BOB_CALLER, kind="full")
    others = [name for uuid, name in (await stage.held()).items() if uuid != own]
    for name in others:
        await stage.remove(name, caller=BOB_CALLER)
    async with open_house(tmp_path, stage=stage) as house:
        planned = await ask(house, "move_container", "/v1/containers/mine/move", {"dry_run": True})
        assert (planned["dry_run"], planned["size_bytes"] > 0, planned["expected_s"] > 0) == (True, True, True)
        assert len(planned["gpus"]) == 1
        told = await house.ask("POST", "/v1/containers/mine/move", {}, accept=LINES)
        assert [message["kind"] for message in told.lines] == ["step", "step", "result"]
        assert told.lines[-1]["moved"]["gpus"] == planned["gpus"]
        again = await house.ask("POST", "/v1/containers/mine/move", {})
        assert (again.status, again.document["code"]) == (409, "conflict")
        missing = await house.ask("POST", "/v1/containers/nothing/move", {"dry_run": True})
        assert missing.status == 404
