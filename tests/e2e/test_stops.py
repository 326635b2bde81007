"""What decides when a container stops: the image's own stop signal, the policy's grace, the last shell that is left."""

import json
import signal
import subprocess
import time

from ds01.domain.containers.pid1 import SCRIPT, STOP_EXIT_STATUS
from tests.e2e.site import BUSYBOX, PATIENCE_S, POLICY, Site, require_stop_at_once, wait_until
from tests.terminal import Terminal

EARLIER = "ds01-dev/earlier"
ROOTS = "while true roots-work; do sleep 0.1; done"
OWN_SIGNAL = "ds01-dev/own-signal"
STUBBORN = "trap '' TERM; echo > /workspace/ready; while :; do sleep 1; done"
SAVES = "trap 'echo saved > /workspace/saved; exit 0' TERM; echo > /workspace/ready; while :; do sleep 0.1; done"


def _begin(site: Site, name: str, script: str) -> "subprocess.Popen[str]":
    """Run a program beside PID 1 and wait until it runs."""
    program = site.spawn("exec", name, "--", "sh", "-c", script)
    wait_until((site.accounts["alice"].home / "workspace" / name / "ready").exists, "the program's start")
    return program


def _terminal(site: Site, *words: str) -> Terminal:
    argv, environment = site.command(*words)
    return Terminal(argv, {**environment, "TERM": "xterm-256color"})


def test_an_image_with_its_own_stop_signal_stops_like_any_other(site: Site) -> None:
    site.engine.docker("build", "-q", "-t", OWN_SIGNAL, "-", stdin=f"FROM {BUSYBOX}\nSTOPSIGNAL SIGQUIT\n")
    try:
        site.run("create", "quits", "--image", OWN_SIGNAL, "--cpu-only")
        site.run("start", "quits")
        _begin(site, "quits", SAVES)
        name = f"quits._.{site.accounts['alice'].uid}"
        require_stop_at_once(site, name, lambda: site.engine.docker("stop", name), signal.SIGTERM)
        assert site.inspect("quits")["State"]["ExitCode"] == 143
        assert (site.accounts["alice"].home / "workspace" / "quits" / "saved").read_text() == "saved\n"
    finally:
        site.clear()
        site.engine.try_docker("rmi", OWN_SIGNAL)


def test_a_container_of_an_earlier_version_stops_without_being_killed(site: Site) -> None:
    alice = site.accounts["alice"]
    name, earlier = f"earlier._.{alice.uid}", SCRIPT.replace("0.1001", "0.1")
    recipe = f"FROM {BUSYBOX}\nENTRYPOINT {json.dumps(['sh', '-c', earlier])}\n"
    site.engine.docker("build", "-q", "-t", EARLIER, "-", stdin=recipe)
    try:
        site.engine.docker("run", "-dit", "--name", name, "--user", f"{alice.uid}:{alice.gid}", EARLIER)
        # root's programs are root's to end: so root's loop and a PID 1 that does not know its sleep run side by side
        site.engine.docker("exec", "-d", "--user", "0:0", name, "sh", "-c", f"trap 'sleep 1; exit 0' TERM; {ROOTS}")
        wait_until(lambda: ROOTS in site.engine.docker("top", name), "the program's start")
        site.run("stop", "earlier", "--yes", "--grace", "30s")
        assert site.inspect("earlier")["State"]["ExitCode"] == STOP_EXIT_STATUS
    finally:
        site.clear()
        site.engine.try_docker("rmi", EARLIER)


def test_the_policys_grace_and_its_last_exit_decide(own_site: Site) -> None:
    lifecycle = "lifecycle: {stop_grace: {default: 1s}}\n"
    own_site.write_policy(POLICY.replace("max_gpus: 2,", "max_gpus: 2, stop_on_last_exit: true,", 1) + lifecycle)
    own_site.start()
    own_site.run("create", "demo", "--image", BUSYBOX, "--cpu-only")
    own_site.run("start", "demo")
    stubborn = _begin(own_site, "demo", STUBBORN)
    with _terminal(own_site, "open", "demo") as shell:
        shell.type("echo in''side\n")
        shell.wait_for("inside")
        shell.type("exit\n")
        assert shell.wait() == 0
    time_of_looks = time.monotonic() + 3
    wait_until(lambda: time.monotonic() > time_of_looks, "the end of every look")
    assert own_site.inspect("demo")["State"]["Running"], "a program ran, and its container was stopped"

    began = time.monotonic()
    own_site.run("stop", "demo", "--yes")
    assert time.monotonic() - began < 50, "the grace of the policy did not count: without one it is a minute"
    stubborn.communicate(timeout=PATIENCE_S)

    own_site.run("start", "demo")
    with _terminal(own_site, "open", "demo") as first, _terminal(own_site, "open", "demo") as second:
        for shell in (first, second):
            shell.type("echo in''side\n")
            shell.wait_for("inside")
        first.type("exit\n")
        assert first.wait() == 0
        second.type("sleep 2; echo still-he''re\n")
        second.wait_for("still-here")
        second.type("exit\n")
        assert second.wait() == 0
        assert "it stops when nothing else runs in it (stop_on_last_exit)" in second.text()
    wait_until(lambda: not own_site.inspect("demo")["State"]["Running"], "the stop after the last shell")
    events = own_site.run("events", "--json").stdout
    assert "its last session ended (stop_on_last_exit)" in events
