"""Waiting, end to end: a real daemon, a real engine, alice and bob. What `why` shows is typed as it stands."""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.site import BUSYBOX, POLICY, Result, Site, wait_until
from tests.terminal import Terminal

CTRL_C = "\x03"
IMAGE = ("--image", BUSYBOX)
WHOLE = ("--gpu-kind", "full")
ADMINS = POLICY + "  admins: {members: [root], admin: true}\n"


@pytest.fixture(autouse=True)
def empty_queue(site: Site) -> Iterator[None]:
    """Nothing waits after a test, whatever became of it."""
    yield
    site.write_policy(POLICY)
    for user in ("alice", "bob"):
        site.run("queue", "cancel", "--all", "-y", user=user, check=False)


@pytest.fixture
def full(site: Site) -> Site:
    """The only whole GPU is bob's, until somebody stops his container."""
    hold(site)
    return site


def hold(site: Site, name: str = "theirs", user: str = "bob", *options: str) -> None:
    site.run("create", name, *IMAGE, *WHOLE, *options, user=user)
    site.run("start", name, user=user)


def free(site: Site) -> None:
    """Bob gives his GPU back."""
    site.run("stop", "theirs", "--grace", "0s", user="bob")
    site.run("gpu", "release", "theirs", "-y", user="bob", check=False)


def why(site: Site, name: str, user: str = "alice") -> Result:
    return site.run("why", name, user=user)


def as_root(site: Site, *words: str, check: bool = True) -> Result:
    """Run `ds01 WORDS` as root, who is an administrator."""
    argv, environment = site.command(*words)
    argv = argv[argv.index("--init-groups") + 1 :]
    environment = {**environment, "HOME": "/root", "USER": "root"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=90, cwd="/")
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return Result(done.returncode, done.stdout, done.stderr)


def typed(site: Site, line: str, user: str = "alice") -> None:
    """Type a line that `ds01 why` has shown: commands with && between them."""
    for command in line.split(" && "):
        words = shlex.split(command)
        assert words[0] == "ds01", line
        site.run(*words[1:], user=user)


def suggested(said: Result, way: str) -> str:
    """Return the command that stands below a phrase of `What would help`."""
    lines = said.stdout.splitlines()
    [number] = [number for number, text in enumerate(lines) if re.search(way, text) and text.startswith("  - ")]
    return lines[number + 1].strip()


def state_of(site: Site, name: str, user: str = "alice") -> str | None:
    found = site.run("list", "--json", user=user).document["containers"]
    return next((row["state"] for row in found if row["name"] == name), None)


def test_a_create_waits_behind_a_full_machine_and_says_place_start_and_reason(full: Site) -> None:
    argv, environment = full.command("create", "mine", *IMAGE, *WHOLE, "--wait")
    with Terminal(argv, {**environment, "TERM": "xterm"}, columns=200) as terminal:
        terminal.wait_for("mine waits: place 1 of 1; ")
        listed = full.run("queue").stdout
        assert "mine" in listed
        assert "waiting" in listed
        free(full)
        assert terminal.wait() == 0
        assert "Created mine" in terminal.text()
    assert full.held()["0"] == ["mine"]
    assert full.run("queue").stdout == ""


def test_ctrl_c_keeps_the_place_and_the_container_is_there_later(full: Site) -> None:
    argv, environment = full.command("create", "mine", *IMAGE, *WHOLE, "--wait")
    with Terminal(argv, {**environment, "TERM": "xterm"}, columns=200) as terminal:
        terminal.wait_for("mine waits: place 1 of 1; ")
        terminal.type(CTRL_C)
        assert terminal.wait() == 130
        assert "keeps its place in the queue" in terminal.text()
    [request] = full.run("queue", "--json").document["requests"]
    assert (request["container"], request["state"], request["estimate"]["place"]) == ("mine", "waiting", 1)
    assert "mine" in full.run("list").stdout
    free(full)
    wait_until(lambda: state_of(full, "mine") == "created", "the container of a request that nobody watches")
    full.run("start", "mine")
    owner = full.run("exec", "mine", "--", "id", "-u").stdout.strip()
    assert owner == str(full.accounts["alice"].uid)


