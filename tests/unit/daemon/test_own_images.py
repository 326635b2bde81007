"""The routes of people's own images in front of a world of fakes."""

import io
import tarfile
from pathlib import Path

import pytest

from ds01.domain.user import User
from tests.fakes import ALICE, BOB, ROOT
from tests.unit.daemon.house import open_house
from tests.unit.service.stage import IMAGE

LINES = "application/x-ndjson"


def context() -> bytes:
    text = f"FROM {IMAGE}\nRUN it\n".encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    return packed.getvalue()


async def test_a_context_becomes_an_image_with_its_output_and_the_image_can_be_deleted(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        answer = await house.ask("POST", "/v1/images/build?name=mine", raw=context(), accept=LINES)
        assert [line["kind"] for line in answer.lines] == ["build", "build", "result"]
        built = answer.lines[-1]["built"]
        assert built["reference"].endswith("/mine:latest")
        shown = (await house.ask("GET", "/v1/images/mine")).document
        assert (shown["id"], shown["containers"]) == (built["id"], [])
        plain = await house.ask("POST", "/v1/images/build?name=mine", raw=context())
        assert plain.document["name"] == "mine"
        assert (await house.ask("DELETE", "/v1/images/mine")).status == 200
        assert (await house.ask("GET", "/v1/images/mine")).status == 404


@pytest.mark.parametrize(
    ("user", "query", "seen"),
    [
        (ALICE, "", {"mine": "alice"}),
        (ALICE, "?all=true", {"mine": "alice"}),
        (ROOT, "", {}),
        (ROOT, "?all=true", {"mine": "alice", "theirs": "bob"}),
    ],
)
async def test_what_others_built_is_listed_to_administrators_who_ask_for_all(
    tmp_path: Path, user: User, query: str, seen: dict[str, str]
) -> None:
    async with open_house(tmp_path, user=user) as house:
        house.stage.add_image(f"ds01.invalid/u{ALICE.uid}/mine")
        house.stage.add_image(f"ds01.invalid/u{BOB.uid}/theirs")
        house.stage.add_image(f"{IMAGE}:demo._.{BOB.uid}")
        images = (await house.ask("GET", f"/v1/images{query}")).document["images"]
        built = [image for image in images if image["owner"]]
        assert {image["name"]: image["owner"] for image in built} == seen
        assert [image["name"] for image in built if image["own"]] == (["mine"] if user is ALICE else [])
        assert not any("._." in image["reference"] for image in images)


async def test_what_cannot_be_built_is_refused_before_the_engine_is_asked(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        for query in ("name=pytorch", "name=x&dockerfile=../a", "name=x&digest=zz", "name=", "name=x&buildkit=perhaps"):
            assert (await house.ask("POST", f"/v1/images/build?{query}", raw=context())).status == 400
        assert not house.stage.engine.built_specs


async def test_the_packages_that_are_offered_are_told(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        tiers = (await house.ask("GET", "/v1/package_tiers")).document
        assert "pandas" in tiers["data_science"]["pip"]
        assert "cv" in [case["name"] for case in tiers["use_cases"]]
        missing = (await house.ask("GET", "/v1/packages?image=nothing:1")).document
        assert (missing["is_here"], missing["packages"]) == (False, None)
