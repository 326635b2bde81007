"""Documents about waiting, as a daemon would send them."""

from datetime import UTC, datetime, timedelta

from tests.unit.scripted_daemon import ok

NOW = datetime.now(UTC).replace(microsecond=0)


def at(**later: float) -> str:
    """Return a moment from now on."""
    return (NOW + timedelta(**later)).isoformat()


def estimate(place: int = 1, **more: object) -> dict[str, object]:
    return {"start_at": at(hours=2), "is_promise": True, "assumption": "", "place": place, **more}


def request(container: str = "my-project", **more: object) -> dict[str, object]:
    """Return a request of alice's that waits."""
    return {
        "id": "4f1c9d2ab7e05836",
        "owner_uid": 1001,
        "owner": "alice",
        "group": "student",
        "mine": True,
        "container": container,
        "state": "waiting",
        "gpus": 2,
        "kind": "full",
        "memory_bytes": 20 * 1024**3,
        "priority": 10,
        "time_limit_s": 8 * 3600.0,
        "queued_at": at(hours=-1),
        "gives_up_at": None,
        "not_before": None,
        "reservation": None,
        "exclusive": False,
        "moved": False,
        "estimate": estimate(),
        "reason": "none of the 2 GPUs that would do is free",
        **more,
    }


def hidden(**more: object) -> dict[str, object]:
    """Return a request of which only the place may be seen."""
    nothing = {"owner_uid": None, "owner": "", "group": "", "mine": False, "reason": ""}
    return {**request(""), **nothing, "id": "9b20000000000000", "estimate": estimate(2), **more}


def queue(*requests: dict[str, object], waiting: int | None = None) -> bytes:
    count = len(requests) if waiting is None else waiting
    return ok({"schema_version": 1, "requests": list(requests), "waiting": count})


def holder(address: str = "0", **more: object) -> dict[str, object]:
    return {
        "address": address,
        "gpu_uuid": f"GPU-{address}",
        "profile": "full",
        "owner": "bob",
        "group": "researcher",
        "container": "train",
        "state": "active",
        "since": at(hours=-3),
        "until": at(hours=2),
        "idle": None,
        "mine": False,
        **more,
    }


def why(**more: object) -> dict[str, object]:
    """Return the explanation of a request that waits for others' GPUs, with everything in it."""
    causes = [
        {
            "kind": "capacity",
            "message": "none of the 2 GPUs that would do is free",
            "until": None,
            "holders": [
                holder(),
                holder("1", owner="", container="", until=None, idle=False),
                holder("2", owner="", container="", group="", state="held", idle=True),
                holder("3", mine=True, container="mine"),
            ],
        },
        {"kind": "reservation", "message": "1 GPU kept by the reservation exam", "until": at(days=3), "holders": []},
    ]
    counterfactuals = [
        {
            "kind": "other_kind",
            "message": "1 1g.10gb can be had",
            "start_at": None,
            "options": ["--gpus", "1", "--gpu-kind", "1g.10gb"],
            "command": "ds01 queue cancel my-project -y && ds01 create my-project pytorch --gpu-kind 1g.10gb",
        },
        {
            "kind": "wait",
            "message": "when the time of bob's train ends",
            "start_at": at(hours=2),
            "options": [],
            "command": "",
        },
    ]
    return {
        "schema_version": 1,
        "subject": "request",
        "name": "my-project",
        "answer": "my-project waits for 2 whole GPUs.",
        "blocked": True,
        "request": request(),
        "gpu": None,
        "causes": causes,
        "counterfactuals": counterfactuals,
        **more,
    }


def reservation(**more: object) -> dict[str, object]:
    return {
        "id": "0123456789abcdef",
        "name": "exam",
        "owner_uid": 1001,
        "owner": "alice",
        "group": "",
        "mine": True,
        "gpus": 2,
        "kind": "full",
        "memory_bytes": None,
        "start_at": at(days=1),
        "end_at": at(days=1, hours=8),
        "reason": "written exam",
        "created_by": "root",
        "created_at": at(hours=-1),
        "state": "planned",
        "origin": "command",
        "containers": [],
        **more,
    }
