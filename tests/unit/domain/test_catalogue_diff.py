"""What AIME's own list has other than the catalogue: shown by row, and an update leaves nothing to take over."""

from hypothesis import given, strategies as st

from ds01.config.catalogue import read_shipped_catalogue
from ds01.domain.images.catalogue import CatalogueRow, format_aime_row, merge_catalogue, parse_catalogue
from ds01.domain.images.catalogue_diff import (
    CHANGED,
    GONE,
    KEPT,
    NEW,
    CatalogueChange,
    compare_catalogue,
    is_in_force,
    take_over,
)

DROPIN = "00-aime.repo"
rows = st.builds(
    CatalogueRow,
    framework=st.sampled_from(("Pytorch", "pytorch", "Tensorflow")),
    version=st.sampled_from(("1.0", "2.0", "2.0-aime", "2.0-AIME")),
    architectures=st.lists(st.sampled_from(("CUDA", "CUDA_ADA", "ROCM6")), min_size=1, unique=True).map(tuple),
    image=st.sampled_from(("aimehub/a", "aimehub/b:1", "aimehub/c", "registry.example/d", "e")),
)
lists = st.lists(rows, max_size=8).map(tuple)


def named(found: tuple[CatalogueRow, ...], file: str) -> tuple[CatalogueRow, ...]:
    """Return rows as they are when they were read from a file."""
    return parse_catalogue("\n".join(map(format_aime_row, found)), file)


def kinds(changes: tuple[CatalogueChange, ...]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(change.kind, change.version, change.architectures) for change in changes]


def test_new_and_changed_rows_are_told_with_what_was_before() -> None:
    shipped = parse_catalogue("Pytorch,1.0,CUDA_ADA;CUDA,aimehub/p-1\nJAX,1.0,CUDA,nvcr.io/nvidia/jax:1")
    listed = parse_catalogue("Pytorch,2.0,CUDA_ADA,aimehub/p-2\nPyTorch,1.0,CUDA_ADA;CUDA,aimehub/p-1.1", "x")
    new, changed = compare_catalogue(shipped, listed, DROPIN)
    assert (new.kind, new.version, new.image, new.before, new.origin) == (NEW, "2.0", "aimehub/p-2", "", "")
    assert (changed.kind, changed.architectures) == (CHANGED, ("CUDA_ADA", "CUDA"))
    assert (changed.image, changed.before, changed.origin) == ("aimehub/p-1.1", "aimehub/p-1", "shipped")


def test_one_row_that_differs_for_one_architecture_only_is_told_for_that_one() -> None:
    shipped = parse_catalogue("Pytorch,1.0,CUDA_ADA;CUDA,aimehub/p-1")
    listed = parse_catalogue("Pytorch,1.0,CUDA,aimehub/p-1\nPytorch,1.0,CUDA_ADA;ROCM6,aimehub/p-1.1", "x")
    assert kinds(compare_catalogue(shipped, listed, DROPIN)) == [
        (CHANGED, "1.0", ("CUDA_ADA",)),
        (NEW, "1.0", ("ROCM6",)),
    ]


def test_what_the_list_lost_is_told_and_what_it_never_had_is_not() -> None:
    shipped = parse_catalogue("Pytorch,1.0,CUDA,aimehub/p-1\nPytorch,2.0,CUDA,aimehub/p-2\nJAX,1,CUDA,nvcr.io/n/jax:1")
    own = parse_catalogue("Pytorch,3.0,CUDA,aimehub/p-3", "site.csv")
    listed = parse_catalogue("Pytorch,2.0,CUDA,aimehub/p-2", "x")
    assert kinds(compare_catalogue((*own, *shipped), listed, DROPIN)) == [(GONE, "1.0", ("CUDA",))]


def test_a_row_of_the_sites_own_stays_and_is_told_with_its_place() -> None:
    own = parse_catalogue("Pytorch,1.0,CUDA,registry.example/mirror", "site.csv")
    earlier = parse_catalogue("Pytorch,2.0,CUDA,aimehub/p-2", DROPIN)
    listed = parse_catalogue("Pytorch,1.0,CUDA,aimehub/p-1\nPytorch,2.0,CUDA,aimehub/p-2.1", "x")
    changes = compare_catalogue((*own, *earlier), listed, DROPIN)
    assert kinds(changes) == [(KEPT, "1.0", ("CUDA",)), (CHANGED, "2.0", ("CUDA",))]
    assert changes[0].origin == "site.csv:1"
    assert [row.version for row in take_over((), changes)] == ["2.0"]


def test_rows_of_earlier_updates_stay_when_the_list_loses_them() -> None:
    earlier = parse_catalogue("Pytorch,1.0,CUDA,aimehub/p-1", DROPIN)
    listed = parse_catalogue("Pytorch,2.0,CUDA,aimehub/p-2", "x")
    changes = compare_catalogue(earlier, listed, DROPIN)
    assert kinds(changes) == [(NEW, "2.0", ("CUDA",)), (GONE, "1.0", ("CUDA",))]
    assert [row.image for row in take_over(earlier, changes)] == ["aimehub/p-2", "aimehub/p-1"]


def test_the_shipped_catalogue_has_every_row_of_the_list_it_was_made_from() -> None:
    shipped = read_shipped_catalogue()
    aime = [row for row in shipped if row.framework not in {"JAX", "Python"}]
    assert compare_catalogue(shipped, aime, DROPIN) == ()
    gone = compare_catalogue(shipped, aime[1:], DROPIN)
    assert {change.kind for change in gone} <= {GONE, CHANGED}
    assert gone


@given(lists, lists, lists, lists)
def test_an_update_leaves_nothing_to_take_over_and_never_touches_the_sites_rows(
    shipped: tuple[CatalogueRow, ...],
    earlier: tuple[CatalogueRow, ...],
    own: tuple[CatalogueRow, ...],
    listed: tuple[CatalogueRow, ...],
) -> None:
    written, site = named(earlier, DROPIN), named(own, "site.csv")
    before = merge_catalogue(merge_catalogue(shipped, written), site)
    changes = compare_catalogue(before, listed, DROPIN)
    rewritten = named(take_over(written, changes), DROPIN)
    after = merge_catalogue(merge_catalogue(shipped, rewritten), site)
    left = compare_catalogue(after, listed, DROPIN)
    assert not [change for change in left if change.is_taken_over]
    for change in changes:
        if change.is_taken_over:
            assert is_in_force(change, after) or any(change.version.lower() == row.version.lower() for row in site)


@given(lists)
def test_a_catalogue_differs_in_nothing_from_itself(found: tuple[CatalogueRow, ...]) -> None:
    assert compare_catalogue(found, found, DROPIN) == ()
