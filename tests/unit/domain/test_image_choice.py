"""Which image of the catalogue a machine gets."""

import dataclasses

import pytest

from ds01.config.catalogue import read_shipped_catalogue
from ds01.domain.devices.gpu import Inventory
from ds01.domain.images.catalogue import CatalogueRow, find_framework, frameworks, is_offered
from ds01.domain.images.image_choice import choose_architectures, choose_image, runs_here
from ds01.errors import NotFoundError
from tests.unit.domain.machines import a100, machine

CATALOGUE = read_shipped_catalogue()
FOUR_A100 = machine(*(a100(index) for index in range(4)))


@pytest.mark.parametrize(
    ("framework", "version", "image"),
    [
        ("pytorch", None, "aimehub/pytorch-2.8.0-aime-cuda12.6.3"),
        ("PyTorch", "2.8.0", "aimehub/pytorch-2.8.0-cuda12.6.3"),
        ("tensorflow", None, "aimehub/tensorflow-2.16.1-cuda12.3"),
    ],
)
def test_four_a100_with_cuda_12_6_get_what_the_catalogue_means_for_them(
    framework: str, version: str | None, image: str
) -> None:
    choice = choose_image(CATALOGUE, framework, version, inventory=FOUR_A100, architecture=None)
    assert choice.row.image == image
    assert choice.architecture == "CUDA_ADA"
    assert "A100" in choice.reason
    assert "12.6" in choice.reason


def with_card(capability: tuple[int, int], cuda: tuple[int, int], fault: str | None = None) -> Inventory:
    card = dataclasses.replace(a100(0), compute_capability=capability, fault=fault)
    return Inventory((card,), "1", cuda)


def test_a_card_of_the_newest_generation_gets_its_images_and_no_other_card_does() -> None:
    newest = choose_image(CATALOGUE, "pytorch", None, inventory=with_card((12, 0), (13, 0)), architecture=None)
    assert newest.architecture == "CUDA_BLACKWELL"
    older = choose_image(CATALOGUE, "pytorch", None, inventory=with_card((9, 0), (13, 0)), architecture=None)
    assert older.architecture == "CUDA_ADA"
    asked = choose_image(CATALOGUE, "pytorch", None, inventory=FOUR_A100, architecture="cuda_blackwell")
    assert asked.row.image == "aimehub/pytorch-2.9.1-cuda12.8.1"


def test_an_old_driver_gets_an_image_that_it_can_run() -> None:
    choice = choose_image(CATALOGUE, "pytorch", None, inventory=with_card((8, 0), (12, 0)), architecture=None)
    assert "cuda11" in choice.row.image or "cuda12.0" in choice.row.image


def test_an_old_card_gets_the_images_of_its_generation() -> None:
    choice = choose_image(CATALOGUE, "pytorch", None, inventory=with_card((7, 0), (12, 6)), architecture=None)
    assert choice.architecture == "CUDA"


def test_a_broken_card_does_not_decide() -> None:
    inventory = machine(a100(0), dataclasses.replace(a100(1, fault="Xid 79"), compute_capability=(0, 0)))
    assert choose_image(CATALOGUE, "pytorch", None, inventory=inventory, architecture=None).architecture == "CUDA_ADA"


def test_a_machine_without_gpus_gets_an_image_too() -> None:
    choice = choose_image(CATALOGUE, "pytorch", None, inventory=Inventory(), architecture=None)
    assert choice.row.image == "aimehub/pytorch-2.8.0-aime-cuda12.6.3"
    assert "no GPU" in choice.reason