def test_the_same_words_return_to_the_place(full: Site) -> None:
    words = ("create", "mine", *IMAGE, *WHOLE, "--wait")
    first = full.spawn(*words)
    wait_until(lambda: full.run("queue", "-q").stdout == "mine\n", "the place")
    first.kill()
    first.wait()
    kept = full.run("queue", "--json").document["requests"][0]["id"]
    again = full.spawn(*words)
    other = full.run("create", "mine", *IMAGE, "--gpus", "2", "--wait", check=False)
    assert other.status in {2, 8}
    assert [found["id"] for found in full.run("queue", "--json").document["requests"]] == [kept]
    free(full)
    out, said = again.communicate(timeout=60)
    assert (again.returncode, out) == (0, "mine\n"), said


def test_a_wait_that_is_over_ends_with_its_own_status(full: Site) -> None:
    begun = time.monotonic()
    given_up = full.run("create", "mine", *IMAGE, *WHOLE, "--wait=3s", check=False)
    assert given_up.status == 6
    assert time.monotonic() - begun < 30
    assert "Its place in the queue is given up" in given_up.stderr
    assert full.run("queue", "-q").stdout == ""


def test_a_refusal_without_waiting_names_the_way_to_wait_and_what_is_free(full: Site) -> None:
    refused = full.run("create", "mine", *IMAGE, *WHOLE, check=False)
    assert refused.status == 5
    lines = refused.stderr.splitlines()
    assert any(line.endswith(f"ds01 create mine {shlex.join([*IMAGE, *WHOLE])} --wait") for line in lines)
    [command] = [line.partition("): ")[2] for line in lines if "Or now (1 3g.20gb is free now)" in line]
    typed(full, command)
    assert state_of(full, "mine") == "created"


def test_why_for_a_kind_names_the_holder_and_a_kind_that_works(full: Site) -> None:
    full.run("create", "mine", *IMAGE, *WHOLE, "--at", "in 0s")
    said = why(full, "mine")
    assert re.search(r"^ +0 full: bob \(theirs\), since .*, no end is known$", said.stdout, re.MULTILINE)
    typed(full, suggested(said, r"1 1g\.5gb is free now"))
    wait_until(lambda: state_of(full, "mine") == "created", "what would help")
    assert full.run("inspect", "mine", "--json").document["gpus"][0]["profile"] == "1g.5gb"
    assert full.run("why", "0").stdout.startswith("GPU 0 cannot be granted now.")
    assert full.run("why", "1:0").stdout.startswith("GPU 1:0 can be granted now.")


def test_why_for_a_quota_names_what_is_held_and_giving_it_back_works(site: Site) -> None:
    hold(site, "first")  # bob may hold one GPU
    site.run("create", "second", *IMAGE, "--at", "in 0s", user="bob")
    said = why(site, "second", "bob")
    assert "you hold 1 of 1 GPUs" in said.stdout
    assert "first" in said.stdout
    typed(site, suggested(said, "once first gives"), "bob")
    wait_until(lambda: state_of(site, "second", "bob") == "created", "what would help")


def test_why_for_a_drained_device_names_the_reason(site: Site) -> None:
    help_text = as_root(site, "admin", "--help", check=False).stdout
    assert "drain" in help_text
    site.write_policy(ADMINS)
    wait_until(lambda: as_root(site, "admin", "config", "show", check=False).status == 0, "the new policy")
    as_root(site, "admin", "drain", "0", "--reason", "fan broken")
    try:
        site.run("create", "mine", *IMAGE, *WHOLE, "--at", "in 0s")
        said = why(site, "mine")
        assert "fan broken" in said.stdout
        typed(site, suggested(said, r"1 1g\.5gb is free now"))
        wait_until(lambda: state_of(site, "mine") == "created", "what would help")
        assert "fan broken" in site.run("why", "0").stdout
        assert "fan broken" in site.run("gpus").stdout
    finally:
        as_root(site, "admin", "resume", "0")
        site.write_policy(POLICY)


def test_a_small_request_behind_a_protected_one_says_whom_it_would_delay_and_how_it_passes(site: Site) -> None:
    hold(site, "theirs", "bob", "--time", "10m")
    site.run("create", "big", *IMAGE, *WHOLE, "--time", "1h", "--at", "in 0s")
    [promised] = site.run("queue", "--json").document["requests"]
    assert promised["estimate"]["is_promise"] is True
    site.run("stop", "theirs", "--grace", "0s", user="bob")
    # bob keeps the GPU for an hour after its stop, or until its time ends: alice is promised that
    site.run("create", "late", *IMAGE, *WHOLE, "--time", "8h", "--at", "in 0s")
    said = why(site, "late")
    assert "your request for big (1 whole GPU) is before it" in said.stdout
    typed(site, suggested(said, r"1 1g\.5gb is free now"))
    wait_until(lambda: state_of(site, "late") == "created", "what would help")
    site.run("gpu", "release", "theirs", "-y", user="bob")
    wait_until(lambda: state_of(site, "big") == "created", "the promised container")


