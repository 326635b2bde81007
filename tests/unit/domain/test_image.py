"""References, the catalogue, and the choice of an image for a machine."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ds01
from ds01.domain.gpu import Inventory
from ds01.domain.image import (
    CatalogueRow,
    choose_image,
    find_framework,
    frameworks,
    is_image_id,
    is_offered,
    is_private_tag,
    parse_catalogue,
    parse_reference,
    private_tag,
)
from ds01.domain.name import EngineName
from ds01.errors import InvalidRequestError, NotFoundError
from tests.unit.domain.machines import a100, machine

CATALOGUE = parse_catalogue((Path(ds01.__file__).parent / "data/catalogue.csv").read_text(encoding="utf-8"))
FOUR_A100 = machine(*(a100(index) for index in range(4)))
MINE = EngineName("my-project", 1001)


@pytest.mark.parametrize(
    ("text", "repository", "tag", "digest"),
    [
        ("ubuntu", "ubuntu", "latest", None),
        ("ubuntu:22.04", "ubuntu", "22.04", None),
        ("localhost:5000/a/b", "localhost:5000/a/b", "latest", None),
        ("registry.example:443/a_b/c--d:T.x-1", "registry.example:443/a_b/c--d", "T.x-1", None),
        (f"a@sha256:{'0' * 64}", "a", None, f"sha256:{'0' * 64}"),
        (f"a:1@sha256:{'0' * 64}", "a", "1", f"sha256:{'0' * 64}"),
    ],
)
def test_references_are_read_once_and_right(text: str, repository: str, tag: str | None, digest: str | None) -> None:
    found = parse_reference(text)
    assert (found.repository, found.tag, found.digest) == (repository, tag, digest)
    assert parse_reference(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Ubuntu",
        "a:",
        "a:latest:latest",
        "a..b",
        "a.",
        "-a",
        "a/",
        "/a",
        "a:é",
        "a:" + "x" * 129,
        "a b",
        "a\n",
        "a" * 256,
        "a@sha256:0",
        "a;b",
        "٣",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse_reference(text)
    assert len(refused.value.message) < 200


PARTS = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
REFERENCES = st.builds(
    lambda host, path, tag, digest: host + "/".join(path) + tag + digest,
    st.sampled_from(["", "localhost:5000/", "Registry.Example/"]),
    st.lists(PARTS, min_size=1, max_size=3),
    TAGS.map(lambda tag: f":{tag}") | st.just(""),
    st.sampled_from(["", "@sha256:" + "a" * 64]),
)


@given(REFERENCES, st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}", fullmatch=True), st.integers(0, 2**32 - 2))
def test_a_private_tag_is_a_legal_reference_that_names_its_owner(reference: str, name: str, uid: int) -> None:
    engine_name = EngineName(name, uid)
    tag = private_tag(reference, engine_name)
    parsed = parse_reference(tag)
    assert parsed.tag == str(engine_name)
    assert is_private_tag(tag)
    # a private tag of a private tag is one again: an image can be made from somebody's container
    assert is_private_tag(private_tag(tag, engine_name))


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.image)
def test_every_row_of_the_catalogue_has_a_private_tag(row: CatalogueRow) -> None:
    tag = private_tag(row.image, MINE)
    assert parse_reference(tag).tag == "my-project._.1001"
    assert parse_reference(row.image).tag not in {None, ""}


def test_the_tag_of_an_image_goes_into_the_name() -> None:
    assert (
        private_tag("rocm/dev-ubuntu-20.04:5.4.2-complete", MINE)
        == "rocm/dev-ubuntu-20.04-5-4-2-complete:my-project._.1001"
    )
    assert private_tag("aimehub/x", MINE) == private_tag("aimehub/x:latest", MINE) == "aimehub/x:my-project._.1001"
    assert private_tag("x:___", MINE) == "x-tag:my-project._.1001"
    assert private_tag("sha256:" + "ab" * 32, MINE) == "ds01.invalid/image-abababababab:my-project._.1001"


@pytest.mark.parametrize(
    "reference", ["x", "x:latest", "localhost:5000/x", "x:pt._.", f"x@sha256:{'0' * 64}", "x:._.5", "x:a._.05"]
)
def test_a_shared_tag_is_never_taken_for_a_private_one(reference: str) -> None:
    assert not is_private_tag(reference)


def test_an_id_is_told_from_a_name() -> None:
    assert is_image_id("0123456789ab")
    assert is_image_id("sha256:" + "0" * 64)
    assert not is_image_id("0123456789a")
    assert not is_image_id("pytorch")
    assert not is_image_id("sha256:" + "0" * 65)


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


def test_discontinued_frameworks_are_there_and_not_shown() -> None:
    assert {name.lower() for name in frameworks(CATALOGUE)} == {"pytorch", "tensorflow"}
    assert find_framework(CATALOGUE, "MXNET") is not None
    assert [row for row in CATALOGUE if not is_offered(row)]


def test_the_catalogue_is_whole_and_says_which_row_is_not() -> None:
    assert len(CATALOGUE) == 117
    assert len({(row.framework, row.architectures, row.image) for row in CATALOGUE}) == 117
    with pytest.raises(InvalidRequestError, match="Row 3"):
        parse_catalogue("framework,version,architecture,image\nA,1,CUDA,x\nB,2,CUDA\n")
