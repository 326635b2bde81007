"""What the policy promises and nothing obeys yet is said, key by key, and nothing else."""

from dataclasses import replace

from ds01.daemon.policy_document import NOT_ENFORCED_KEYS, config_document, not_enforced
from ds01.domain.rules.limit import EffectiveLimits, Limits
from ds01.domain.rules.policy import LimitLayer, Policy
from ds01.domain.rules.site import ENFORCE, Lifecycle, Site
from ds01.units import parse_duration

LIMITED = EffectiveLimits(Limits(time_limit=parse_duration("8h"), stop_on_last_exit=True), {}, "student")
ENFORCED = Policy(site=Site(lifecycle=Lifecycle(mode=ENFORCE)))


def test_every_key_that_is_not_enforced_is_a_key_of_the_policy() -> None:
    for key in NOT_ENFORCED_KEYS:
        name = key.removeprefix("lifecycle.") if key == "lifecycle.container_types" else key
        holder: object = Policy() if name in {"aggregate", "container_types"} else Site()
        for part in name.split("."):
            assert hasattr(holder, part), key
            holder = getattr(holder, part)


def test_a_time_limit_that_is_only_observed_is_said_and_one_that_is_enforced_is_not() -> None:
    assert not_enforced(Policy(), LIMITED, LimitLayer(), always=[]) == ["time_limit"]
    assert not_enforced(ENFORCED, LIMITED, LimitLayer(), always=[]) == []
    assert "time_limit" in config_document(Policy(), None)["not_enforced"]
    assert "time_limit" not in config_document(ENFORCED, None)["not_enforced"]


def test_of_devices_the_display_is_obeyed_and_nothing_else() -> None:
    for devices, named in ((("x11",), []), (("x11", "video"), ["devices"])):
        limits = replace(LIMITED, values=Limits(devices=devices))
        assert not_enforced(ENFORCED, limits, LimitLayer(), always=[]) == named


def test_what_nobody_has_set_is_not_missed() -> None:
    unlimited = replace(LIMITED, values=Limits())
    assert not_enforced(Policy(), unlimited, LimitLayer(), always=["aggregate"]) == ["aggregate"]
    aggregate = LimitLayer({"memory": 1}, {})
    assert not_enforced(Policy(), unlimited, aggregate, always=[]) == ["aggregate"]
