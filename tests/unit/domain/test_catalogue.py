"""The catalogue's rows: read from our form and AIME's, and laid over each other."""

import pytest
from hypothesis import given, strategies as st

from ds01.config.catalogue import read_shipped_catalogue
from ds01.domain.images.catalogue import (
    SHIPPED,
    CatalogueRow,
    format_aime_row,
    merge_catalogue,
    parse_catalogue,
    parse_catalogue_tolerantly,
)
from ds01.errors import InvalidRequestError

CATALOGUE = read_shipped_catalogue()
ARCHITECTURES = ("CUDA", "CUDA_AMPERE", "CUDA_ADA", "CUDA_BLACKWELL", "ROCM6")
rows = st.builds(
    CatalogueRow,
    framework=st.sampled_from(("Pytorch", "Tensorflow", "Own-One")),
    version=st.from_regex(r"[0-9][0-9a-z.+-]{0,8}", fullmatch=True),
    architectures=st.lists(st.sampled_from(ARCHITECTURES), min_size=1, unique=True).map(tuple),
    image=st.from_regex(r"[a-z]{1,8}/[a-z0-9]{1,8}(:[0-9]{1,3})?", fullmatch=True),
)
lists = st.lists(rows, max_size=12).map(tuple)


def row(line: str, source: str | None = "own.csv") -> CatalogueRow:
    return parse_catalogue(line, source)[0]


def first(catalogue: tuple[CatalogueRow, ...], framework: str, architecture: str) -> CatalogueRow:
    return next(found for found in catalogue if found.framework == framework and architecture in found.architectures)


def test_the_shipped_catalogue_is_whole() -> None:
    aime = [found for found in CATALOGUE if found.framework not in {"JAX", "Python"}]
    assert len(aime) == 117
    assert sum(len(found.architectures) for found in aime) == 129
    assert len({found.image for found in CATALOGUE}) == 119
    assert {found.origin for found in CATALOGUE} == {SHIPPED}


def test_the_rows_that_the_seeds_name_are_shipped() -> None:
    text = """
        Pytorch, 2.8.0, [CUDA_BLACKWELL], aimehub/pytorch-2.8.0-cuda12.8.1
        Pytorch, 2.7.1, [CUDA_BLACKWELL], aimehub/pytorch-2.7.1-cuda12.8.0
        Pytorch, 2.7.1-aime, [CUDA_ADA], aimehub/pytorch-2.7.1-aime-cuda12.6.0
        Pytorch, 2.7.1-aime, [CUDA_AMPERE], aimehub/pytorch-2.7.1-aime-cuda11.8.0
        Pytorch, 2.5.1, [CUDA_ADA], aimehub/pytorch-2.5.1-aime-cuda12.1.1
        Pytorch, 2.6.0, [ROCM6], aimehub/pytorch-2.6.0-rocm6.2
        Tensorflow, 2.16.1, [CUDA_ADA], aimehub/tensorflow-2.16.1-cuda12.3
        Tensorflow, 2.15.0, [CUDA_ADA], aimehub/tensorflow-2.15.0-cuda12.3
    """
    seeds = parse_catalogue(text)
    assert len(seeds) == 8
    for named in seeds:
        assert any(
            named.architectures[0] in found.architectures
            and (found.framework, found.version, found.image) == (named.framework, named.version, named.image)
            for found in CATALOGUE
        ), named


@given(lists)
def test_what_is_written_in_aimes_form_is_read_back(found: tuple[CatalogueRow, ...]) -> None:
    text = "\n".join(map(format_aime_row, found))
    assert parse_catalogue(text) == found


def test_the_shipped_rows_are_the_same_in_aimes_form() -> None:
    assert parse_catalogue("\r\n".join(map(format_aime_row, CATALOGUE))) == CATALOGUE