@pytest.mark.parametrize(
    ("framework", "version", "architecture", "word"),
    [
        ("pytorhc", None, None, "Did you mean pytorch?"),
        ("zzz", None, None, "tensorflow"),
        ("pytorch", "2.8.1", None, "2.8.0"),
        ("pytorch", "2.9.1", None, "The newest for it is 2.8.0-aime; to have 2.9.1 anyway: --arch CUDA_BLACKWELL."),
        ("pytorch", None, "CUDA_ADDA", "--arch CUDA_ADA"),
        ("mxnet", None, "ROCM6", "--image"),
    ],
)
def test_what_is_not_there_is_answered_with_the_nearest(
    framework: str, version: str | None, architecture: str | None, word: str
) -> None:
    with pytest.raises(NotFoundError) as missing:
        choose_image(CATALOGUE, framework, version, inventory=FOUR_A100, architecture=architecture)
    assert missing.value.hint is not None
    assert word in missing.value.hint


def test_only_the_frameworks_that_aime_does_not_have_begin_with_images_of_others() -> None:
    others = {row.framework for row in CATALOGUE if is_offered(row) and not row.image.startswith("aimehub/")}
    assert others == {"JAX", "Python"}


def test_discontinued_frameworks_are_there_and_not_shown() -> None:
    assert [name.lower() for name in frameworks(CATALOGUE)] == ["pytorch", "tensorflow", "jax", "python"]
    assert find_framework(CATALOGUE, "MXNET") is not None
    assert [row for row in CATALOGUE if not is_offered(row)]


@pytest.mark.parametrize("inventory", [FOUR_A100, Inventory()])
def test_the_base_without_gpu_libraries_is_for_every_machine(inventory: Inventory) -> None:
    found = choose_image(CATALOGUE, "python", None, inventory=inventory, architecture=None)
    assert found.row.image == "python:3.12-bookworm"


DEVICES = [
    with_card(capability, cuda)
    for capability in ((7, 0), (8, 0), (8, 9), (9, 0), (12, 0))
    for cuda in ((11, 8), (12, 6), (13, 0))
]


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: f"{row.version}-{row.image}")
def test_every_shipped_cuda_row_runs_on_some_card_and_can_be_asked_for(row: CatalogueRow) -> None:
    for architecture in row.architectures:
        asked = choose_architectures(CATALOGUE, FOUR_A100, architecture)
        assert runs_here(row, asked, FOUR_A100)
    if any(name.startswith("CUDA") for name in row.architectures):
        assert any(runs_here(row, choose_architectures(CATALOGUE, found, None), found) for found in DEVICES)


def test_what_is_chosen_always_runs_here() -> None:
    for found in DEVICES:
        candidates = choose_architectures(CATALOGUE, found, None)
        for row in CATALOGUE:
            if runs_here(row, candidates, found):
                choice = choose_image(CATALOGUE, row.framework.upper(), row.version, inventory=found, architecture=None)
                assert runs_here(choice.row, candidates, found)
                assert choice.row.version == row.version


def test_older_generations_are_not_given_to_newer_cards() -> None:
    newest = choose_architectures(CATALOGUE, with_card((12, 0), (13, 0)), None)
    assert newest.names == ("CUDA_BLACKWELL",)
    assert choose_architectures(CATALOGUE, with_card((9, 0), (13, 0)), None).names == ("CUDA_ADA",)
    assert choose_architectures(CATALOGUE, with_card((8, 9), (13, 0)), None).names == ("CUDA_ADA", "CUDA_AMPERE")


def test_on_a_mixed_machine_every_card_can_run_the_image_or_the_weakest_decides() -> None:
    a100_and_h100 = machine(a100(0), dataclasses.replace(a100(1), compute_capability=(9, 0)))
    assert choose_architectures(CATALOGUE, a100_and_h100, None).names == ("CUDA_ADA",)
    v100_and_h100 = machine(
        dataclasses.replace(a100(0), compute_capability=(7, 0)), dataclasses.replace(a100(1), compute_capability=(9, 0))
    )
    assert choose_architectures(CATALOGUE, v100_and_h100, None).names == ("CUDA",)


def test_the_reason_says_that_the_driver_may_be_too_old_for_what_was_asked() -> None:
    choice = choose_image(CATALOGUE, "pytorch", None, inventory=FOUR_A100, architecture="CUDA_BLACKWELL")
    assert choice.reason.startswith("CUDA_BLACKWELL was asked for, although the driver here is for CUDA 12.6")
