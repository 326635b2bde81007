"""`ds01 reservation` and `ds01 timeline`: what is asked of the daemon, what is printed, what is refused before."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ds01.api.explanation import Clock
from ds01.cli.commands.timeline import BARS, PLAIN, draw
from ds01.cli.moment import SystemZone
from tests.unit.cli.conftest import Ds01
from tests.unit.cli.waiting_documents import at, reservation
from tests.unit.scripted_daemon import ScriptedDaemon, http, ok, problem

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process lives in Berlin."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def made(**more: object) -> bytes:
    return ok({"schema_version": 1, "reservation": reservation(), "promises": [], "dry_run": False, **more})


def listed(*found: dict[str, object]) -> bytes:
    return ok({"schema_version": 1, "reservations": list(found)})


@pytest.mark.usefixtures("berlin")
def test_a_window_is_typed_in_the_own_zone_and_sent_in_utc(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["POST /v1/reservations"] = made()
    words = "--gpus 2 --kind Full --gpu-memory 20G --for alice --name exam --reason why --dry-run"
    window = ["--from", "2030-01-10 09:00", "--to", "2030-07-10 17:00"]
    assert ds01("reservation", "create", *words.split(), *window).status == 0
    assert daemon.requests[-1].document() == {
        "start_at": "2030-01-10T08:00:00+00:00",
        "end_at": "2030-07-10T15:00:00+00:00",
        "gpus": 2,
        "kind": "full",
        "memory_bytes": 20 * 1024**3,
        "user": "alice",
        "name": "exam",
        "reason": "why",
        "dry_run": True,
    }


@pytest.mark.usefixtures("berlin")
def test_an_end_without_a_day_is_the_next_one_after_the_begin(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["POST /v1/reservations"] = made()
    assert ds01("reservation", "create", "--from", "2030-01-10 22:00", "--to", "06:00").status == 0
    assert daemon.requests[-1].document()["end_at"] == "2030-01-11T05:00:00+00:00"


def test_a_reservation_that_is_made_says_what_and_what_it_costs_others(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    changed = {"id": "1", "owner": "bob", "container": "train", "promised_at": at(hours=1), "start_at": None}
    daemon.answers["POST /v1/reservations"] = made(promises=[changed])
    window = ("--from", "in 1d", "--to", "in 2d")
    outcome = ds01("reservation", "create", *window)
    assert (outcome.status, outcome.out) == (0, "exam\n")
    assert "train of bob was promised " in outcome.err
    daemon.answers["POST /v1/reservations"] = made(dry_run=True)
    outcome = ds01("reservation", "create", *window, "--dry-run")
    assert (outcome.status, outcome.out) == (0, "")
    assert "Nothing was reserved. This would be possible: 2 GPUs of kind full for you, " in outcome.err
    assert ds01("reservation", "create", *window, "--json").document["reservation"]["name"] == "exam"


def test_what_stands_in_the_way_is_named_with_its_times(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    conflicts = [
        {"what": "reservation", "name": "exam", "gpus": 2, "start_at": at(hours=1), "end_at": at(hours=2)},
        {"what": "grant", "name": "", "gpus": 1, "start_at": at(hours=-1), "end_at": None},
    ]
    said = {"code": "conflict", "detail": "It cannot be kept.", "hint": "Later."}
    document = {**said, "details": {"conflicts": conflicts}}
    daemon.answers["POST /v1/reservations"] = http(409, json.dumps(document).encode(), kind="application/problem+json")
    outcome = ds01("reservation", "create", "--from", "in 1h", "--to", "in 2h")
    assert outcome.status == 8
    lines = outcome.err.splitlines()
    assert lines[:2] == ["✗ It cannot be kept.", "→ In the way:"]
    assert lines[2].startswith("    reservation exam, 2 GPUs: ")
    assert lines[3].endswith(" to no end is known")
    assert lines[4:] == ["→ Later."]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--from and --to is missing"),
        (["--from", "in 1h"], "--to is missing"),
        (["--from", "2020-01-01 09:00", "--to", "2020-01-01 10:00"], "The window has passed"),
        (["--from", "2020-01-01 09:00", "--to", "in 1h"], "begins in the past"),
        (["--from", "in 2h", "--to", "in 1h"], "The window is reversed"),
        (["--from", "in 2h", "--to", "in 2h"], "The window is reversed"),
        (["--from", "in 1h", "--to", "in 2h", "--gpus", "0"], "reserves nothing"),
        (["--from", "in 1h", "--to", "in 2h", "--gpus", "-1"], "reserves nothing"),
        (["--from", "in 1h", "--to", "in 2h", "--gpus", "5000"], "5000 GPUs"),
        (["--from", "in 1h", "--to", "in 2h", "--gpu-memory", "20"], "20G"),
        (["--from", "in 1h", "--to", "in 2h", "--kind", ""], "not a kind"),
        (["--from", "in 1h", "--to", "in 2h", "--for", "bob", "--group", "x"], "exclude each other"),
        (["--from", "tomorrow", "--to", "in 2d"], "'tomorrow 09:00'"),
        (["--from", "in 1h", "--to", "in 20000d"], "ten years"),
    ],
)
def test_a_window_that_cannot_be_is_refused_before_the_daemon_is_asked(
    words: list[str], said: str, daemon: ScriptedDaemon, ds01: Ds01
) -> None:
    outcome = ds01("reservation", "create", *words)
    assert (outcome.status, outcome.out) == (2, "")
    assert said in outcome.err
    assert daemon.requests == []


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("start", "said"), [("2030-03-31 02:30", "the clocks go forward"), ("2030-10-27 02:30", "comes twice")]
)
def test_times_that_the_clocks_skip_or_repeat_are_refused(
    start: str, said: str, daemon: ScriptedDaemon, ds01: Ds01
) -> None:
    outcome = ds01("reservation", "create", "--from", start, "--to", "2030-12-01")
    assert (outcome.status, said in outcome.err) == (2, True)
    assert daemon.requests == []


def test_reservations_are_listed_and_shown(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    others = reservation(name="", id="99", owner="", mine=False, gpus=1, kind="any", reason="", state="no_show")
    of_group = reservation(name="lab", owner="", group="student")
    daemon.answers["GET /v1/reservations"] = listed(reservation(), others, of_group)
    heading, *rows = ds01("reservation", "list").out.splitlines()
    assert heading.split() == ["NAME", "FOR", "GPUS", "FROM", "TO", "STATE", "REASON"]
    assert rows[0].split()[:5] == ["exam", "alice", "2", "x", "full"]
    assert rows[1].split()[:3] == ["99", "-", "1"]
    assert "no show" in rows[1]
    assert "group student" in rows[2]
    assert ds01("reservation", "list", "-a", "--over", "-q").out.split() == ["exam", "99", "lab"]
    assert daemon.asked()[-1] == "GET /v1/reservations?all=true&over=true"
    assert ds01("reservation", "--format", "csv").out.startswith("name,id,owner,group,gpus,kind,start_at,")
    daemon.answers["GET /v1/reservations/exam"] = ok(reservation(containers=["thesis"], origin="policy"))
    said = ds01("reservation", "show", "exam").out
    for part in ("2 GPUs of kind full", "(8h)", "written exam", "the policy file", "thesis"):
        assert part in said
    daemon.answers["GET /v1/reservations"] = listed()
    assert ds01("reservation", "list", "-a").err == "There are no reservations.\n"


def test_a_reservation_is_cancelled_and_a_typo_gets_the_nearest(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["DELETE /v1/reservations/exam"] = ok({"schema_version": 1, "reservation": reservation()})
    daemon.answers["GET /v1/reservations"] = listed(reservation())
    assert ds01("reservation", "cancel", "exam").out == "exam\n"
    missing = ds01("reservation", "cancel", "exan")
    assert (missing.status, "Did you mean exam?" in missing.err) == (3, True)
    assert ds01("reservation", "cancel").status == 2
    daemon.answers["DELETE /v1/reservations/theirs"] = problem(403, "forbidden", "It is bob's.")
    assert ds01("reservation", "cancel", "theirs").status == 4
    assert set(ds01("__complete", "create", "a", "--reservation", "").out.split()) == {"exam"}


# --- the timeline -----------------------------------------------------------------------------------------------------

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=BERLIN)


def hour(hours: float) -> str:
    return (NOON.astimezone(UTC) + timedelta(hours=hours)).isoformat()


def span(kind: str, start: float, end: float | None, **more: object) -> dict[str, object]:
    return {
        "kind": kind,
        "name": "thesis",
        "owner": "alice",
        "group": "student",
        "mine": False,
        "gpus": 1,
        "start_at": hour(start),
        "end_at": None if end is None else hour(end),
        **more,
    }


def row(address: str, *spans: dict[str, object], **more: object) -> dict[str, object]:
    found = {"address": address, "gpu_uuid": f"GPU-{address}", "label": "full", "state": "whole", "reason": ""}
    return {**found, "spans": list(spans), **more}


def drawing(*rows: dict[str, object], width: int = 80, hours: int = 24, plain: bool = True) -> list[str]:
    document: Any = {"now": hour(0), "from_at": hour(0), "to_at": hour(hours), "rows": list(rows)}
    return draw(document, Clock(NOON, BERLIN), width, PLAIN if plain else BARS)


def test_a_timeline_draws_who_has_what_until_when() -> None:
    lines = drawing(
        row("0", span("grant", -3, 6, mine=True)),
        row("1", span("grant", -1, None, owner="bob", name="train")),
        row("2", span("hold", -1, 0.25, owner="", group="researcher", name="")),
        row("3", state="drained", reason="drained: fan broken"),
        row("", span("reservation", 8, 12, name="exam", gpus=2), gpu_uuid="", label="2 x full"),
        row("", span("promise", 6, 14, owner="carol", name="next"), gpu_uuid="", label="1 x full"),
    )
    assert max(map(len, lines)) <= 80
    assert "12:00" in lines[0]
    bars = [line[10:43].rstrip() for line in lines[1:7]]
    assert lines[1].startswith("0 full")
    assert lines[1].endswith("until 18:00 you (thesis)")
    assert bars[0].count("#") == bars[0].index(".")
    assert lines[2].endswith("bob (train), no end is known")
    assert "." not in bars[1]
    assert lines[3].endswith("until 12:15 group researcher")
    assert lines[4].endswith("drained: fan broken")
    assert lines[5].endswith("20:00 to tomorrow 00:00 alice (ex~")
    assert "by 18:00 carol (next)" in lines[6]
    legend = "# yours   = others'   - stopped, kept for its owner   R reserved"
    assert lines[-2:] == [legend, "p a waiting request   . free"]


def test_a_bar_has_its_share_of_the_window() -> None:
    line = drawing(row("0", span("grant", 6, 12)), hours=24)[1]
    bar = line[len("0 full  ") :].split("  ")[0]
    assert (bar.count("="), bar.count(".")) == (len(bar) // 4, len(bar) - len(bar) // 4)
    assert bar.index("=") == len(bar) // 4


@pytest.mark.parametrize("width", [40, 60, 80, 120, 300])
@pytest.mark.parametrize("hours", [1, 24, 200, 2000])
def test_a_timeline_fits_every_width_and_length(width: int, hours: int) -> None:
    rows = [row(str(number), span("grant", -1, number + 0.5), span("promise", 30, 40)) for number in range(9)]
    for plain in (True, False):
        assert max(map(len, drawing(*rows, width=width, hours=hours, plain=plain))) <= width


def test_marks_stand_on_the_hour_also_after_the_clocks_change() -> None:
    begin = datetime(2026, 3, 28, 20, 0, tzinfo=BERLIN)
    document: Any = {
        "now": begin.astimezone(UTC).isoformat(),
        "from_at": begin.astimezone(UTC).isoformat(),
        "to_at": (begin.astimezone(UTC) + timedelta(hours=12)).isoformat(),
        "rows": [row("0")],
    }
    ticks = draw(document, Clock(begin, BERLIN), 120, PLAIN)[0].split()
    assert ticks == sorted(ticks, key=lambda text: (int(text[:2]) + 4) % 24)
    assert all(text.endswith(":00") for text in ticks)


def test_the_timeline_is_asked_for_in_utc_and_printed(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    document = {
        "schema_version": 1,
        "now": at(),
        "from_at": at(),
        "to_at": at(days=1),
        "rows": [row("0", name="\x1b[2J", spans=[{**span("grant", -1, None), "name": "\x1b[2J"}])],
    }
    daemon.answers["GET /v1/timeline"] = ok(document)
    outcome = ds01("timeline", "--to", "in 1d")
    assert outcome.status == 0
    assert "to_at=20" in daemon.asked()[-1]
    assert "\x1b" not in outcome.out
    assert ds01("timeline", "--json").document == document
    assert ds01("timeline", "--from", "in 2d", "--to", "in 1d").status == 2
    daemon.answers["GET /v1/timeline"] = ok({**document, "rows": []})
    assert ds01("timeline").err == "This machine has no GPU.\n"


@pytest.mark.usefixtures("berlin")
def test_the_zone_of_the_process_knows_both_hours_of_a_change() -> None:
    zone = SystemZone()
    for hours in range(48):
        moment = datetime(2026, 10, 24, 12, tzinfo=UTC) + timedelta(hours=hours)
        assert moment.astimezone(zone).astimezone(UTC) == moment
        shown, known = moment.astimezone(zone), moment.astimezone(BERLIN)
        assert (shown.hour, shown.fold, shown.utcoffset(), shown.tzname()) == (
            known.hour,
            known.fold,
            known.utcoffset(),
            known.tzname(),
        )