def test_a_heading_and_comments_are_passed_over_and_rows_keep_their_line() -> None:
    text = "framework,version,architecture,image\n# ours\n\nPytorch,3.0,[cuda_ada; CUDA_AMPERE],registry.example/p:3\n"
    assert parse_catalogue(text, "own.csv") == (
        CatalogueRow("Pytorch", "3.0", ("CUDA_ADA", "CUDA_AMPERE"), "registry.example/p:3", "own.csv:4"),
    )


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("Pytorch,3.0,CUDA_ADA", "3 columns"),
        ("Pytorch,3.0,CUDA_ADA,x,y", "5 columns"),
        ("just words", "1 columns"),
        (",3.0,CUDA_ADA,x", "framework"),
        ("Py torch,3.0,CUDA_ADA,x", "framework"),
        ("Pytorch,,CUDA_ADA,x", "version"),
        ("Pytorch,3\x1b[2J,CUDA_ADA,x", "version"),
        ("Pytorch,3.0,[],x", "architecture"),
        ("Pytorch,3.0,CUDA_ADA;;CUDA,x", "architecture"),
        ("Pytorch,3.0,CUDA_ADA,Not An Image", "image reference"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_with_file_and_line(line: str, word: str) -> None:
    text = f"Pytorch,2.9,CUDA_ADA,x\n{line}\nPytorch,2.8,CUDA_ADA,y\n"
    with pytest.raises(InvalidRequestError, match=r"own\.csv:2: ") as refused:
        parse_catalogue(text, "own.csv")
    assert word in refused.value.message
    rest, problems = parse_catalogue_tolerantly(text, "own.csv")
    assert [found.image for found in rest] == ["x", "y"]
    assert [problem.message for problem in problems] == [refused.value.message]


def test_a_sites_new_row_is_the_newest_of_its_framework() -> None:
    merged = merge_catalogue(CATALOGUE, [row("pytorch,9.0,CUDA_ADA,registry.example/p")])
    assert first(merged, "Pytorch", "CUDA_ADA").origin == "own.csv:1"
    assert first(merged, "Tensorflow", "CUDA_ADA") == first(CATALOGUE, "Tensorflow", "CUDA_ADA")
    assert len(merged) == len(CATALOGUE) + 1


def test_a_sites_row_overrides_exactly_its_architecture() -> None:
    merged = merge_catalogue(CATALOGUE, [row("PYTORCH,2.8.0,CUDA_ADA,registry.example/p")])
    assert len(merged) == len(CATALOGUE)
    changed = [(old, new) for old, new in zip(CATALOGUE, merged, strict=True) if old != new]
    assert [(old.image, new.image) for old, new in changed] == [
        ("aimehub/pytorch-2.8.0-cuda12.6.3", "registry.example/p")
    ]


def test_a_row_of_two_architectures_keeps_the_one_that_is_not_overridden() -> None:
    shipped = parse_catalogue("Pytorch,1.0,CUDA_ADA;CUDA_AMPERE,both")
    merged = merge_catalogue(shipped, [row("Pytorch,1.0,CUDA_AMPERE;CUDA,mine")])
    assert [(found.architectures, found.image) for found in merged] == [
        (("CUDA",), "mine"),
        (("CUDA_AMPERE",), "mine"),
        (("CUDA_ADA",), "both"),
    ]


def test_a_key_that_the_catalogue_has_twice_is_overridden_as_one() -> None:
    key = "Tensorflow,1.15.4-nvidia,CUDA_AMPERE"
    merged = merge_catalogue(CATALOGUE, [row(f"{key},mine")])
    found = [item for item in merged if item.version == "1.15.4-nvidia" and "CUDA_AMPERE" in item.architectures]
    assert [item.image for item in found] == ["mine"]


def test_a_new_framework_comes_last() -> None:
    merged = merge_catalogue(CATALOGUE, [row("Own,1,CUDA_ADA,mine"), row("own,0,CUDA_ADA,older")])
    assert [found.image for found in merged[-2:]] == ["mine", "older"]
    assert {found.framework for found in merged[-2:]} == {"Own"}


def pairs(catalogue: tuple[CatalogueRow, ...]) -> dict[tuple[str, str, str], str]:
    """Return what is found for each framework, version and architecture: the first row."""
    found: dict[tuple[str, str, str], str] = {}
    for item in catalogue:
        for architecture in item.architectures:
            found.setdefault((item.framework, item.version, architecture), item.image)
    return found


@given(lists, lists)
def test_every_row_of_the_layer_wins_and_every_other_stays(
    shipped: tuple[CatalogueRow, ...], layer: tuple[CatalogueRow, ...]
) -> None:
    merged = merge_catalogue(shipped, layer)
    assert pairs(merged) == pairs(shipped) | pairs(layer)
    assert pairs(merge_catalogue(merged, layer)) == pairs(merged)


def test_the_same_list_again_changes_nothing() -> None:
    again = parse_catalogue("\n".join(map(format_aime_row, CATALOGUE)), "ml_images.repo")
    keys = [(item.framework, item.version, name) for item in CATALOGUE for name in item.architectures]
    assert len(keys) - len(set(keys)) == 1  # AIME's list has one key twice
    merged = merge_catalogue(CATALOGUE, again)
    assert pairs(merged) == pairs(CATALOGUE)
    assert [item for item in merged if item.origin != SHIPPED and item.version != "1.15.4-nvidia"] == []
