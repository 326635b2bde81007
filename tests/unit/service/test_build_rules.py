"""What a build may take from, what it gets of the site, and what is never said of that."""

import asyncio
import io
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.domain import label
from ds01.domain.images.build_site import BuildSite
from ds01.domain.rules.site import Access, Site
from ds01.errors import BackendError, Ds01Error, ForbiddenError, InvalidRequestError, NotFoundError
from ds01.service.build_context import JUDGED_NAME, with_dockerfile
from ds01.service.building import BuildOrder
from tests.fake_engine import FileTree
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, IMAGE, Stage
from tests.unit.service.test_building import context, pieces

MINE = f"ds01.invalid/u{ALICE_CALLER.uid}/mine:latest"
BOBS = f"ds01.invalid/u{BOB_CALLER.uid}/theirs"
PROXY = "http://lab:s3cret@proxy.lab:3128"


@pytest.fixture
def stage() -> Stage:
    found = Stage()
    found.add_image()
    found.add_image(BOBS)
    return found


def allow(stage: Stage, *registries: str) -> None:
    site = Site(access=Access(registries=registries), origins={"access.registries": "resource-limits.yaml:3"})
    stage.policy = replace(stage.policy, site=site)


async def build(stage: Stage, dockerfile: str, data: bytes | None = None, path: str = "Dockerfile") -> list[str]:
    said: list[str] = []

    async def note(message: Mapping[str, object]) -> None:
        said.append(str(message.get("message", "")))

    order = BuildOrder("mine", path)
    await stage.boot().building.build(ALICE_CALLER, order, pieces(data or context(dockerfile)), note)
    return said


@pytest.mark.parametrize(
    "dockerfile",
    [
        f"FROM {BOBS}\n",
        f"FROM {BOBS}:latest AS x\nFROM x\n",
        f"ARG B={BOBS}\nFROM $B\n",
        f"FROM {IMAGE}\nCOPY --from={BOBS} / /\n",
        f"FROM {IMAGE}\nRUN --mount=type=bind,from={BOBS},target=/x cp -r /x /y\n",
        f"FROM {IMAGE}\nRUN cat <<EOF\nFROM {BOBS}\nEOF\n",
    ],
)
async def test_the_image_of_another_is_not_there_for_a_build(stage: Stage, dockerfile: str) -> None:
    with pytest.raises(NotFoundError, match=r"Line \d of the Dockerfile .*you may use"):
        await build(stage, dockerfile)
    assert not stage.engine.built_specs


async def test_the_id_of_anothers_image_does_not_help(stage: Stage) -> None:
    image = await stage.engine.find_image(BOBS)
    assert image is not None
    for text in (image.id, image.id.removeprefix("sha256:")[:20]):
        with pytest.raises(NotFoundError):
            await build(stage, f"FROM {text}\n")
    assert not stage.engine.built_specs


async def test_an_image_that_has_a_public_name_too_may_be_used(stage: Stage) -> None:
    image = await stage.engine.find_image(BOBS)
    assert image is not None
    await stage.engine.tag_image(image.id, "registry.example/shared:1")
    await build(stage, "FROM registry.example/shared:1\n")
    assert stage.engine.built_specs


async def test_a_trigger_of_a_base_image_cannot_take_from_anothers(stage: Stage) -> None:
    base = await stage.engine.find_image(IMAGE)
    assert base is not None
    stage.engine.images[base.id].details = replace(base, triggers=(f"COPY --from={BOBS} / /",))
    with pytest.raises(NotFoundError, match="A trigger of a base image"):
        await build(stage, f"FROM {IMAGE}\n")
    assert not stage.engine.built_specs


@pytest.mark.parametrize(
    "dockerfile",
    [
        "FROM ghcr.io/lab/base\n",
        "ARG HOST=ghcr.io\nFROM ${HOST}/lab/base\n",
        f"FROM {IMAGE} AS one\nFROM ghcr.io/lab/base\n",
        f"FROM {IMAGE}\nCOPY --from=ghcr.io/lab/base / /\n",
        f"FROM {IMAGE}\nRUN --mount=from=ghcr.io/lab/base,target=/x true\n",
        f"# syntax=docker/dockerfile:1\nFROM {IMAGE}\n",
    ],
)
async def test_a_registry_that_is_not_allowed_stops_the_build_before_it_starts(stage: Stage, dockerfile: str) -> None:
    allow(stage, "registry.example")
    with pytest.raises(ForbiddenError) as caught:
        await build(stage, dockerfile)
    assert "access.registries in resource-limits.yaml:3" in caught.value.message
    assert "Line" in caught.value.message
    assert not stage.engine.built_specs


