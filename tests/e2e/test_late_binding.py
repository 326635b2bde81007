"""Late binding on a real engine with CDI: what is inside a container after each start, and what a crash leaves."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from tests.e2e.site import BUSYBOX, POLICY, Account, Site, find_program, replace_file, wait_until
from tests.engine import DevEngine, EngineUnavailableError

pytestmark = pytest.mark.engine

FIRST = "GPU-5a1e0000-aaaa-4bbb-8ccc-000000000000"
SECOND = "GPU-5a1e0000-aaaa-4bbb-8ccc-000000000001"
CUT = "GPU-5a1e0000-aaaa-4bbb-8ccc-000000000002"
FIRST_PART = "MIG-5a1e0000-aaaa-4bbb-8ccc-000000000021"
SECOND_PART = "MIG-5a1e0000-aaaa-4bbb-8ccc-000000000022"
GPUS = f"""\
system driver=560.35.03 nvml=12.560.35.03 cuda=12060
gpu uuid={FIRST} name="NVIDIA A100-PCIE-40GB" mem=40960 used=400 cc=8.0 mig=0
gpu uuid={SECOND} name="NVIDIA A100-PCIE-40GB" mem=40960 used=400 cc=8.0 mig=0
gpu uuid={CUT} name="NVIDIA A100-PCIE-40GB" mem=40960 used=400 cc=8.0 mig=1
mig gpu=2 slot=0 gi=7 ci=0 uuid={FIRST_PART} profile=1g.5gb
mig gpu=2 slot=1 gi=8 ci=0 uuid={SECOND_PART} profile=1g.5gb
"""
# every pretended device is another device of the kernel, so its numbers tell inside which one it is
NUMBERS = {"null": "1,3", "zero": "1,5", "full": "1,7", "random": "1,8", "urandom": "1,9"}
NODES = {
    FIRST: {"nvidia0": "null"},
    SECOND: {"nvidia1": "zero"},
    FIRST_PART: {"nvidia2": "full", "nvidia-caps/nvidia-cap12": "random"},
    SECOND_PART: {"nvidia2": "full", "nvidia-caps/nvidia-cap21": "urandom"},
}
FOREIGN = '{"cdiVersion": "0.5.0", "kind": "site.example/net", "devices": [{"name": "0", "containerEdits": {}}]}\n'


def nodes_inside(*uuids: str) -> dict[str, str]:
    """Return the device nodes that a container with these GPUs has, and no other, with their numbers."""
    found = {"nvidiactl": NUMBERS["null"]}
    for uuid in uuids:
        found |= {path: NUMBERS[device] for path, device in NODES[uuid].items()}
    return found


def nvidia_spec(library: Path, hooked: Path) -> str:
    """Return a spec as NVIDIA's toolkit writes it: common nodes, a library, a hook, and each device by its UUID."""
    lines = ['cdiVersion: "0.5.0"', "kind: nvidia.com/gpu", "devices:"]
    for uuid, nodes in NODES.items():
        lines += [f"- name: {uuid}", "  containerEdits:", "    deviceNodes:"]
        for path, device in nodes.items():
            major, minor = NUMBERS[device].split(",")
            node = f"path: /dev/{path}, hostPath: /dev/{device}, type: c, major: {major}, minor: {minor}"
            lines.append(f"    - {{{node}}}")
    lines += [
        "containerEdits:",
        "  env: [NVIDIA_VISIBLE_DEVICES=void]",
        "  deviceNodes:",
        "  - {path: /dev/nvidiactl, hostPath: /dev/null, type: c, major: 1, minor: 3}",
        "  mounts:",
        f"  - {{hostPath: {library}, containerPath: /usr/lib/libcuda.so.1, options: [ro, bind]}}",
        "  hooks:",
        f"  - {{hookName: createRuntime, path: /bin/sh, args: [sh, -c, 'echo hooked >> {hooked}']}}",
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def cdi_engine() -> Iterator[DevEngine]:
    engine = DevEngine(f"late-{crc32(__file__.encode()):08x}", newer=True)
    try:
        engine.start()
    except EngineUnavailableError as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no engine with CDI: {missing}")
    try:
        engine.bring_images("busybox")
        yield engine
    finally:
        engine.stop()


def policy_with(directory: Path, hold: str = "0") -> str:
    late = f'late_binding: {{enabled: true, directory: {directory}, file_mode: "0600"}}\n'
    return (
        POLICY.replace("gpu_hold_after_stop: 0", f"gpu_hold_after_stop: {hold}").replace(", max_gpus: 1,", ",") + late
    )


@pytest.fixture
def late(cdi_engine: DevEngine, accounts: dict[str, Account], scratch: Path, tmp_path: Path) -> Iterator[Site]:
    """A daemon of the test's own whose site binds late; the engine reads the site's spec and a stranger's."""
    folder = scratch / f"late-{tmp_path.name}"
    folder.mkdir(mode=0o755)
    site_folder, own_folder = cdi_engine.cdi_folders
    (folder / "libcuda.so.1").write_text("a driver library\n", encoding="utf-8")
    replace_file(site_folder / "nvidia.yaml", nvidia_spec(folder / "libcuda.so.1", folder / "hooked"))
    replace_file(own_folder / "site-net.json", FOREIGN)
    site = Site(cdi_engine, folder, find_program(accounts["alice"], folder), accounts)
    site.write_policy(policy_with(own_folder))
    site.write_gpus(GPUS)
    site.start()
    yield site
    if site.process is None or site.process.poll() is not None:
        site.start()
    site.clear()
    site.stop()
    for found in own_folder.iterdir():
        found.unlink()


def own_files(site: Site) -> dict[str, Any]:
    """Return the daemon's files by the name of their device."""
    found = site.engine.cdi_folders[1].glob("ds01-*.json")
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in found]
    return {document["devices"][0]["name"]: document for document in documents}


