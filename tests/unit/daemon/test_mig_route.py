"""The route that cuts GPUs into MIG instances."""

from pathlib import Path

import msgspec
import pytest

from ds01.api import schema
from tests.fakes import BOB, ROOT
from tests.unit.daemon.house import ME, Answer, House, open_house

PATH = "/v1/mig"
FILE = 'gpus:\n  "1": {mig: true, layout: static, instances: [2g.10gb, 2g.10gb]}\n'


async def apply(house: House, text: str = FILE, **more: object) -> Answer:
    return await house.ask("POST", PATH, {"text": text, "name": "layout.yaml", **more})


async def test_an_administrator_plans_and_applies(tmp_path: Path) -> None:
    async with open_house(tmp_path, user=ROOT) as house:
        planned = await apply(house, dry_run=True)
        assert planned.status == 200, planned.body
        msgspec.convert(planned.document, schema.MigPlanDocument, strict=True)
        assert planned.document["applied"] is False
        assert [step["step"] for step in planned.document["cards"][0]["steps"]][-1] == "create 2g.10gb at 2"
        done = await apply(house)
        assert done.document == {**planned.document, "applied": True}
        card = house.stage.devices.inventory.devices[1]
        assert [one.profile for one in card.instances] == ["2g.10gb", "2g.10gb"]


async def test_a_user_may_do_neither(tmp_path: Path) -> None:
    async with open_house(tmp_path, user=BOB) as house:
        for is_dry in (True, False):
            refused = await apply(house, dry_run=is_dry)
            assert refused.status == 403
            assert "administrator" in refused.document["detail"]


async def test_a_personal_daemon_plans_and_applies_only_as_root(tmp_path: Path) -> None:
    async with open_house(tmp_path, personal=True) as house:
        assert (await apply(house, dry_run=True)).status == 200
        answer = await apply(house)
        if ME == 0:
            assert answer.status == 200
        else:
            assert answer.status == 403
            assert "Only root" in answer.document["detail"]


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("gpus: {9: {mig: false}}", 404, "no GPU '9'"),
        ("gpus:\n  1: {mig: true, instances: [9g.1gb]}", 400, "layout.yaml:2: GPU 1 has no profile '9g.1gb'"),
        ("gpus: [", 400, "layout.yaml:"),
    ],
)
async def test_a_bad_file_is_refused_with_its_line(tmp_path: Path, text: str, status: int, said: str) -> None:
    async with open_house(tmp_path, user=ROOT) as house:
        before = house.stage.devices.inventory
        refused = await apply(house, text)
        assert refused.status == status
        assert said in refused.document["detail"]
        assert house.stage.devices.inventory == before


async def test_whoever_is_in_the_way_is_named(tmp_path: Path) -> None:
    async with open_house(tmp_path, user=ROOT) as house:
        await house.stage.create("job", kind="mig")
        refused = await apply(house)
        assert refused.status == 409
        assert "job of alice (active)" in refused.document["detail"]
