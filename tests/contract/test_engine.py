"""What every Engine does with containers and their files: the Docker Engine and the one in memory."""

import stat
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ds01.domain.containers.container import ContainerState, PublishedPort, ResourceLimits, differences
from ds01.domain.engine import FileChange, FileChangeKind
from ds01.errors import BackendError, ConflictError, InvalidRequestError, NotFoundError
from ds01.service.ports import ExecSpec, FileEntry
from tests.contract.engine_bench import GPU, IMAGE, LABEL, SECONDS, TWO_OUTPUTS, UID, Bench

pytest_plugins = ("tests.contract.engine_fixtures",)
NOW = timedelta(0)


async def test_an_engine_says_what_it_is(bench: Bench) -> None:
    info = await bench.engine.get_info()
    assert info.api_version >= (1, 41)
    assert info.cpus >= 1
    assert info.memory_bytes > 2**28
    assert info.cgroup_version in {1, 2}
    assert "runc" in info.runtimes


async def test_a_created_container_is_what_was_asked_for(bench: Bench) -> None:
    spec = bench.spec("whole", gpu_uuids=(GPU,))
    container = await bench.engine.create_container(spec)
    details = await bench.engine.get_container(container)
    assert differences(spec, details) == []
    assert details.id == container
    assert details.name == f"whole._.{UID}"
    assert details.state is ContainerState.CREATED
    assert (details.exit_code, details.started_at, details.finished_at, details.pid) == (None, None, None, 0)
    assert details.entrypoint == spec.entrypoint
    assert details.environment["TEXT"] == "a=b, c d"
    assert details.attachment.visible_devices == "void"
    assert details.created_at.utcoffset() == timedelta(0)
    assert details.image == IMAGE
    assert details.raw["Id"] == container


async def test_unlimited_stays_unlimited(bench: Bench) -> None:
    limits = ResourceLimits(memory_bytes=64 * 1024**2, memory_swap_bytes=0, shm_size_bytes=64 * 1024**2)
    spec = bench.spec("unlimited", limits=limits)
    details = await bench.engine.get_container(await bench.engine.create_container(spec))
    assert details.limits == limits


async def test_a_container_is_listed_whatever_its_state(bench: Bench) -> None:
    created, running = await bench.create("created"), await bench.run("running")
    rows = {row.id: row for row in await bench.engine.list_containers()}
    assert rows[created].state is ContainerState.CREATED
    assert rows[running].state is ContainerState.RUNNING
    assert rows[running].name == f"running._.{UID}"
    assert rows[running].labels[LABEL] == "yes"
    assert rows[running].mounts == {"/workspace": str(bench.workspace)}
    assert rows[running].image == IMAGE


async def test_a_container_is_found_by_name_id_and_start_of_id(bench: Bench) -> None:
    container = await bench.create("known")
    for name in (container, container[:63], f"known._.{UID}"):
        assert (await bench.engine.get_container(name)).id == container


async def test_a_container_that_is_not_there_is_not_found(bench: Bench) -> None:
    assert await bench.engine.find_container("nobody") is None
    with pytest.raises(NotFoundError, match="nobody"):
        await bench.engine.get_container("nobody")
    with pytest.raises(NotFoundError):
        await bench.engine.start_container("nobody")
    with pytest.raises(NotFoundError):
        await bench.engine.path_exists("nobody", "/etc")
    with pytest.raises(NotFoundError):
        await bench.engine.read_file("nobody", "/etc/passwd")


async def test_a_name_is_given_once(bench: Bench) -> None:
    await bench.create("twice")
    with pytest.raises(ConflictError):
        await bench.create("twice")


async def test_an_image_that_is_missing_is_not_found_at_creation(bench: Bench) -> None:
    with pytest.raises(NotFoundError):
        await bench.create("imageless", image="ds01-dev/nothing:here")