def test_a_reserved_gpu_is_free_at_its_minute_although_others_kept_the_machine_full(site: Site) -> None:
    site.write_policy(ADMINS + "lifecycle: {mode: enforce}\n")
    try:
        wait_until(lambda: as_root(site, "admin", "config", "show", check=False).status == 0, "the new policy")
        hold(site, "theirs", "bob", "--time", "1m")
        begin = (datetime.now(UTC) + timedelta(minutes=3, seconds=15)).replace(microsecond=0)
        end = begin + timedelta(hours=1)
        window = ("--from", begin.isoformat(), "--to", end.isoformat())
        made = site.run("reservation", "create", "--kind", "full", *window, "--name", "demo", "--json").document
        assert made["reservation"]["state"] == "planned"
        site.run("create", "long", *IMAGE, *WHOLE, "--time", "8h", "--at", "in 0s", user="bob")
        site.run("create", "mine", *IMAGE, "--reservation", "demo", "--at", "in 0s", *WHOLE)
        said = why(site, "long", "bob")
        assert "demo" in said.stdout
        assert "reservation" in said.stdout
        assert "demo" in site.run("timeline", user="bob").stdout
        clash = site.run("reservation", "create", "--kind", "full", *window, user="bob", check=False)
        assert clash.status in {4, 8}
        wait_until(lambda: state_of(site, "mine") == "created", "the container in the reservation", timeout_s=240)
        started = [
            event
            for event in site.run("events", "--container", "mine", "--json").document["events"]
            if event["name"] == "allocation.claimed"
        ][-1]
        wanted = datetime.fromisoformat(made["reservation"]["start_at"])
        assert wanted == begin
        assert begin <= datetime.fromisoformat(started["at"]) < begin + timedelta(seconds=60)
        assert state_of(site, "long", "bob") is None
        shown = site.run("reservation", "show", "demo", "--json").document
        assert (shown["state"], shown["containers"]) == ("active", ["mine"])
    finally:
        site.run("reservation", "cancel", "demo", "-y", check=False)
        site.run("queue", "cancel", "--all", "-y", user="bob", check=False)
        site.write_policy(POLICY)


def test_nobody_touches_the_request_of_another_and_administrators_may(full: Site) -> None:
    full.write_policy(ADMINS)
    try:
        wait_until(lambda: as_root(full, "admin", "config", "show", check=False).status == 0, "the new policy")
        for name in ("one", "two"):
            full.run("create", name, *IMAGE, *WHOLE, "--at", "in 0s")
        first, second = [found["id"] for found in full.run("queue", "--json").document["requests"]]
        assert full.run("queue", "cancel", "one", "-y", user="bob", check=False).status == 3
        assert full.run("queue", "cancel", first, "-y", user="bob", check=False).status == 4
        assert full.run("queue", "move", second, "--first", "-y", check=False).status == 4
        as_root(full, "queue", "move", second, "--first", "-y", "--reason", "exam")
        moved = as_root(full, "queue", "-a", "--json").document["requests"]
        assert [found["id"] for found in moved] == [second, first]
        as_root(full, "queue", "cancel", first, "-y")
        assert full.run("queue", "-q").stdout == "two\n"
        names = [event["name"] for event in full.run("events", "--json").document["events"]]
        assert {"request.moved", "request.cancelled"} <= set(names)
    finally:
        full.write_policy(POLICY)


def test_a_place_survives_the_end_of_the_daemon(full: Site) -> None:
    full.run("create", "mine", *IMAGE, *WHOLE, "--at", "in 0s")
    full.stop(number=9)
    full.start()
    assert full.run("queue", "-q").stdout == "mine\n"
    free(full)
    wait_until(lambda: state_of(full, "mine") == "created", "the container of a request that was kept")
    assert os.path.isdir(full.accounts["alice"].home / "workspace" / "mine")
