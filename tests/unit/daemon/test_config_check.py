"""`POST /v1/config/check`: every file of the site, each mistake with file and line, and nothing takes effect."""

import json
from pathlib import Path

from ds01.config import POLICY_NAME
from ds01.config.package_tiers import TIERS_FILE
from tests.unit.daemon.house import open_house
from tests.unit.daemon.test_catalogue_files import write

BROKEN_TIERS = '[jupyter]\npip = [\n  "a b",\n]\n'


async def check(folder: Path, body: dict[str, object]) -> dict[str, object]:
    async with open_house(folder, personal=True) as house:
        answer = await house.ask("POST", "/v1/config/check", body)
        assert answer.status == 200, answer
        found: dict[str, object] = answer.document
        return found


async def test_a_table_of_packages_is_looked_at_alone_or_beside_a_policy(tmp_path: Path) -> None:
    alone = await check(tmp_path, {"package_tiers": BROKEN_TIERS})
    assert (alone["source"], alone["ok"]) == (TIERS_FILE, False)
    assert "package_tiers.toml:3" in json.dumps(alone["errors"])
    both = await check(tmp_path, {"text": "version: 2\ndefaultz: {}\n", "package_tiers": BROKEN_TIERS})
    places = [error["where"] for error in both["errors"]]  # type: ignore[attr-defined]  # as the document has it
    assert places == [f"{POLICY_NAME}:2", f"{TIERS_FILE}:3"]
    good = await check(tmp_path, {"package_tiers": "[jupyter]\npip = ['a']\n"})
    assert (good["ok"], good["errors"]) == (True, [])


async def test_without_a_text_all_files_of_the_daemon_are_looked_at(tmp_path: Path) -> None:
    assert (await check(tmp_path, {}))["ok"]
    proxies = tmp_path / "proxies"
    write(proxies, "HTTP_PROXY=http://u:s3cret@proxy.lab:1\nPATH=/x\n")
    write(tmp_path / POLICY_NAME, f"version: 2\nbuilds: {{proxy_file: {proxies}}}\n")
    write(tmp_path / TIERS_FILE, BROKEN_TIERS)
    (tmp_path / "catalogue.d").mkdir()
    write(tmp_path / "catalogue.d" / "site.csv", "one,row\n")
    found = await check(tmp_path, {})
    said = json.dumps(found)
    assert not found["ok"]
    assert "package_tiers.toml:3" in said
    assert "site.csv:1" in said
    assert {"where": "proxies:2", "message": "this is no proxy."}.items() <= found["errors"][1].items()  # type: ignore[index]  # as the document has it
    assert "s3cret" not in said


async def test_a_broken_table_is_said_in_the_status_and_the_old_one_is_offered(tmp_path: Path) -> None:
    write(tmp_path / TIERS_FILE, BROKEN_TIERS)
    async with open_house(tmp_path) as house:
        status = (await house.ask("GET", "/v1/status")).document
        assert not status["catalogue"]["ok"]
        assert "package_tiers.toml:3" in status["catalogue"]["message"]
        tiers = (await house.ask("GET", "/v1/package_tiers")).document
        assert "pandas" in tiers["data_science"]["pip"]