async def test_a_started_container_runs_and_starting_it_again_is_fine(bench: Bench) -> None:
    container = await bench.create("started", ports=(PublishedPort(8080), PublishedPort(8081, protocol="udp")))
    await bench.engine.start_container(container)
    await bench.engine.start_container(container)
    details = await bench.engine.get_container(container)
    assert details.state is ContainerState.RUNNING
    assert details.pid > 0
    assert details.started_at is not None
    assert details.started_at >= details.created_at
    assert details.exit_code is None
    assert details.ip_address


async def test_our_pid_1_ends_by_itself_when_it_is_stopped(bench: Bench) -> None:
    container = await bench.run("polite")
    await bench.engine.stop_container(container, grace=SECONDS)
    await bench.engine.stop_container(container, grace=SECONDS)
    details = await bench.engine.get_container(container)
    assert (details.state, details.exit_code, details.pid) == (ContainerState.EXITED, 143, 0)
    assert details.finished_at is not None
    assert details.started_at is not None
    assert details.finished_at >= details.started_at


async def test_a_program_that_ignores_the_stop_is_killed_after_the_grace(bench: Bench) -> None:
    container = await bench.run("stubborn", entrypoint=("sleep", "1000"))
    await bench.engine.stop_container(container, grace=NOW)
    assert (await bench.engine.get_container(container)).exit_code == 137


async def test_a_stopped_container_can_be_started_again(bench: Bench) -> None:
    container = await bench.run("again")
    await bench.engine.stop_container(container, grace=SECONDS)
    await bench.engine.start_container(container)
    details = await bench.engine.get_container(container)
    assert (details.state, details.exit_code) == (ContainerState.RUNNING, None)


async def test_a_running_container_is_paused_and_goes_on(bench: Bench) -> None:
    container = await bench.run("paused")
    for _ in range(2):
        await bench.engine.pause_container(container)
        assert (await bench.engine.get_container(container)).state is ContainerState.PAUSED
    for _ in range(2):
        await bench.engine.unpause_container(container)
        assert (await bench.engine.get_container(container)).state is ContainerState.RUNNING


async def test_what_does_not_run_cannot_be_paused(bench: Bench) -> None:
    container = await bench.create("unpaused")
    with pytest.raises((ConflictError, BackendError)):
        await bench.engine.pause_container(container)
    with pytest.raises((ConflictError, BackendError)):
        await bench.engine.unpause_container(container)
    with pytest.raises(NotFoundError):
        await bench.engine.pause_container("nothing")


async def test_a_container_gets_another_name_that_is_free(bench: Bench) -> None:
    container, other = await bench.create("before"), await bench.create("taken")
    await bench.engine.rename_container(container, f"after._.{UID}")
    await bench.engine.rename_container(container, f"after._.{UID}")
    assert (await bench.engine.get_container(container)).name == f"after._.{UID}"
    assert await bench.engine.find_container(f"before._.{UID}") is None
    with pytest.raises(ConflictError):
        await bench.engine.rename_container(other, f"after._.{UID}")
    with pytest.raises(NotFoundError):
        await bench.engine.rename_container("nothing", f"free._.{UID}")


async def test_a_signal_reaches_a_running_container_only(bench: Bench) -> None:
    container = await bench.create("killed")
    with pytest.raises(ConflictError, match="not running"):
        await bench.engine.kill_container(container, signal="TERM")
    await bench.engine.start_container(container)
    with pytest.raises(InvalidRequestError):
        await bench.engine.kill_container(container, signal="NONSENSE")
    await bench.engine.kill_container(container, signal="SIGKILL")
    assert (await bench.until(container)).exit_code == 137


async def test_a_running_container_is_removed_by_force_only(bench: Bench) -> None:
    container = await bench.run("removed")
    with pytest.raises(ConflictError):
        await bench.engine.remove_container(container)
    await bench.engine.remove_container(container, force=True)
    assert await bench.engine.find_container(container) is None
    await bench.engine.remove_container(container)


