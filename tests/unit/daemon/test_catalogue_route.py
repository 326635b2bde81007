"""`POST /v1/catalogue/compare`: AIME's list beside the catalogue, and the file that takes its rows over."""

from pathlib import Path

from ds01.config.catalogue import AIME_DROPIN, AIME_LIST, DROPIN_FOLDER
from tests.unit.daemon.house import open_house
from tests.unit.daemon.test_catalogue_files import write

ROUTE = "/v1/catalogue/compare"
NEW = "Pytorch, 9.0, [CUDA_ADA], aimehub/pytorch-9.0\n"


async def test_what_is_written_counts_at_the_next_look(tmp_path: Path) -> None:
    async with open_house(tmp_path, personal=True) as house:
        before = (await house.ask("GET", "/v1/status")).document["catalogue"]
        found = (await house.ask("POST", ROUTE, {"text": NEW, "name": "new.repo"})).document
        change = next(change for change in found["changes"] if change["kind"] == "new")
        assert (change["image"], change["in_force"]) == ("aimehub/pytorch-9.0", False)
        assert found["source"] == "new.repo"
        assert found["path"] == str(tmp_path / DROPIN_FOLDER / AIME_DROPIN)
        assert NEW in found["text"]
        assert not (tmp_path / DROPIN_FOLDER).exists()
        write(Path(found["path"]), found["text"])
        again = (await house.ask("POST", ROUTE, {"text": NEW})).document
        assert again["text"] == ""
        after = (await house.ask("GET", "/v1/status")).document["catalogue"]
        assert after == {**before, "rows": before["rows"] + 1}


async def test_without_a_text_the_policys_folder_is_compared_and_its_rows_count_already(tmp_path: Path) -> None:
    aime = tmp_path / "aime"
    write(aime / AIME_LIST, NEW + "broken\n" * 30)
    async with open_house(tmp_path, personal=True, aime_dir=aime) as house:
        found = (await house.ask("POST", ROUTE, {})).document
    assert found["source"] == str(aime / AIME_LIST)
    assert [change["in_force"] for change in found["changes"] if change["kind"] == "new"] == [True]
    assert found["skipped"] == 30
    assert len(found["remarks"]) == 20
    assert "ml_images.repo:2" in found["remarks"][0]


async def test_without_a_text_and_a_folder_it_is_said_what_to_name(tmp_path: Path) -> None:
    async with open_house(tmp_path, personal=True) as house:
        answer = await house.ask("POST", ROUTE, {})
    assert answer.status == 400
    assert "catalogue.aime_dir" in answer.document["detail"]


async def test_a_list_without_a_readable_row_is_refused(tmp_path: Path) -> None:
    async with open_house(tmp_path, personal=True) as house:
        for text in ("", "# nothing\n", "\x1b[31m,1\n", "Pytorch,1.0,CUDA,UPPER/Case\n" * 3000):
            answer = await house.ask("POST", ROUTE, {"text": text, "name": "odd\x1b.repo"})
            assert answer.status == 400, text[:20]
            assert "no row that can be read" in answer.document["detail"]


async def test_a_broken_file_of_an_earlier_update_is_not_written_over(tmp_path: Path) -> None:
    write(tmp_path / DROPIN_FOLDER / AIME_DROPIN, NEW + "half a row\n")
    async with open_house(tmp_path, personal=True) as house:
        answer = await house.ask("POST", ROUTE, {"text": NEW})
    assert answer.status == 400
    assert f"{AIME_DROPIN}:2" in answer.document["detail"]


async def test_a_file_that_would_not_be_read_again_is_refused(tmp_path: Path) -> None:
    many = [f"Pytorch,{number},CUDA,aimehub/{'p' * 180}" for number in range(5000)]
    write(tmp_path / DROPIN_FOLDER / AIME_DROPIN, "\n".join(many))
    more = "\n".join(f"Pytorch,9.{number},CUDA,aimehub/{'p' * 180}" for number in range(1000))
    async with open_house(tmp_path, personal=True) as house:
        answer = await house.ask("POST", ROUTE, {"text": more})
    assert answer.status == 400
    assert "larger than 1 MiB" in answer.document["detail"]


async def test_others_than_administrators_are_refused(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        answer = await house.ask("POST", ROUTE, {"text": NEW})
    assert answer.status == 403
