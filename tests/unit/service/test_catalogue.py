"""The catalogue on a machine, and pulls before a container needs them."""

from dataclasses import replace

import pytest

from ds01.config.catalogue import read_shipped_catalogue
from ds01.domain.devices.gpu import Inventory
from ds01.domain.images.image_choice import CatalogueChoice
from ds01.errors import BackendError, InvalidRequestError, NotFoundError
from ds01.service.catalogue import CatalogueService, Offer
from ds01.service.images import ImageOrder
from ds01.service.ports import ImageDetails
from tests.fakes import ALICE
from tests.unit.service.stage import Stage

NEWEST = "aimehub/pytorch-2.8.0-aime-cuda12.6.3"


@pytest.fixture
def stage() -> Stage:
    return Stage()


def chosen(offer: Offer) -> dict[str, str]:
    return {name: choice.row.version for name, choice in offer.choices.items() if isinstance(choice, CatalogueChoice)}


async def test_the_offer_is_what_this_machine_can_run_and_what_a_framework_means(stage: Stage) -> None:
    stage.add_image(NEWEST)
    offer = await stage.services.catalogue.offer()
    assert chosen(offer) == {"Pytorch": "2.8.0-aime", "Tensorflow": "2.16.1", "JAX": "23.10", "Python": "3.12"}
    assert offer.architectures.names == ("CUDA_ADA", "CUDA_AMPERE")
    assert all(item.is_usable for item in offer.rows)
    assert [item.row.image for item in offer.rows if item.is_local] == [NEWEST]
    assert sum(item.is_chosen for item in offer.rows) == 4
    assert len(offer.rows) + offer.left_out == 119


async def test_hidden_rows_and_other_generations_come_with_everything_or_by_name(stage: Stage) -> None:
    usual = {item.row.framework for item in (await stage.services.catalogue.offer()).rows}
    assert usual == {"Pytorch", "Tensorflow", "JAX", "Python"}
    everything = await stage.services.catalogue.offer(everything=True)
    assert (len(everything.rows), everything.left_out) == (119, 0)
    assert {"Mxnet", "ROCM"} <= {item.row.framework for item in everything.rows}
    assert not all(item.is_usable for item in everything.rows)
    by_name = await stage.services.catalogue.offer("mxnet")
    assert [item.row.framework for item in by_name.rows] == ["Mxnet"]
    rocm = await stage.services.catalogue.offer(architecture="rocm6")
    assert {name for item in rocm.rows for name in item.row.architectures if item.row.framework != "Python"} == {
        "ROCM6"
    }
    assert chosen(rocm).keys() == {"Pytorch", "Tensorflow", "Python"}
    assert "no JAX image" in str(rocm.choices["JAX"])


async def test_the_newest_generation_only_when_asked_for(stage: Stage) -> None:
    assert chosen(await stage.services.catalogue.offer(architecture="CUDA_BLACKWELL"))["Pytorch"] == "2.9.1"
    usual = await stage.services.catalogue.offer()
    assert not [item for item in usual.rows if item.row.architectures == ("CUDA_BLACKWELL",)]


async def test_what_is_silent_is_unknown_and_not_none(stage: Stage) -> None:
    stage.devices.failure = BackendError("The driver is silent.")
    offer = await stage.services.catalogue.offer()
    assert "unknown" in offer.architectures.reason
    assert all("unknown" in str(choice.reason) for choice in offer.choices.values() if not isinstance(choice, str))
    stage.devices.failure = None
    stage.devices.inventory = Inventory()
    assert "no GPU" in (await stage.services.catalogue.offer()).architectures.reason


async def test_unknown_names_are_answered_with_the_nearest(stage: Stage) -> None:
    for framework, architecture, word in (("pytroch", None, "pytorch"), (None, "CUDA_ADDA", "CUDA_ADA")):
        with pytest.raises(NotFoundError) as missing:
            await stage.services.catalogue.offer(framework, architecture)
        assert word in str(missing.value.hint)


async def test_a_framework_is_pulled_with_its_progress_and_the_reason(stage: Stage) -> None:
    stage.engine.publish(NEWEST)
    pull = await stage.services.catalogue.pull(ALICE, ImageOrder("PyTorch"), stage.notify)
    assert (pull.choice.reference, pull.was_current) == (NEWEST, False)
    assert "CUDA 12.6" in pull.choice.reason
    layers = [message for message in stage.messages if message.get("layer")]
    assert layers[-1]["current_bytes"] == layers[-1]["total_bytes"] == pull.image.size_bytes


async def test_a_pull_asks_the_registry_although_an_image_of_that_name_is_here(stage: Stage) -> None:
    old = stage.add_image("registry.example/own")
    stage.engine.publish("registry.example/own", ImageDetails(id="sha256:" + "b" * 64))
    order = ImageOrder(image="registry.example/own")
    first = await stage.services.catalogue.pull(ALICE, order, stage.notify)
    assert first.image.id != old
    assert not first.was_current
    assert (await stage.services.catalogue.pull(ALICE, order, stage.notify)).was_current


async def test_a_pull_needs_no_gpu(stage: Stage) -> None:
    stage.devices.failure = BackendError("The driver is silent.")
    stage.engine.publish(NEWEST)
    assert (await stage.services.catalogue.pull(ALICE, ImageOrder("pytorch"), stage.notify)).image.id


async def test_what_no_registry_has_is_not_found_and_an_id_is_no_name(stage: Stage) -> None:
    with pytest.raises(NotFoundError, match=r"registry\.example/none"):
        await stage.services.catalogue.pull(ALICE, ImageOrder(image="registry.example/none"), stage.notify)
    with pytest.raises(InvalidRequestError, match="is an id"):
        await stage.services.catalogue.pull(ALICE, ImageOrder(image="sha256:" + "a" * 64), stage.notify)
    with pytest.raises(InvalidRequestError, match="Neither"):
        await stage.services.catalogue.pull(ALICE, ImageOrder(), stage.notify)


async def test_a_mended_catalogue_counts_at_once(stage: Stage) -> None:
    rows = list(read_shipped_catalogue())
    images = stage.services.creation._images
    service = CatalogueService(stage.engine, stage.devices, images, lambda: rows)
    before = chosen(await service.offer("pytorch"))
    rows.insert(0, replace(rows[0], version="9.0", architectures=("CUDA_ADA",), image="registry.example/p"))
    assert chosen(await service.offer("pytorch")) == {"Pytorch": "9.0"} != before


async def test_images_that_are_here_have_the_framework_of_the_catalogue(stage: Stage) -> None:
    stage.add_image(NEWEST)
    stage.add_image("ds01.invalid/u1002/secret")
    stage.add_image("ds01.invalid/u1001/thesis")
    found = await stage.services.catalogue.local_images(1001)
    assert [image.name for image in found][:2] == ["thesis", f"{NEWEST}:latest"]
    assert found[1].framework == "Pytorch-2.8.0-aime"
    assert "secret" not in {image.name for image in found}
    stage.engine.fail_next("list_images", BackendError("The engine is silent."))
    with pytest.raises(BackendError):
        await stage.services.catalogue.local_images(1001)