async def test_a_program_that_ends_leaves_its_status_and_its_output(bench: Bench) -> None:
    container = await bench.run("short", entrypoint=("sh", "-c", TWO_OUTPUTS), has_terminal=False)
    assert (await bench.until(container)).exit_code == 3
    async with aclosing(bench.engine.stream_logs(container)) as chunks:
        logs = b"".join([chunk async for chunk in chunks])
    assert sorted(logs.splitlines()) == [b"err", b"out"]


async def test_logs_can_be_limited_followed_and_dated(bench: Bench) -> None:
    container = await bench.run("logs", entrypoint=("echo", "one\ntwo\nthree"))
    logs = [chunk async for chunk in bench.engine.stream_logs(container, follow=True, tail=2, timestamps=True)]
    lines = b"".join(logs).splitlines()
    assert [line.partition(b" ")[2] for line in lines] == [b"two", b"three"]
    assert all(line.startswith(b"20") for line in lines)


async def test_files_are_written_and_read_whether_it_runs_or_not(bench: Bench) -> None:
    container = await bench.create("files")
    entries = [
        FileEntry("/etc/deep/down", None, 0o750, 1_700_000_001, 1_700_000_002),
        FileEntry("/etc/deep/down/file", b"\x00binary\xff", 0o640, 1_700_000_001, 1_700_000_002),
        FileEntry("/etc/" + "long" * 60, b"long"),
    ]
    await bench.engine.put_files(container, entries)
    assert await bench.engine.read_file(container, "/etc/deep/down/file") == b"\x00binary\xff"
    await bench.engine.start_container(container)
    await bench.engine.put_files(container, [FileEntry("/etc/deep/down/file", b"second")])
    assert await bench.engine.read_file(container, "/etc/deep/down/file") == b"second"
    assert await bench.engine.read_file(container, entries[2].path) == b"long"
    assert await bench.run_command(container, "cat", "/etc/deep/down/file") == "second"


async def test_what_differs_between_a_container_and_its_image_is_listed(bench: Bench) -> None:
    for is_running in (False, True):
        container = await bench.create(f"changed-{is_running}")
        if is_running:
            await bench.engine.start_container(container)
        await bench.engine.put_files(
            container,
            [FileEntry("/opt/tool/bin/run", b"new"), FileEntry("/etc/passwd", b"root:x:0:0::/root:/bin/sh\n#")],
        )
        kinds = {change.path: change.kind for change in await bench.engine.list_changes(container)}
        assert kinds["/opt/tool/bin/run"] is FileChangeKind.ADDED
        assert kinds["/etc/passwd"] is FileChangeKind.CHANGED
        assert kinds["/etc"] is FileChangeKind.CHANGED
        assert "/bin/sh" not in kinds
        assert not [path for path in kinds if path.startswith("/workspace/")]
    with pytest.raises(NotFoundError):
        await bench.engine.list_changes("nobody")


async def test_a_folder_that_is_gone_stands_for_all_that_was_in_it(docker_bench: Bench) -> None:
    container = await docker_bench.run("emptied")
    await docker_bench.run_command(container, "rm", "-r", "/tmp")
    changes = [change for change in await docker_bench.engine.list_changes(container) if "/tmp" in change.path]
    assert changes == [FileChange("/tmp", FileChangeKind.REMOVED)]


async def test_what_is_no_regular_file_is_not_read(bench: Bench) -> None:
    container = await bench.create("nofile")
    for path in ("/etc", "/etc/missing", "/missing/file", "/etc/passwd/below"):
        assert await bench.engine.read_file(container, path) is None
    with pytest.raises(ConflictError, match="/etc/passwd"):
        await bench.engine.read_file(container, "/etc/passwd", limit_bytes=5)
    with pytest.raises(ConflictError):
        await bench.engine.put_files(container, [FileEntry("/etc", b"in place of a directory")])


