"""What every Engine does with programs, images and events: the Docker Engine and the one in memory."""

import asyncio
from datetime import timedelta

import pytest

from ds01.domain.containers.container import ContainerState
from ds01.errors import BackendError, BackendTimeoutError, ConflictError, InvalidRequestError, NotFoundError
from ds01.service.ports import ExecSpec, FileEntry
from tests.contract.engine_bench import (
    IMAGE,
    LABEL,
    PUBLISHED,
    SECONDS,
    TWO_OUTPUTS,
    UID,
    Bench,
    EventLog,
    exchange,
    exchange_to_end,
)

pytest_plugins = ("tests.contract.engine_fixtures",)
NOW = timedelta(0)


async def test_a_program_is_run_to_its_end(bench: Bench) -> None:
    container = await bench.run("program")
    result = await bench.engine.run_exec(container, ExecSpec(("sh", "-c", TWO_OUTPUTS)), deadline=SECONDS)
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")
    missing = await bench.engine.run_exec(container, ExecSpec(("no-such-program",)), deadline=SECONDS)
    assert missing.exit_code == 126
    assert "executable file not found" in missing.stdout


async def test_a_program_that_takes_too_long_is_a_timeout(bench: Bench) -> None:
    container = await bench.run("slow")
    with pytest.raises(BackendTimeoutError, match="sleep"):
        await bench.engine.run_exec(container, ExecSpec(("sleep", "30")), deadline=timedelta(milliseconds=200))


async def test_no_program_starts_in_a_container_that_does_not_run(bench: Bench) -> None:
    container = await bench.create("idle")
    with pytest.raises(ConflictError, match="not running"):
        await bench.engine.create_exec(container, ExecSpec(("true",)))
    with pytest.raises(ConflictError, match="not running"):
        await bench.engine.list_processes(container)
    with pytest.raises(ConflictError, match="not running"):
        await bench.engine.get_stats(container)


async def test_a_programs_stream_carries_both_directions_and_its_end(bench: Bench) -> None:
    container = await bench.run("stream")
    exec_id = await bench.engine.create_exec(container, ExecSpec(("cat",), has_stdin=True))
    prepared = await bench.engine.get_exec(exec_id)
    assert (prepared.is_running, prepared.exit_code, prepared.container_id) == (False, None, container)
    stream = await bench.engine.start_exec(exec_id, has_terminal=False)
    async with asyncio.timeout(SECONDS.total_seconds()):
        while not (await bench.engine.get_exec(exec_id)).is_running:  # noqa: ASYNC110 - the engine tells a little later
            await asyncio.sleep(0.01)
    assert await exchange_to_end(stream, b"hello\n") == b"\x01\0\0\0\0\0\0\x06hello\n"
    assert await bench.exit_code(exec_id) == 0


async def test_a_terminals_stream_is_raw_and_has_a_size(bench: Bench) -> None:
    container = await bench.run("terminal")
    spec = ExecSpec(("cat",), has_stdin=True, has_terminal=True)
    exec_id = await bench.engine.create_exec(container, spec)
    stream = await bench.engine.start_exec(exec_id, has_terminal=True)
    await bench.engine.resize_exec(exec_id, rows=24, columns=80)
    assert (await exchange(stream, b"hello\n", until=b"hello\r\n")).startswith(b"hello\r\n")


async def test_an_exec_that_is_not_there_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFoundError):
        await bench.engine.get_exec("0" * 64)
    with pytest.raises(NotFoundError):
        await bench.engine.start_exec("0" * 64, has_terminal=False)


async def test_a_stream_can_be_closed_twice(bench: Bench) -> None:
    container = await bench.run("closed")
    stream = await bench.engine.attach_container(container)
    stream.close()
    stream.close()
    assert (await bench.engine.get_container(container)).state is ContainerState.RUNNING


async def test_the_terminal_of_pid_1_can_be_attached(bench: Bench) -> None:
    container = await bench.run("attached", entrypoint=("cat",))
    await bench.engine.resize_container(container, rows=24, columns=80)
    stream = await bench.engine.attach_container(container)
    assert b"hello" in await exchange(stream, b"hello\n", until=b"hello\r\n")
    await bench.engine.stop_container(container, grace=NOW)
    with pytest.raises(ConflictError, match="not running"):
        await bench.engine.attach_container(container)


async def test_a_running_container_shows_its_processes_and_its_figures(bench: Bench) -> None:
    container = await bench.run("measured", entrypoint=("sleep", "1000"))
    processes = await bench.engine.list_processes(container)
    assert [process["CMD"] for process in processes] == ["sleep 1000"]
    assert int(processes[0]["PID"]) == (await bench.engine.get_container(container)).pid
    stats = await bench.engine.get_stats(container)
    assert stats.online_cpus >= 1
    assert stats.system_cpu_ns > stats.previous_system_cpu_ns > 0
    assert stats.cpu_total_ns >= stats.previous_cpu_total_ns
    assert 0 < stats.memory_used_bytes < stats.memory_limit_bytes
    assert stats.pids == 1
    assert stats.network_rx_bytes is not None
    assert stats.cpu_ratio is not None


async def test_an_image_has_names_and_can_be_given_more(bench: Bench) -> None:
    image = await bench.engine.find_image(IMAGE)
    assert image is not None
    await bench.engine.tag_image(IMAGE, "ds01-dev/other:mine")
    other = await bench.engine.find_image("ds01-dev/other:mine")
    assert other is not None
    assert other.id == image.id
    row = next(row for row in await bench.engine.list_images() if row.id == image.id)
    assert {IMAGE, "ds01-dev/other:mine"} <= set(row.tags)
    assert row.size_bytes == image.size_bytes
    await bench.engine.remove_image("ds01-dev/other:mine")
    await bench.engine.remove_image("ds01-dev/other:mine")
    assert await bench.engine.find_image("ds01-dev/other:mine") is None
    assert await bench.engine.find_image(image.id) is not None


