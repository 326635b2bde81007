"""Limits: the owner's, bounded by the machine; what the engine can set is learnt by trying."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.domain.rules.limit import MACHINE_ORIGIN
from ds01.domain.rules.policy import LimitLayer, UserOverride
from ds01.errors import BackendError, InvalidRequestError
from ds01.service.limits import cgroup_parent_of, parse_ulimits, probe_script
from tests.fakes import ALICE, BOB, ROOT
from tests.unit.service.stage import Stage


async def test_limits_are_lowered_to_the_engines_machine_and_say_so() -> None:
    stage = Stage()
    info = replace(await stage.engine.get_info(), cpus=2, memory_bytes=1024**3)
    limits = stage.services.limits.effective(ALICE, info)
    assert (limits.values.max_cpus, limits.values.memory, limits.values.memory_swap) == (2, 1024**3, 1024**3)
    assert limits.origins["max_cpus"] == limits.origins["memory"] == MACHINE_ORIGIN
    assert limits.origins["pids_limit"] == "built-in"


async def test_the_limits_of_an_owner_are_found_by_the_uid() -> None:
    stage = Stage()
    override = UserOverride(layer=LimitLayer({"gpu_hold_after_stop": timedelta(hours=9)}))
    stage.policy = replace(stage.policy, overrides={"bob": override, "uid:77": override})
    assert await stage.services.limits.hold_of(BOB.uid) == timedelta(hours=9)
    assert await stage.services.limits.hold_of(ALICE.uid) == timedelta(minutes=15)
    # no account any more: what the policy says for the number, or for everybody
    assert await stage.services.limits.hold_of(77) == timedelta(hours=9)
    assert await stage.services.limits.hold_of(78) == timedelta(minutes=15)


def test_root_and_members_of_admin_groups_are_administrators() -> None:
    limits = Stage().services.limits
    assert limits.caller(ROOT).is_admin
    assert not limits.caller(ALICE, 4711).is_admin
    assert limits.caller(ALICE, 4711).pid == 4711


@pytest.mark.parametrize(
    ("driver", "parent"), [("systemd", "ds01-u1001.slice"), ("cgroupfs", "/ds01/u1001"), ("none", "")]
)
async def test_the_cgroup_parent_follows_from_the_uid_and_the_driver(driver: str, parent: str) -> None:
    info = replace(await Stage().engine.get_info(), cgroup_driver=driver)
    assert cgroup_parent_of(ALICE, info) == parent


def test_the_probe_asks_only_for_what_a_shell_can_say() -> None:
    script = probe_script(("memlock", "rtprio", "nofile"))
    assert "echo memlock $(ulimit -H -l 2>/dev/null)" in script
    assert "rtprio" not in script
    assert probe_script(("rtprio",)) == ":"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("memlock 64\nstack 8192\n", {"memlock": 64 * 1024, "stack": 8192 * 1024}),
        ("memlock unlimited\nnofile 1024\n", {"nofile": 1024}),
        ("memlock\nnofile 1024\n", {"nofile": 1024}),
        ("nproc 5\r\nrtprio 3\r\n", {"nproc": 5}),
        ("sh: ulimit: bad\nnofile -1\nnofile ٣\n", {}),
        ("", {}),
    ],
)
def test_what_the_probe_says_is_read_by_name(text: str, found: dict[str, int]) -> None:
    assert parse_ulimits(text) == found


async def test_an_image_that_cannot_answer_leaves_the_question_open() -> None:
    stage = Stage()
    image = stage.add_image()
    stage.engine.fail_always("start_container", InvalidRequestError("no such file: sh"))
    await stage.services.limits.learn_ulimits(image, {"memlock": -1})
    made = stage.engine.calls["create_container"]
    await stage.services.limits.learn_ulimits(image, {"memlock": -1})
    assert stage.engine.calls["create_container"] == made + 1
    stage.engine.fail_always("start_container", BackendError("closed"))
    with pytest.raises(BackendError):
        await stage.services.limits.learn_ulimits(image, {"memlock": -1})
    assert stage.engine.containers == {}


async def test_no_ulimits_are_nothing_to_learn() -> None:
    stage = Stage()
    await stage.services.limits.learn_ulimits("sha256:0", {})
    assert stage.engine.calls["create_container"] == 0