async def test_nothing_is_fetched_before_everything_was_judged(stage: Stage) -> None:
    allow(stage, "registry.example")
    stage.engine.publish("registry.example/other")
    with pytest.raises(ForbiddenError):
        await build(stage, "FROM registry.example/other AS one\nFROM ghcr.io/lab/base\n")
    assert await stage.engine.find_image("registry.example/other") is None


async def test_a_base_that_is_here_is_used_whatever_its_registry(stage: Stage) -> None:
    allow(stage, "docker.io")
    await build(stage, f"FROM {IMAGE}\n")
    assert stage.engine.built_specs


async def test_a_frontend_of_strangers_is_refused(stage: Stage) -> None:
    with pytest.raises(InvalidRequestError, match="frontend 'lab/frontend:1'"):
        await build(stage, f"# syntax=lab/frontend:1\nFROM {IMAGE}\n")


async def test_a_missing_base_is_fetched_with_lines_of_its_own_and_its_digest_is_kept(stage: Stage) -> None:
    stage.engine.publish("registry.example/other")
    said = await build(stage, "FROM registry.example/other\n")
    assert "Pulling registry.example/other\n" in said
    base = await stage.engine.find_image("registry.example/other")
    built = await stage.engine.find_image(MINE)
    assert base is not None
    assert built is not None
    assert built.labels[label.BASES] == f"registry.example/other={base.id}"
    events = await stage.store.read(lambda transaction: transaction.list_events())
    assert events[-1].details["bases"] == [f"registry.example/other={base.id}"]
    assert events[-1].details["id"] == built.id


async def test_a_base_that_no_registry_has_is_said_with_its_line(stage: Stage) -> None:
    with pytest.raises(NotFoundError, match=r"Line 2 of the Dockerfile \(FROM\): There is no image"):
        await build(stage, "# a\nFROM registry.example/none\n")


async def test_what_was_judged_is_what_is_built(stage: Stage) -> None:
    judged, other = f"FROM {IMAGE}\nRUN judged\n", f"FROM {BOBS}\n"
    with pytest.raises(InvalidRequestError, match="holds 2 of them"):
        await build(stage, "", tar_of(("Dockerfile", judged), ("./Dockerfile", other)))
    with pytest.raises(InvalidRequestError, match="holds none"):
        await build(stage, "", context(judged), path="Other")
    linked = tar_of(("Dockerfile", judged), ("here", None), ("here/Dockerfile", other), ("sub/Dockerfile", judged))
    for path, target in (("Dockerfile", "Dockerfile"), ("sub/Dockerfile", JUDGED_NAME)):
        sent = b"".join([piece async for piece in with_dockerfile(pieces(linked), path, judged)])
        with tarfile.open(fileobj=io.BytesIO(sent)) as archive:
            last = archive.getmembers()[-1]
            content = archive.extractfile(last)
            assert content is not None
            assert (last.name, content.read().decode()) == (target, judged)