@pytest.mark.parametrize("after_ms", [1, 3, 6, 12])
async def test_a_change_that_was_broken_off_has_happened_or_never_will(bench: Bench, after_ms: int) -> None:
    # many at once, because the engine does them one after another: most wait inside it when they are broken off
    tags = [f"ds01-dev/cut:{number}" for number in range(60)]
    changes = [asyncio.create_task(bench.engine.tag_image(IMAGE, tag)) for tag in tags]
    await asyncio.sleep(after_ms / 1000)
    for change in changes:
        change.cancel()
    await asyncio.gather(*changes, return_exceptions=True)
    at_once = await _names_of(bench, "ds01-dev/cut")
    await asyncio.sleep(0.3)
    later = await _names_of(bench, "ds01-dev/cut")
    for tag in tags:
        await bench.engine.remove_image(tag)
    assert at_once == later


async def test_a_stop_that_waits_is_left_at_once(bench: Bench) -> None:
    container = await bench.run("patient", command=("sh", "-c", "trap '' TERM; while :; do sleep 1; done"))
    stopping = asyncio.create_task(bench.engine.stop_container(container, grace=timedelta(minutes=2)))
    await asyncio.wait({stopping}, timeout=0.3)
    stopping.cancel()
    async with asyncio.timeout(SECONDS.total_seconds()):
        await asyncio.wait({stopping})
    await bench.engine.remove_container(container, force=True)


async def _names_of(bench: Bench, repository: str) -> list[str]:
    rows = await bench.engine.list_images()
    return sorted(tag for row in rows for tag in row.tags if tag.startswith(repository + ":"))


async def test_a_name_that_no_image_can_have_is_refused(bench: Bench) -> None:
    with pytest.raises(InvalidRequestError):
        await bench.engine.tag_image(IMAGE, "ds01-dev/UPPER:case")
    with pytest.raises(NotFoundError):
        await bench.engine.tag_image("ds01-dev/nothing:here", "ds01-dev/other:mine")


async def test_an_image_is_pulled_with_progress_and_removed(bench: Bench) -> None:
    assert await bench.engine.find_image(PUBLISHED) is None
    progress = [step async for step in bench.engine.pull_image(PUBLISHED)]
    assert progress[-1].status
    assert await bench.engine.find_image(PUBLISHED) is not None
    await bench.engine.remove_image(PUBLISHED)
    assert await bench.engine.find_image(PUBLISHED) is None


async def test_an_image_that_the_registry_lacks_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFoundError):
        _ = [step async for step in bench.engine.pull_image(f"{bench.registry}/contract:absent")]


async def test_the_last_name_of_an_image_in_use_is_not_removed(bench: Bench) -> None:
    await bench.create("user")
    with pytest.raises(ConflictError):
        await bench.engine.remove_image(IMAGE)


async def test_events_tell_what_happens_and_can_be_resumed(bench: Bench) -> None:
    log = EventLog()
    follower = asyncio.create_task(log.follow(bench.engine.watch_events()))
    await asyncio.sleep(0)
    container = await bench.run("eventful", entrypoint=("sh", "-c", TWO_OUTPUTS))
    died = await log.until("die", container)
    await bench.engine.remove_container(container)
    destroyed = await log.until("destroy", container)
    follower.cancel()
    own = [event for event in log.seen if event.kind == "container" and event.actor_id == container]
    assert [event.action for event in own] == ["create", "start", "die", "destroy"]
    assert died.attributes["exitCode"] == "3"
    assert died.attributes["name"] == f"eventful._.{UID}"
    assert died.attributes[LABEL] == "yes"
    assert [event.at for event in own] == sorted(event.at for event in own)

    resumed = EventLog()
    again = asyncio.create_task(resumed.follow(bench.engine.watch_events(since=died.cursor)))
    assert await resumed.until("destroy", container) == destroyed
    again.cancel()
    assert died in resumed.seen
    assert own[0] not in resumed.seen


async def test_closing_the_engine_ends_who_watches_it(bench: Bench) -> None:
    log = EventLog()
    follower = asyncio.create_task(log.follow(bench.engine.watch_events()))
    container = await bench.create("last")
    await log.until("create", container)
    await bench.engine.close()
    with pytest.raises(BackendError):
        await asyncio.wait_for(follower, SECONDS.total_seconds())


async def test_every_change_passes_the_checkpoint_and_no_question_does(bench: Bench) -> None:
    engine = bench.engine
    container = await bench.create("counted")
    changes = [
        engine.start_container(container),
        engine.put_files(container, [FileEntry("/tmp/file", b"")]),
        engine.run_exec(container, ExecSpec(("true",)), deadline=SECONDS),
        engine.tag_image(IMAGE, "ds01-dev/other:counted"),
        engine.remove_image("ds01-dev/other:counted"),
        engine.kill_container(container, signal="HUP"),
        engine.stop_container(container, grace=NOW),
        engine.remove_container(container),
    ]
    for change in changes:
        before = len(bench.steps)
        await change
        assert len(bench.steps) > before
    before = len(bench.steps)
    await engine.get_info()
    await engine.list_containers()
    await engine.list_images()
    await engine.find_container(container)
    assert len(bench.steps) == before
    assert all(step.startswith("engine: ") for step in bench.steps)


async def test_many_calls_run_at_once(bench: Bench) -> None:
    container = await bench.create("crowd")
    found = await asyncio.gather(*(bench.engine.get_container(container) for _ in range(200)))
    assert {details.id for details in found} == {container}
