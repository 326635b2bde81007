"""The site's rules about images hold wherever an image is used."""

from dataclasses import replace

import pytest

from ds01.config.catalogue import read_shipped_catalogue
from ds01.domain.images.image_choice import CatalogueChoice
from ds01.domain.rules.site import Access, Site
from ds01.errors import ForbiddenError, NotFoundError
from ds01.service.images import ImageOrder
from ds01.service.order import CreateOrder
from tests.fakes import ALICE, BOB, ROOT
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, IMAGE, Stage

BOBS = f"ds01.invalid/u{BOB.uid}/theirs:latest"


@pytest.fixture
def stage() -> Stage:
    found = Stage()
    found.add_image()
    found.add_image(BOBS)
    site = Site(access=Access(registries=("docker.io",)), origins={"access.registries": "resource-limits.yaml:3"})
    found.policy = replace(found.policy, site=site)
    found.engine.publish("ghcr.io/lab/base")
    found.engine.publish("lab/base")
    return found


async def test_an_image_of_a_registry_that_is_not_allowed_is_neither_pulled_nor_made_a_container(stage: Stage) -> None:
    order = ImageOrder(image="ghcr.io/lab/base")
    before = await stage.picture()
    for refused in (
        stage.services.catalogue.pull(ALICE, order, stage.notify),
        stage.services.creation.create(ALICE_CALLER, CreateOrder("demo", order), stage.notify),
        stage.services.creation.dry_run(ALICE_CALLER, CreateOrder("demo", order)),
        stage.services.creation.prepare(ALICE_CALLER, CreateOrder("demo", order)),
    ):
        with pytest.raises(ForbiddenError, match=r"ghcr.io/lab/base comes from ghcr.io.*resource-limits.yaml:3"):
            await refused
    assert await stage.picture() == before


@pytest.mark.parametrize(
    ("word", "proposed"),
    [
        ("pytroch", "Did you mean the framework pytorch?"),
        ("thesiss", "Did you mean thesis?"),
        ("thesiss:latest", "Did you mean thesis?"),
        ("ubuntu:24.4", "Did you mean ubuntu:24.04?"),
        ("zzz", "`ds01 image list` shows"),
    ],
)
async def test_a_mistyped_name_is_not_found_and_not_a_forbidden_registry(
    stage: Stage, word: str, proposed: str
) -> None:
    stage.add_image(f"ds01.invalid/u{ALICE.uid}/thesis:latest")
    stage.add_image("ubuntu:24.04")
    stage.engine.publish(word)
    stage.policy = replace(stage.policy, site=Site(access=Access(registries=("registry.lab",))))
    order, before = CreateOrder("demo", ImageOrder(image=word)), await stage.picture()
    for refused in (
        stage.services.creation.create(ALICE_CALLER, order, stage.notify),
        stage.services.creation.dry_run(ALICE_CALLER, order),
        stage.services.creation.prepare(ALICE_CALLER, order),
    ):
        with pytest.raises(NotFoundError, match=r"no image .* here.*comes from docker.io.*access.registries") as caught:
            await refused
        assert proposed in (caught.value.hint or "")
        assert "theirs" not in (caught.value.hint or ""), "what others have is hidden"
    assert await stage.picture() == before
    assert stage.engine.calls["pull_image"] == 0


async def test_a_name_with_a_folder_or_a_host_was_meant_as_one_of_a_registry(stage: Stage) -> None:
    stage.policy = replace(stage.policy, site=Site(access=Access(registries=("registry.lab",))))
    for reference in ("lab/base", "ghcr.io/lab/base"):
        with pytest.raises(ForbiddenError):
            await stage.services.creation.dry_run(ALICE_CALLER, CreateOrder("demo", ImageOrder(image=reference)))


async def test_an_allowed_registry_is_fetched_from_and_what_is_here_needs_no_registry(stage: Stage) -> None:
    assert (await stage.services.catalogue.pull(ALICE, ImageOrder(image="lab/base"), stage.notify)).image.id
    assert await stage.create("demo", count=0)  # IMAGE is of registry.example


async def test_the_catalogue_offers_no_framework_that_the_site_does_not_fetch(stage: Stage) -> None:
    assert isinstance((await stage.services.catalogue.offer("pytorch")).choices["Pytorch"], CatalogueChoice)
    stage.policy = replace(stage.policy, site=Site(access=Access(registries=("registry.lab",))))
    choice = (await stage.services.catalogue.offer("pytorch")).choices["Pytorch"]
    assert isinstance(choice, str)
    assert "comes from docker.io" in choice
    everything = await stage.services.catalogue.offer("pytorch", everything=True)
    assert everything.rows
    assert not any(row.is_chosen for row in everything.rows)
    newest = next(
        row for row in read_shipped_catalogue() if row.framework == "Pytorch" and "CUDA_ADA" in row.architectures
    )
    stage.engine.add_image(newest.image)
    here = (await stage.services.catalogue.offer("pytorch", "CUDA_ADA")).choices["Pytorch"]
    assert isinstance(here, CatalogueChoice)
    assert here.row == newest


@pytest.mark.parametrize("is_id", [False, True])
async def test_the_image_of_another_is_hidden_by_name_and_by_id(stage: Stage, is_id: bool) -> None:
    image = await stage.engine.find_image(BOBS)
    assert image is not None
    wanted = ImageOrder(image=image.id if is_id else BOBS)
    before = await stage.picture()
    with pytest.raises(NotFoundError):
        await stage.services.creation.create(ALICE_CALLER, CreateOrder("demo", wanted), stage.notify)
    assert await stage.picture() == before
    with pytest.raises(NotFoundError):
        await stage.services.image_rules.find(ALICE, wanted.image or "")
    assert await stage.services.image_rules.find(BOB, wanted.image or "") is not None
    assert await stage.services.image_rules.find(ROOT, wanted.image or "") is not None
    assert await stage.services.creation.create(BOB_CALLER, CreateOrder("demo", wanted), stage.notify)


async def test_an_image_without_a_name_is_nobodys_on_a_server_and_the_users_own_on_a_personal_machine() -> None:
    for only_uid in (None, ALICE.uid):
        stage = Stage(only_uid=only_uid)
        image = stage.add_image()
        stage.engine.images[image].details = replace(stage.engine.images[image].details, tags=())
        if only_uid is None:
            with pytest.raises(NotFoundError):
                await stage.services.image_rules.find(ALICE, image)
        else:
            assert await stage.services.image_rules.find(ALICE, image) is not None


async def test_the_digest_of_its_image_is_recorded_with_a_container(stage: Stage) -> None:
    digest = "sha256:" + "d" * 64
    image = await stage.engine.find_image(IMAGE)
    assert image is not None
    stage.engine.images[image.id].details = replace(image, digests=(f"{IMAGE}@{digest}",))
    await stage.create("demo", count=0)
    events = await stage.store.read(lambda transaction: transaction.list_events())
    assert next(event for event in events if event.name == "container.created").details["digest"] == digest