def tar_of(*entries: tuple[str, str | None]) -> bytes:
    """Pack files; without content it is a link to the folder that it is in."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in entries:
            header = tarfile.TarInfo(name)
            if text is None:
                header.type, header.linkname = tarfile.SYMTYPE, "."
            content = (text or "").encode()
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return packed.getvalue()


async def test_the_proxies_reach_the_build_and_nothing_that_is_said_or_kept(stage: Stage) -> None:
    stage.build_site = BuildSite({"HTTP_PROXY": PROXY})

    def fail(_tree: FileTree) -> None:
        raise BackendError(f"non-zero code: 1: cannot reach {PROXY}")

    stage.engine.build_steps["fetch"] = fail
    said = await build(stage, f"FROM {IMAGE}\nRUN echo {PROXY}\n")
    assert stage.engine.built_specs[-1].arguments == {"HTTP_PROXY": PROXY, "http_proxy": PROXY}
    assert "RUN echo http://***@proxy.lab:3128" in "".join(said)
    with pytest.raises(Ds01Error) as caught:
        await build(stage, f"FROM {IMAGE}\nRUN echo {PROXY}\nRUN fetch\n")
    events = await stage.store.read(lambda transaction: transaction.list_events())
    image = await stage.engine.find_image(MINE)
    for text in (caught.value.message, caught.value.details, caught.value.hint, said, events, image):
        assert "s3cret" not in str(text)


async def test_no_line_and_no_trigger_may_declare_a_proxy(stage: Stage) -> None:
    stage.build_site = BuildSite({"HTTP_PROXY": PROXY})
    with pytest.raises(InvalidRequestError, match="Line 2 of the Dockerfile: ARG HTTP_PROXY"):
        await build(stage, f"FROM {IMAGE}\nARG http_proxy\n")
    base = await stage.engine.find_image(IMAGE)
    assert base is not None
    stage.engine.images[base.id].details = replace(base, triggers=("ARG HTTP_PROXY",))
    with pytest.raises(InvalidRequestError, match="ARG HTTP_PROXY"):
        await build(stage, f"FROM {IMAGE}\n")
    assert not stage.engine.built_specs


async def test_a_base_must_not_be_named_by_a_proxy(stage: Stage) -> None:
    stage.build_site = BuildSite({"HTTP_PROXY": PROXY})
    with pytest.raises(InvalidRequestError) as caught:
        await build(stage, "FROM $HTTP_PROXY\n")
    assert "s3cret" not in str(caught.value)


async def test_pips_configuration_is_lent_for_the_build_only(stage: Stage) -> None:
    stage.build_site = BuildSite(pip_config="[global]\nindex-url = https://me:tok3n@pypi.lab/simple\n")
    before = {tag for image in stage.engine.images.values() for tag in image.details.tags}
    said = await build(stage, f"FROM {IMAGE}\nRUN pip install numpy\n")
    holder, built = stage.engine.built_specs
    assert holder.tag.startswith("ds01.invalid/pip-")
    assert built.uses_buildkit
    assert "Step 2/2 : RUN pip install numpy\n" in said
    after = {tag for image in stage.engine.images.values() for tag in image.details.tags}
    assert {tag.rpartition(":")[0] for tag in after - before} == {MINE.rpartition(":")[0]}


async def test_pips_configuration_goes_also_when_the_build_fails(stage: Stage) -> None:
    def fail(_tree: FileTree) -> None:
        raise BackendError("non-zero code: 1")

    stage.build_site = BuildSite(pip_config="[global]\n")
    stage.engine.every_step = fail
    with pytest.raises(Ds01Error, match="RUN fetch"):
        await build(stage, f"FROM {IMAGE}\nRUN fetch\n")
    assert len(stage.engine.built_specs) == 2
    assert not [tag for image in stage.engine.images.values() for tag in image.details.tags if "/pip-" in tag]


async def test_a_file_of_the_site_that_cannot_be_read_fails_the_build_and_says_whose_matter_it_is(stage: Stage) -> None:
    def broken() -> BuildSite:
        raise InvalidRequestError("proxies:2: this is no proxy.")

    services = stage.boot()
    services.building._site = broken

    async def ignore(_message: Mapping[str, object]) -> None:
        pass

    with pytest.raises(BackendError, match="proxies:2: this is no proxy") as caught:
        await services.building.build(ALICE_CALLER, BuildOrder("mine"), pieces(context(f"FROM {IMAGE}\n")), ignore)
    assert caught.value.hint == "Tell your administrator."


async def test_a_build_that_takes_longer_than_the_site_allows_is_stopped_and_can_be_done_again(stage: Stage) -> None:
    stage.build_site = BuildSite(time_limit=timedelta(milliseconds=1))
    services = stage.boot()

    async def wait(_message: Mapping[str, object]) -> None:
        await asyncio.Event().wait()

    data = pieces(context(f"FROM {IMAGE}\nRUN make\n"))
    for _ in range(2):
        with pytest.raises(Ds01Error, match=r"builds\.time_limit") as caught:
            await services.building.build(ALICE_CALLER, BuildOrder("mine"), data, wait)
        assert caught.value.details["cause"] == "time_limit"
    assert await stage.engine.find_image(MINE) is None