def inside(site: Site, name: str, user: str = "alice") -> dict[str, str]:
    """Return the NVIDIA device nodes in a running container with their numbers."""
    listing = site.engine.docker("exec", site.inspect(name, user)["Id"], "sh", "-c", "ls -lR /dev/nvidia* || true")
    found: dict[str, str] = {}
    folder = ""
    for line in listing.splitlines():
        if line.endswith(":"):
            folder = line.removeprefix("/dev/").removesuffix(":") + "/"
        match = re.match(r"c\S+ .* (\d+), +(\d+) .* (\S+)$", line)
        if match:
            path = match[3].removeprefix("/dev/")
            found[path if match[3].startswith("/") else folder + path] = f"{match[1]},{match[2]}"
    return found


def device_requests(site: Site, name: str, user: str = "alice") -> Any:
    return site.inspect(name, user)["HostConfig"]["DeviceRequests"]


def create(site: Site, name: str, kind: str = "full", user: str = "alice") -> None:
    site.run("create", name, "--image", BUSYBOX, "--gpus", "1", "--gpu-kind", kind, user=user)


def holder_of(site: Site) -> dict[str, str]:
    return {address: names[0] for address, names in site.held().items() if names}


def test_a_stopped_container_goes_on_with_the_gpu_that_is_free_and_is_the_same_container(late: Site) -> None:
    create(late, "demo")
    requests = device_requests(late, "demo")
    late.run("start", "demo")
    identity = late.inspect("demo")["Id"]
    assert inside(late, "demo") == nodes_inside(FIRST)
    assert late.engine.docker("exec", identity, "cat", "/usr/lib/libcuda.so.1") == "a driver library\n"
    assert (late.scratch / "hooked").exists(), "hooks of the site's spec are run"
    late.engine.docker("exec", identity, "sh", "-c", "echo mine > /tmp/kept")
    late.run("stop", "demo")
    create(late, "other", user="bob")
    late.run("start", "other", user="bob")
    assert inside(late, "other", "bob") == nodes_inside(FIRST), "what alice gave back"
    late.run("start", "demo")
    assert inside(late, "demo") == nodes_inside(SECOND), "the other one, and nothing of the first"
    assert late.inspect("demo")["Id"] == identity
    assert late.engine.docker("exec", identity, "cat", "/tmp/kept") == "mine\n"
    assert device_requests(late, "demo") == requests
    assert [request["DeviceIDs"] for request in requests] == [[f"ds01.io/allocation={name_of(late, 'demo')}"]]
    assert holder_of(late) == {"0": "other", "1": "demo"}
    shown = late.run("list", "--json").document["containers"]
    assert [gpu["uuid"] for found in shown for gpu in found["gpus"]] == [SECOND]


