"""What every Engine does with builds, commits and archives: the Docker Engine and the one in memory."""

import asyncio
import io
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest

from ds01.domain.images.dockerfile_images import used_images
from ds01.errors import BackendError, InvalidRequestError, NotFoundError
from ds01.service.build_context import judged_path, read_dockerfile, with_dockerfile
from ds01.service.ports import BuildSpec
from tests.contract.engine_bench import IMAGE, LABEL, SECONDS, Bench
from tests.fake_engine import FakeEngine

pytest_plugins = ("tests.contract.engine_fixtures",)
BUILT = "ds01-dev/contract-built:one"


def tar_of(files: dict[str, bytes | None]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            header.mode = 0o755 if content is None else 0o644
            header.size = len(content or b"")
            archive.addfile(header, io.BytesIO(content or b""))
    return buffer.getvalue()


async def pieces_of(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def names_in(data: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return {member.name.rstrip("/") for member in archive}


async def exhausted(stream: AsyncGenerator[object, None]) -> None:
    """Read a stream to its end."""
    async with aclosing(stream) as pieces:
        async for _ in pieces:
            pass


async def build(bench: Bench, dockerfile: str) -> tuple[str, str]:
    """Build and return the output and the image's id."""
    context = tar_of({"Dockerfile": dockerfile.encode()})
    output, image = "", ""
    spec = BuildSpec(BUILT, labels={"ds01.contract": "yes"}, memory_bytes=256 * 1024**2, nano_cpus=10**9)
    async with aclosing(bench.engine.build_image(spec, pieces_of(context))) as steps:
        async for step in steps:
            output += step.text
            image = step.image_id or image
    return output, image


async def test_a_built_image_has_its_files_labels_and_name(bench: Bench) -> None:
    if isinstance(bench.engine, FakeEngine):
        bench.engine.build_steps["echo made > /made"] = lambda tree: tree.put("/made", b"made\n")
    output, image = await build(bench, f"FROM {IMAGE}\nRUN echo made > /made\n")
    assert "Step 1/" in output
    found = await bench.engine.find_image(BUILT)
    assert found is not None
    assert found.id == image or found.id.startswith(image)
    assert found.labels["ds01.contract"] == "yes"
    container = await bench.create("built", image=BUILT)
    assert await bench.engine.read_file(container, "/made") == b"made\n"
    await bench.engine.remove_container(container, force=True)
    await bench.engine.remove_image(BUILT)


async def test_a_build_that_fails_says_why_and_makes_no_image(bench: Bench) -> None:
    if isinstance(bench.engine, FakeEngine):

        def fail(_tree: object) -> None:
            raise BackendError("The command '/bin/sh -c exit 7' returned a non-zero code: 7")

        bench.engine.build_steps["exit 7"] = fail
    with pytest.raises(BackendError, match="7"):
        await build(bench, f"FROM {IMAGE}\nRUN exit 7\n")
    assert await bench.engine.find_image(BUILT) is None
    with pytest.raises(BackendError):
        await build(bench, "FROM ds01-dev/contract-nothing:none\n")


async def test_a_build_without_a_dockerfile_is_refused(bench: Bench) -> None:
    with pytest.raises((InvalidRequestError, BackendError)):
        await exhausted(bench.engine.build_image(BuildSpec(BUILT), tar_of({"other": b""})))


async def test_a_commit_keeps_what_was_written(bench: Bench) -> None:
    container = await bench.create("committed")
    await bench.engine.put_archive(container, "/", pieces_of(tar_of({"kept": b"kept"})))
    image = await bench.engine.commit_container(container, BUILT)
    other = await bench.create("committed-2", image=image)
    assert await bench.engine.read_file(other, "/kept") == b"kept"
    for made in (container, other):
        await bench.engine.remove_container(made, force=True)
    await bench.engine.remove_image(BUILT)
    with pytest.raises(NotFoundError):
        await bench.engine.commit_container("nothing", BUILT)


async def test_an_archive_goes_in_and_comes_out_whole(bench: Bench) -> None:
    container = await bench.create("copied")
    large = bytes(range(256)) * 4096
    packed = tar_of({"data": None, "data/large": large, "data/small": b"x"})
    await bench.engine.put_archive(container, "/tmp", pieces_of(packed))
    stat = await bench.engine.find_path(container, "/tmp/data/large")
    assert stat is not None
    assert (stat.name, stat.is_regular, stat.is_directory, stat.size_bytes) == ("large", True, False, len(large))
    folder = await bench.engine.find_path(container, "/tmp/data")
    assert folder is not None
    assert folder.is_directory
    async with aclosing(bench.engine.stream_archive(container, "/tmp/data")) as pieces:
        out = b"".join([piece async for piece in pieces])
    assert names_in(out) == {"data", "data/large", "data/small"}
    with tarfile.open(fileobj=io.BytesIO(out), mode="r:") as archive:
        content = archive.extractfile("data/large")
        assert content is not None
        assert content.read() == large


async def test_an_archive_needs_a_directory_and_a_container(bench: Bench) -> None:
    container = await bench.create("uncopied")
    packed = tar_of({"x": b"x"})
    with pytest.raises(NotFoundError):
        await bench.engine.put_archive(container, "/nowhere", pieces_of(packed))
    with pytest.raises((InvalidRequestError, BackendError)):
        await bench.engine.put_archive(container, "/etc/passwd", pieces_of(packed))
    with pytest.raises(NotFoundError):
        await bench.engine.put_archive("nothing", "/tmp", pieces_of(packed))
    assert await bench.engine.find_path(container, "/nowhere") is None
    with pytest.raises(NotFoundError):
        await bench.engine.find_path("nothing", "/tmp")
    with pytest.raises(NotFoundError):
        await exhausted(bench.engine.stream_archive(container, "/nowhere"))
    for path in ("relative", "/a/../b", "/a//b", "/nul\0"):
        with pytest.raises(InvalidRequestError):
            await bench.engine.put_archive(container, path, pieces_of(packed))


async def test_images_are_saved_and_loaded_again(bench: Bench) -> None:
    _, image = await build(bench, f"FROM {IMAGE}\nLABEL saved=yes\n")
    async with aclosing(bench.engine.save_images([BUILT])) as pieces:
        archive = b"".join([piece async for piece in pieces])
    await bench.engine.remove_image(BUILT)
    assert await bench.engine.find_image(BUILT) is None
    assert await bench.engine.load_images(pieces_of(archive, 65536)) == (BUILT,)
    found = await bench.engine.find_image(BUILT)
    assert found is not None
    assert found.id.startswith(image)
    assert found.layers
    await bench.engine.remove_image(BUILT)


async def test_what_is_no_archive_of_images_is_not_loaded(bench: Bench) -> None:
    with pytest.raises((BackendError, InvalidRequestError)):
        await bench.engine.load_images(pieces_of(b"this is no tar" * 100))


async def test_a_build_that_is_left_ends_its_step_and_makes_no_image(docker_bench: Bench) -> None:
    script = "echo begun; sleep 300"
    context = tar_of({"Dockerfile": f"FROM {IMAGE}\nLABEL ds01.contract=yes\nRUN {script}\n".encode()})
    async with aclosing(docker_bench.engine.build_image(BuildSpec(BUILT), context)) as steps:
        async for step in steps:
            if step.text == "begun\n":
                break
    async with asyncio.timeout(SECONDS.total_seconds()):
        while any(LABEL in row.labels for row in await docker_bench.engine.list_containers()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert await docker_bench.engine.find_image(BUILT) is None


async def test_buildkit_says_its_steps_and_what_they_print_too(bench: Bench) -> None:
    context = tar_of({"Dockerfile": f"FROM {IMAGE}\nRUN echo from-the-step\n".encode()})
    output, image = "", ""
    async with aclosing(bench.engine.build_image(BuildSpec(BUILT, uses_buildkit=True), pieces_of(context))) as steps:
        async for step in steps:
            output += step.text
            image = step.image_id or image
    assert "Step " in output
    assert "from-the-step" in output
    assert image.startswith("sha256:")
    await bench.engine.remove_image(BUILT)


HIDDEN = "ds01-dev/contract-hidden:one"
TAKES = (
    f"FROM {HIDDEN}",
    f"COPY --from={HIDDEN} /hidden /",
    f"RUN --mount=type=bind,from={HIDDEN},target=/x cp /x/hidden /",
)
WAYS = (
    "{}\n",
    "RUN cat <<EOF\nEOF\n{}\n",
    "RUN cat <<EOF\n{}\nEOF\n",
    "RUN cat <<E-F\nx \\\nE-F\n{}\n",
    "RUN cat <<'E-F'\nx\nE-F\n{}\n",
    'RUN echo \\" <<EOF \\" "\nx\nEOF\n{}\n',
    "RUN true \\\n# comment \\\n\n&& true\n{}\n",
    "RUN true \\\n{}\n",
    "ENV A=1 \\\n\\\n\\\n{}\n",
    "# escape=`\n{}\n",
    "\t {}\n",
)
FIRST_WAYS = (
    f"ARG B={HIDDEN}\nFROM $B\n",
    "ARG A=ds01-dev B=contract-hidden\nARG C=${A}/${B}:${NONE:-one}\nFROM ${C}\n",
    f'ARG B="{HIDDEN}"\nFROM "$B"\n',
    f"FROM --platform=$BUILDPLATFORM {HIDDEN}\n",
    f"FR\\\nOM {HIDDEN}\n",
    f"from\t{HIDDEN} as x\n",
    "FROM ds01-dev/\\\ncontract-hidden:one\n",
    "FROM ds01-dev/contract-hidden''\":one\"\n",
    f"ARG B=x\nFROM ${{B:+{HIDDEN}}}\n",
    f"ARG B=x\nFROM ${{B/x/{HIDDEN.replace('/', chr(92) + '/')}}}\n",
)


@pytest.mark.parametrize("uses_buildkit", [False, True])
async def test_whatever_a_builder_takes_from_was_found_before_or_refused(
    docker_bench: Bench, uses_buildkit: bool
) -> None:
    engine = docker_bench.engine
    hidden = tar_of({"Dockerfile": f"FROM {IMAGE}\nRUN echo it > /hidden\n".encode()})
    await exhausted(engine.build_image(BuildSpec(HIDDEN), hidden))
    took = 0
    for text in (*(f"FROM {IMAGE}\n{way.format(take)}" for way in WAYS for take in TAKES), *FIRST_WAYS):
        try:
            found = {image.reference for image in used_images(text)}
        except InvalidRequestError:
            found = {HIDDEN}  # it is refused, so it is not built
        if not await takes_hidden(docker_bench, text, uses_buildkit=uses_buildkit):
            continue
        took += 1
        assert HIDDEN in found, text
    assert took >= len(TAKES) + 4
    await engine.remove_image(HIDDEN)


async def takes_hidden(bench: Bench, text: str, *, uses_buildkit: bool) -> bool:
    """Tell whether a builder makes an image with the hidden file of a Dockerfile."""
    spec = BuildSpec(BUILT, uses_buildkit=uses_buildkit)
    try:
        await exhausted(bench.engine.build_image(spec, tar_of({"Dockerfile": text.encode()})))
    except (BackendError, InvalidRequestError):
        return False
    container = await bench.create("takes", image=BUILT)
    try:
        return await bench.engine.find_path(container, "/hidden") is not None
    finally:
        await bench.engine.remove_container(container, force=True)
        await bench.engine.remove_image(BUILT)


@pytest.mark.parametrize("uses_buildkit", [False, True])
async def test_the_dockerfile_that_was_judged_is_the_one_that_is_built(
    docker_bench: Bench, uses_buildkit: bool
) -> None:
    judged, other = f"FROM {IMAGE}\nRUN echo judged > /which\n", f"FROM {IMAGE}\nRUN echo other > /which\n".encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, target, content in (
            ("Dockerfile", tarfile.REGTYPE, "", judged.encode()),
            ("up", tarfile.SYMTYPE, ".", b""),
            ("up/Dockerfile", tarfile.REGTYPE, "", other),
            ("other", tarfile.REGTYPE, "", other),
        ):
            header = tarfile.TarInfo(name)
            header.type, header.linkname, header.size = kind, target, len(content)
            archive.addfile(header, io.BytesIO(content))
    hostile = buffer.getvalue()
    assert await read_dockerfile(lambda: pieces_of(hostile), "Dockerfile") == judged
    spec = BuildSpec(BUILT, dockerfile=judged_path("Dockerfile"), uses_buildkit=uses_buildkit)
    context = with_dockerfile(lambda: pieces_of(hostile), "Dockerfile", judged)
    await exhausted(docker_bench.engine.build_image(spec, context))
    container = await docker_bench.create("judged", image=BUILT)
    assert await docker_bench.engine.read_file(container, "/which") == b"judged\n"
    await docker_bench.engine.remove_container(container, force=True)
    await docker_bench.engine.remove_image(BUILT)


async def test_the_triggers_of_an_image_are_told(docker_bench: Bench) -> None:
    trigger = f"COPY --from={IMAGE} /bin/sh /taken"
    await exhausted(
        docker_bench.engine.build_image(
            BuildSpec(BUILT), tar_of({"Dockerfile": f"FROM {IMAGE}\nONBUILD {trigger}\n".encode()})
        )
    )
    found = await docker_bench.engine.find_image(BUILT)
    assert found is not None
    assert found.triggers == (trigger,)
    await docker_bench.engine.remove_image(BUILT)