async def test_links_are_followed_inside_the_container(bench: Bench) -> None:
    container = await bench.run("links")
    expected = await bench.engine.read_file(container, "/etc/passwd")
    links = {
        "/good": "etc/passwd",
        "/twice": "/good",
        "/out": "../../../../etc/passwd",
        "/bad": "/none",
        "/loop": "loop",
    }
    for link, target in links.items():
        await bench.run_command(container, "ln", "-s", target, link)
    for link in ("/good", "/twice", "/out"):
        assert await bench.engine.path_exists(container, link)
        assert await bench.engine.read_file(container, link) == expected
    for link in ("/bad", "/loop"):
        assert not await bench.engine.path_exists(container, link)
        assert await bench.engine.read_file(container, link) is None


async def test_a_path_exists_or_not(bench: Bench) -> None:
    container = await bench.create("paths")
    found = {
        path: await bench.engine.path_exists(container, path) for path in ("/", "/etc", "/bin/sh", "/etc/passwd/x")
    }
    assert found == {"/": True, "/etc": True, "/bin/sh": True, "/etc/passwd/x": False}


@pytest.mark.engine
async def test_files_keep_owner_and_mode_on_the_real_engine(docker_bench: Bench) -> None:
    container = await docker_bench.run("owners")
    entry = FileEntry("/etc/sudoers.d/owner", b"x", 0o4440, 1_700_000_001, 1_700_000_002)
    await docker_bench.engine.put_files(container, [entry])
    shown = await docker_bench.run_command(container, "stat", "-c", "%f %u %g", entry.path)
    mode, uid, gid = shown.split()
    assert (stat.S_IMODE(int(mode, 16)), int(uid), int(gid)) == (0o4440, 1_700_000_001, 1_700_000_002)


@pytest.mark.engine
async def test_user_groups_gpu_and_mounts_are_inside_on_the_real_engine(docker_bench: Bench, workspace: Path) -> None:
    (workspace / "marker").write_text("from the host", encoding="utf-8")
    container = await docker_bench.run("inside", gpu_uuids=(GPU,))
    result = await docker_bench.engine.run_exec(container, ExecSpec(("id",)), deadline=SECONDS)
    assert result.stdout.startswith("uid=1000 gid=1000")
    assert "100" in result.stdout
    assert "1001" in result.stdout
    shown = await docker_bench.engine.run_exec(container, ExecSpec(("cat", "/proc/1/environ")), deadline=SECONDS)
    assert f"NVIDIA_VISIBLE_DEVICES={GPU}" in shown.stdout.split("\0")
    assert await docker_bench.run_command(container, "cat", "/workspace/marker") == "from the host"


async def test_cpus_memory_and_pids_are_changed_while_a_container_runs_and_the_rest_stays(bench: Bench) -> None:
    container = await bench.run("lowered")
    before = (await bench.engine.get_container(container)).limits
    wanted = ResourceLimits(
        nano_cpus=250_000_000, memory_bytes=48 * 1024**2, memory_swap_bytes=48 * 1024**2, pids_limit=50
    )
    await bench.engine.update_container(container, wanted)
    after = await bench.engine.get_container(container)
    assert after.state is ContainerState.RUNNING
    assert after.limits == replace(
        before, nano_cpus=250_000_000, memory_bytes=48 * 1024**2, memory_swap_bytes=48 * 1024**2, pids_limit=50
    )


async def test_a_limit_of_zero_is_left_as_it_is(bench: Bench) -> None:
    container = await bench.create("partly")
    before = (await bench.engine.get_container(container)).limits
    await bench.engine.update_container(container, ResourceLimits(pids_limit=60))
    assert (await bench.engine.get_container(container)).limits == replace(before, pids_limit=60)


async def test_what_a_container_has_written_is_measured(bench: Bench) -> None:
    container = await bench.create("writer")
    before = await bench.engine.measure_container(container)
    await bench.engine.put_files(container, [FileEntry("/tmp/grown", b"x" * 100_000)])
    assert await bench.engine.measure_container(container) - before >= 100_000
    with pytest.raises(NotFoundError):
        await bench.engine.measure_container("nobody")
    with pytest.raises(NotFoundError):
        await bench.engine.update_container("nobody", ResourceLimits(pids_limit=60))