def name_of(site: Site, name: str, user: str = "alice") -> str:
    return str(site.inspect(name, user)["Config"]["Labels"]["aime.mlc.DS01_ALLOCATION"])


def test_mig_instances_change_too(late: Site) -> None:
    create(late, "demo", kind="1g.5gb")
    late.run("start", "demo")
    first = inside(late, "demo")
    late.run("stop", "demo")
    create(late, "other", kind="1g.5gb", user="bob")
    late.run("start", "other", user="bob")
    late.run("start", "demo")
    assert first == inside(late, "other", "bob") == nodes_inside(FIRST_PART)
    assert inside(late, "demo") == nodes_inside(SECOND_PART)


def test_two_gpus_are_given_as_one_name(late: Site) -> None:
    late.run("create", "both", "--image", BUSYBOX, "--gpus", "2", "--gpu-kind", "full")
    late.run("start", "both")
    assert inside(late, "both") == nodes_inside(FIRST, SECOND)


def test_a_container_without_a_gpu_has_none_and_no_file(late: Site) -> None:
    late.run("create", "plain", "--image", BUSYBOX, "--cpu-only")
    late.run("start", "plain")
    assert inside(late, "plain") == {}
    assert own_files(late) == {}


def test_without_a_grant_there_is_no_file_and_the_engine_refuses_a_plain_start(late: Site) -> None:
    create(late, "demo")
    late.run("start", "demo")
    assert list(own_files(late)) == [name_of(late, "demo")]
    late.run("stop", "demo")
    wait_until(lambda: not own_files(late), "the removal of the file")
    refused = late.engine.try_docker("start", late.inspect("demo")["Id"])
    assert refused.returncode != 0
    assert "unresolvable CDI devices" in refused.stderr
    late.run("start", "demo")
    late.run("rm", "demo", "--force")
    wait_until(lambda: not own_files(late), "the removal of the file")


def test_foreign_specs_in_the_folder_are_left_alone(late: Site) -> None:
    foreign = late.engine.cdi_folders[1] / "site-net.json"
    before = foreign.stat()
    create(late, "demo")
    late.run("start", "demo")
    late.run("rm", "demo", "--force")
    late.stop()
    late.start()
    wait_until(lambda: not own_files(late), "the removal of the file")
    assert foreign.read_text(encoding="utf-8") == FOREIGN
    assert foreign.stat() == before


def test_a_restarted_daemon_writes_what_is_missing_and_removes_what_no_grant_holds(late: Site) -> None:
    late.write_policy(policy_with(late.engine.cdi_folders[1], hold="1h"))
    create(late, "demo")
    late.run("start", "demo")
    late.stop()
    (path,) = late.engine.cdi_folders[1].glob("ds01-*.json")
    assert path.stat().st_mode & 0o777 == 0o600
    orphan = path.with_name(path.name.replace(name_of(late, "demo"), "0123456789abcdef"))
    content = path.read_text(encoding="utf-8")
    path.rename(orphan)
    late.start()
    wait_until(lambda: path.exists() and not orphan.exists(), "the repair of the folder")
    assert path.read_text(encoding="utf-8") == content
    assert inside(late, "demo") == nodes_inside(FIRST), "what runs was not touched"


def test_a_folder_that_others_may_change_is_refused_and_nothing_is_left(late: Site) -> None:
    folder = late.engine.cdi_folders[1]
    folder.chmod(0o777)
    refused = late.run("create", "demo", "--image", BUSYBOX, "--gpus", "1", check=False)
    folder.chmod(0o755)
    assert refused.status == 7
    assert "may change the CDI folder" in refused.stderr
    assert f"chmod go-w {folder}" in refused.stderr
    assert late.containers() == []
    assert holder_of(late) == {}
    create(late, "demo")


