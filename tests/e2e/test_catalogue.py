"""The catalogue of a real daemon, a site's own rows, and pulls from a real registry."""

from collections.abc import Iterator

import pytest

from tests.e2e.site import BUSYBOX, GPUS, Site, replace_file, wait_until
from tests.engine import DevEngine
from tests.terminal import Terminal

PYTORCH = "aimehub/pytorch-2.8.0-aime-cuda12.6.3"
FOUR_A100 = "system driver=560.35.03 nvml=12.560.35.03 cuda=12060\n" + "".join(
    f'gpu uuid=GPU-5a1e0000-aaaa-4bbb-8ccc-00000000000{number} name="NVIDIA A100-PCIE-40GB" '
    "mem=40960 used=400 cc=8.0 mig=0\n"
    for number in range(4)
)


def test_four_a100_get_the_images_that_fit_and_the_reason(own_site: Site) -> None:
    own_site.write_gpus(FOUR_A100)
    own_site.start()
    try:
        document = own_site.run("image", "catalogue", "--json").document
        choices = {choice["framework"]: choice for choice in document["choices"]}
        assert choices["Pytorch"]["image"] == PYTORCH
        assert choices["Tensorflow"]["image"] == "aimehub/tensorflow-2.16.1-cuda12.3"
        assert "A100-PCIE-40GB with a driver for CUDA 12.6" in choices["Pytorch"]["reason"]
        asked = own_site.run("image", "catalogue", "--arch", "cuda_blackwell", "--json").document
        assert {row["architectures"][0] for row in asked["rows"]} == {"CUDA_BLACKWELL"}
    finally:
        own_site.write_gpus(GPUS)


@pytest.mark.parametrize(
    ("words", "image", "reason"),
    [
        (["pytorch"], PYTORCH, "newest for CUDA_ADA"),
        (["pytorch", "2.8.0"], "aimehub/pytorch-2.8.0-cuda12.6.3", "this version for CUDA_ADA"),
        (["tensorflow"], "aimehub/tensorflow-2.16.1-cuda12.3", "newest for CUDA_ADA"),
        (["Tensorflow", "2.16.1"], "aimehub/tensorflow-2.16.1-cuda12.3", "this version for CUDA_ADA"),
    ],
)
def test_containers_and_images_begin_with_the_same_image_on_four_a100_and_say_why(
    own_site: Site, words: list[str], image: str, reason: str
) -> None:
    own_site.write_gpus(FOUR_A100)
    own_site.start()
    try:
        planned = own_site.run("container", "create", "x1", *words, "--dry-run")
        assert f" {image}:x1._." in planned.stdout
        made = own_site.run("image", "create", "thesis", "--framework", " ".join(words), "--dry-run")
        assert f"\nFROM {image}\n" in made.stdout
        for said in (planned.stderr, made.stderr):
            assert "NVIDIA A100-PCIE-40GB with a driver for CUDA 12.6" in said
            assert reason in said
        assert own_site.containers() == []
        assert not (own_site.accounts["alice"].home / "dockerfiles" / "thesis-alice.Dockerfile").exists()
    finally:
        own_site.write_gpus(GPUS)


def test_a_sites_row_counts_and_a_broken_one_is_said_and_changes_nothing(own_site: Site) -> None:
    folder = own_site.config / "catalogue.d"
    folder.mkdir()
    own_site.start()
    replace_file(folder / "site.csv", f"pytorch,9.0,CUDA_ADA,{BUSYBOX}\n")

    def newest() -> str:
        return str(own_site.run("image", "catalogue", "-f", "pytorch", "--json").document["choices"][0]["version"])

    wait_until(lambda: newest() == "9.0", "the site's row")
    created = own_site.run("create", "own-row", "pytorch", "--cpu-only", "--json").document["container"]
    assert (created["image"], created["framework"]) == (BUSYBOX, "Pytorch-9.0")
    replace_file(folder / "site.csv", "pytorch,9.1,CUDA_ADA\n")
    wait_until(lambda: own_site.run("status", check=False).status == 7, "the refusal")
    assert "site.csv:1" in own_site.run("status", "--json", check=False).document["catalogue"]["message"]
    assert newest() == "9.0"
    (folder / "site.csv").unlink()
    wait_until(lambda: newest() == "2.8.0-aime", "the shipped rows")
    assert own_site.run("status").status == 0


@pytest.fixture(scope="module")
def registry_engine() -> Iterator[DevEngine]:
    """An engine that can pull the catalogue's names from a registry of its own."""
    with DevEngine("catalogue", registry=True) as engine:
        engine.bring_images("busybox")
        engine.docker("tag", BUSYBOX, PYTORCH)
        engine.publish(PYTORCH)
        yield engine


def test_an_image_is_pulled_with_its_layers_and_found_current_the_next_time(
    own_site: Site, registry_engine: DevEngine
) -> None:
    shared, own_site.engine = own_site.engine, registry_engine
    try:
        own_site.write_gpus(GPUS)
        registry_engine.docker("rmi", "--force", PYTORCH, BUSYBOX)
        own_site.start()
        missing = own_site.run("image", "catalogue", "-f", "pytorch", "--json").document["rows"]
        assert [row["image"] for row in missing if row["local"]] == []
        argv, environment = own_site.command("image", "pull", "pytorch")
        with Terminal(argv, {**environment, "TERM": "xterm"}, rows=30, columns=120) as terminal:
            assert terminal.wait() == 0
            assert b"layers" in terminal.output
            assert f"{PYTORCH} is here now" in terminal.text()
        again = own_site.run("image", "pull", "pytorch", "--json").document
        assert (again["reference"], again["was_current"]) == (PYTORCH, True)
        here = own_site.run("image", "catalogue", "-f", "pytorch", "--json").document["rows"]
        assert [row["image"] for row in here if row["local"]] == [PYTORCH]
        refused = own_site.run("image", "pull", "registry.invalid/nothing:1", check=False)
        assert refused.status in {3, 7}
        assert "registry.invalid/nothing:1" in refused.stderr
    finally:
        own_site.stop()
        own_site.engine = shared
        own_site.write_gpus(GPUS)
