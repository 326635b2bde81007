"""Programs in a real container on a real pseudo-terminal, and on pipes."""

import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.e2e.site import BUSYBOX, POLICY, Site, wait_until
from tests.terminal import Terminal

CTRL_C = "\x03"
Start = Callable[..., Terminal]


@pytest.fixture
def start(site: Site) -> Start:
    """Start `ds01 WORDS` as alice on a terminal."""

    def begin(*words: str) -> Terminal:
        argv, environment = site.command(*words)
        return Terminal(argv, {**environment, "TERM": "xterm-256color"})

    return begin


def piped(site: Site, *words: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    argv, environment = site.command(*words)
    return subprocess.run(argv, env=environment, input=stdin, capture_output=True, check=False, timeout=60, cwd="/")


def test_open_starts_the_container_and_gives_a_shell_of_the_right_size(site: Site, running: str, start: Start) -> None:
    site.run("stop", running)
    with start("open", running) as terminal:
        terminal.wait_for("Started demo")
        terminal.type("echo user=$(id -u) term=$TERM\n")
        terminal.wait_for(f"user={site.accounts['alice'].uid} term=xterm-256color")
        terminal.type("stty size\n")
        terminal.wait_for("30 100")
        terminal.resize(41, 133)
        terminal.type("until stty size | grep '41 1''33'; do sleep 0.1; done\n")
        terminal.wait_for("41 133")
        terminal.type("exit 7\n")
        assert terminal.wait() == 0
        assert terminal.modes() == terminal.modes_before
        assert "it goes on running" in terminal.text()
    assert site.inspect(running)["State"]["Running"]


def test_two_shells_are_open_at_once(running: str, start: Start) -> None:
    with start("open", running) as first, start("open", running) as second:
        first.type("cat /tmp/shared 2>/dev/null; echo fir''st\n")
        first.wait_for("first")
        second.type("echo from-the-other > /tmp/shared; echo do''ne\n")
        second.wait_for("done")
        first.type("cat /tmp/shared\n")
        first.wait_for("from-the-other")
        for terminal in (first, second):
            terminal.type("exit\n")
            assert terminal.wait() == 0


def test_ctrl_c_reaches_the_program_and_its_status_comes_back(running: str, start: Start) -> None:
    with start("exec", "-it", running, "sh", "-c", "echo go; sleep 60") as terminal:
        terminal.wait_for("go")
        terminal.type(CTRL_C)
        assert terminal.wait() == 130
        assert terminal.modes() == terminal.modes_before


def test_killing_the_command_line_gives_the_terminal_back(running: str, start: Start) -> None:
    with start("open", running) as terminal:
        terminal.type("echo rea''dy\n")
        terminal.wait_for("ready")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.wait() == 143
        assert terminal.modes() == terminal.modes_before


def test_a_pipe_reaches_the_program_and_its_outputs_stay_apart(site: Site, running: str) -> None:
    done = piped(site, "exec", running, "--", "sh", "-c", "cat; echo oops >&2; exit 9", stdin=b"hi\n")
    assert (done.returncode, done.stdout, done.stderr) == (9, b"hi\n", b"oops\n")


def test_a_program_that_cannot_be_started_is_a_message_with_dockers_status(
    site: Site, running: str, start: Start
) -> None:
    for words, status, said in (
        (("exec", running, "pyton"), 127, "There is no program pyton in demo."),
        (("open", running, "--", "/etc/passwd"), 126, "/etc/passwd cannot be run in demo: permission denied."),
        (("exec", "-w", "/no/such", running, "true"), 126, "There is no folder /no/such in demo."),
    ):
        done = piped(site, *words)
        assert (done.returncode, done.stdout) == (status, b""), words
        assert said in done.stderr.decode()
    with start("exec", "-t", running, "pyton") as terminal:
        assert terminal.wait() == 127
        assert "There is no program pyton in demo." in terminal.text()
        assert "OCI" not in terminal.text()


def test_a_stream_that_is_closed_takes_nothing_from_the_others(site: Site, running: str) -> None:
    argv, environment = site.command("exec", running, "--", "sh", "-c", "cat; echo said; exit 9")
    shell = ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", *argv]
    done = subprocess.run(shell, env=environment, capture_output=True, check=False, timeout=60, cwd="/")
    assert (done.returncode, done.stdout) == (9, b"said\n")


def test_megabytes_go_through_unchanged(site: Site, running: str) -> None:
    data = os.urandom(8 * 1024**2)
    done = piped(site, "exec", running, "cat", stdin=data)
    assert (done.returncode, done.stdout == data, done.stderr) == (0, True, b"")


def test_a_program_that_reads_nothing_does_not_hang(site: Site, running: str) -> None:
    done = piped(site, "exec", running, "true", stdin=os.urandom(1024**2))
    assert done.returncode == 0


def test_open_with_a_command_passes_its_status(site: Site, running: str) -> None:
    done = piped(site, "open", running, "--", "sh", "-c", "echo out; exit 4")
    assert (done.returncode, done.stdout) == (4, b"out\n")
    assert piped(site, "open", "nobody", "--", "true").returncode == 125


def test_a_shell_reads_commands_from_a_pipe(site: Site, running: str) -> None:
    done = piped(site, "open", running, stdin=b"echo from a pipe\nexit 3\n")
    assert (done.returncode, done.stdout) == (3, b"from a pipe\n")


def test_run_creates_runs_and_removes(site: Site) -> None:
    words = ["run", "--rm", "job", "--image", "ds01-dev/busybox", "--cpu-only", "--", "sh", "-c", "echo out; exit 6"]
    done = piped(site, *words)
    assert (done.returncode, done.stdout) == (6, b"out\n")
    assert site.run("list", "-q").stdout == ""


def test_variables_folder_and_root_are_passed(site: Site, running: str) -> None:
    script = "echo $A $(pwd) $(id -u)"
    done = piped(site, "exec", "--root", "-e", "A=b c", "-w", "/tmp", running, "sh", "-c", script)
    assert done.stdout == b"b c /tmp 0\n", done.stderr


def test_a_kept_session_needs_tmux_and_is_taken_up_again_by_its_name(site: Site, running: str, start: Start) -> None:
    with start("open", running, "--keep") as terminal:
        assert terminal.wait() == 8
        assert "has no tmux" in terminal.text()
    pretended = '#!/bin/sh\necho asked: "$*"\n'
    script = f"mkdir -p ~/.local/bin; cat > ~/.local/bin/tmux <<'END'\n{pretended}END\nchmod +x ~/.local/bin/tmux"
    site.run("exec", running, "--", "sh", "-c", script)
    with start("open", running, "--keep") as terminal:
        terminal.wait_for("asked: new-session -A -s ds01")
        assert terminal.wait() == 0
        assert "goes on" in terminal.text()
    with start("open", running, "--keep", "--", "train", "a b") as terminal:
        terminal.wait_for("asked: new-session -A -s ds01 train a b")
        assert terminal.wait() == 0
    assert site.run("open", running, "--keep", check=False).status == 2


def test_attach_reaches_the_main_process_and_leaves_it_running(site: Site, running: str, start: Start) -> None:
    with start("container", "attach", running) as terminal:
        terminal.wait_for(f"The main process of {running} only waits")
        wait_until(terminal.is_raw, "the passing on of keys")
        terminal.type("nobody reads this\n")
        terminal.wait_for("nobody reads this")  # the echo of the container's own terminal
        terminal.type("\x03\x10\x11")  # Ctrl-C ends nothing there
        assert terminal.wait() == 0
        assert terminal.modes() == terminal.modes_before
    assert site.inspect(running)["State"]["Running"]
    assert site.run("exec", running, "--", "echo", "still").stdout == "still\n"


def test_attach_to_what_plain_docker_made_sizes_watches_and_passes_the_status(site: Site, start: Start) -> None:
    uid = site.accounts["alice"].uid
    script = "until read -r -t 1 line; do echo wait''ing; done; stty size; echo said $line; read -r line; exit 7"
    words = ("run", "--detach", "--interactive", "--tty", "--user", str(uid), "--name", f"asks._.{uid}")
    site.engine.docker(*words, BUSYBOX, "sh", "-c", script)
    watching = site.spawn("container", "attach", "--no-stdin", "asks")
    assert watching.stdout is not None
    assert "waiting" in watching.stdout.readline()  # it watches; what was said before nobody repeats
    with start("attach", "asks", "--detach-keys", "ctrl-x") as terminal:
        wait_until(terminal.is_raw, "the passing on of keys")
        terminal.type("hello\n")
        terminal.wait_for("said hello")
        assert "30 100" in terminal.text()
        terminal.type("\x10\x11\n")  # docker's own keys reach the program
        assert terminal.wait() == 7
    seen, _ = watching.communicate(timeout=90)
    assert "said hello" in seen
    assert watching.returncode == 7
    stopped = site.run("attach", "--no-stdin", "asks", check=False)
    assert (stopped.status, "does not run" in stopped.stderr) == (125, True)


def test_nobody_attaches_to_anothers_container(site: Site, running: str) -> None:
    refused = site.run("attach", "--no-stdin", running, user="bob", check=False)
    assert (refused.status, refused.stdout) == (125, "")


X_CLIENT = (
    "import os, socket; display = os.environ['DISPLAY']; client = socket.socket(socket.AF_UNIX); "
    "client.connect('/tmp/.X11-unix/X' + display[1:]); client.sendall(b'draw'); print(client.recv(100).decode()); "
    "print(oct(os.stat(os.environ['XAUTHORITY']).st_mode), b'k' * 16 in open('/proc/self/cmdline', 'rb').read())"
)


def test_programs_reach_their_users_own_display_as_long_as_they_run(own_site: Site) -> None:
    own_site.write_policy(POLICY.replace("max_gpus: 2,", "max_gpus: 2, devices: [x11],", 1))
    own_site.start()
    own_site.run("create", "plots", "pytorch", "--cpu-only", "--x11")
    home = own_site.accounts["alice"].home
    with socket.create_server(("127.0.0.1", 0)) as server:
        display = f"127.0.0.1:{server.getsockname()[1] - 6000}.0"
        key = b"\x01\x00\x00\x00\x00\x00\x00\x12MIT-MAGIC-COOKIE-1\x00\x10" + b"k" * 16
        (home / ".ds01-test-authority").write_bytes(key)
        shutil.chown(home / ".ds01-test-authority", "alice")
        threading.Thread(target=_draw, args=(server,), daemon=True).start()
        argv, environment = own_site.command("open", "plots", "--", "python3", "-c", X_CLIENT)
        seen = {"DISPLAY": display, "XAUTHORITY": str(home / ".ds01-test-authority")}
        done = subprocess.run(
            argv, env={**environment, **seen}, capture_output=True, text=True, check=False, timeout=90, cwd="/"
        )
    (home / ".ds01-test-authority").unlink()
    assert (done.returncode, done.stdout.split("\n")[:2]) == (0, ["drawn", "0o100600 False"]), done.stderr
    assert list((home / "workspace" / "plots").iterdir()) == []
    left = own_site.run("exec", "plots", "--", "sh", "-c", "ls /tmp/.X11-unix").stdout
    assert left == ""
    assert own_site.run("open", "plots", "--x11", "--", "true", check=False).status == 125


def _draw(server: socket.socket) -> None:
    """Answer as a display would whoever wants to draw."""
    with suppress(OSError):
        while True:
            client, _ = server.accept()
            with client:
                if client.recv(100):
                    client.sendall(b"drawn")


def test_a_display_is_not_shared_where_the_policy_does_not_say_so(site: Site, running: str) -> None:
    refused = site.run("create", "plots", "--image", BUSYBOX, "--cpu-only", "--x11", check=False)
    assert (refused.status, "devices without x11" in refused.stderr) == (4, True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        argv, environment = site.command("open", running, "--x11", "--", "true")
        environment["DISPLAY"] = f"127.0.0.1:{server.getsockname()[1] - 6000}"
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60, cwd="/")
    assert (done.returncode, "devices without x11" in done.stderr) == (125, True)