def test_a_machine_without_nvidias_spec_gives_fixed_gpus_and_says_so(late: Site) -> None:
    (late.engine.cdi_folders[0] / "nvidia.yaml").unlink()
    made = late.run("create", "demo", "--image", BUSYBOX, "--gpus", "1", "--gpu-kind", "full")
    assert "No CDI spec of this machine says what the GPU" in made.stderr + made.stdout
    assert [request["DeviceIDs"] for request in device_requests(late, "demo")] == [[FIRST]]


def test_an_engine_without_cdi_gives_fixed_gpus_and_says_so(own_site: Site) -> None:
    own_site.write_policy(policy_with(Path("/var/run/cdi")))
    own_site.start()
    made = own_site.run("create", "demo", "--image", BUSYBOX, "--gpus", "1", "--gpu-kind", "full")
    assert "the engine has no CDI" in made.stderr + made.stdout
    assert len(device_requests(own_site, "demo")[0]["DeviceIDs"]) == 1


def test_swapping_gpus_again_and_again_never_brings_a_gpu_of_another(late: Site) -> None:
    """The engine reads new files when it gets to it: what is inside must be right all the same."""
    create(late, "demo")
    create(late, "other", user="bob")
    for turn in range(6):
        pairs = [("demo", "alice"), ("other", "bob")]
        for name, user in pairs if turn % 2 else reversed(pairs):
            late.run("start", name, user=user)
        found = {tuple(sorted(inside(late, name, user))): name for name, user in pairs}
        wanted = {tuple(sorted(nodes_inside(uuid))) for uuid in (FIRST, SECOND)}
        assert found.keys() == wanted
        for name, user in pairs:
            late.run("stop", name, user=user)


def test_a_start_waits_for_any_gpu(late: Site) -> None:
    create(late, "demo")
    late.run("start", "demo")
    late.run("stop", "demo")
    late.run("create", "both", "--image", BUSYBOX, "--gpus", "2", "--gpu-kind", "full", user="bob")
    late.run("start", "both", user="bob")
    refused = late.run("start", "demo", check=False)
    assert refused.status == 5
    assert "--move" not in refused.stderr, "moving it would not help"
    waiting = late.spawn("start", "demo", "--wait=2m")
    wait_until(lambda: late.run("queue", "--json").document["requests"], "the request in the queue")
    late.run("rm", "both", "--force", user="bob")
    assert waiting.wait(timeout=60) == 0
    assert inside(late, "demo") in (nodes_inside(FIRST), nodes_inside(SECOND))


def test_a_daemon_that_dies_at_any_step_of_a_start_leaves_the_old_or_the_new_state(late: Site) -> None:
    create(late, "demo")
    late.run("start", "demo")
    late.run("stop", "demo")
    create(late, "other", user="bob")
    late.run("start", "other", user="bob")
    late.stop()
    for step in range(1, 40):
        # counted from the start of the daemon: it looks and repairs first, and then starts the container
        late.launch(DS01_CRASH_AT=str(step))
        wait_until(lambda: has_ended(late) or late.run("status", check=False).status == 0, "an answer or an end")
        is_done = late.run("start", "demo", check=False).status == 0
        wait_until(lambda: is_done or has_ended(late), "the end of the daemon that did not answer")  # noqa: B023 - now
        late.stop()
        late.start()
        wait_until(lambda: is_sound(late), f"a sound state after a death at step {step}")
        assert inside(late, "other", "bob") == nodes_inside(FIRST)
        is_new = late.inspect("demo")["State"]["Running"]
        if is_new:
            assert inside(late, "demo") == nodes_inside(SECOND)
            late.run("stop", "demo")
        late.stop()
        if is_done:
            assert is_new
            return
    raise AssertionError("the start never ended")


def has_ended(site: Site) -> bool:
    return site.process is None or site.process.poll() is not None


def is_sound(site: Site) -> bool:
    """Whoever runs holds its GPU, whoever does not holds none, and the files say the same."""
    running = {
        name: site.inspect(name, user)["State"]["Running"] for name, user in (("demo", "alice"), ("other", "bob"))
    }
    wanted = {name for name, runs in running.items() if runs}
    names = {name_of(site, "demo"): "demo", name_of(site, "other", "bob"): "other"}
    return set(holder_of(site).values()) == wanted and {names[name] for name in own_files(site)} == wanted
