"""Changes to recipes, and the list of what pip installed."""

import json

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ds01.domain.images.dockerfile import parse_dockerfile
from ds01.domain.images.dockerfile_change import render_dockerfile, update_dockerfile
from ds01.domain.images.installed import InstalledPackage, parse_pip_list
from ds01.domain.images.recipe import ImageRecipe, RequirementsFile, Tier, TierPackages
from ds01.domain.images.recipe_edit import (
    Difference,
    add_conda,
    add_packages,
    add_system,
    find_differences,
    is_built_from,
    recipe_digest,
    remove_packages,
    remove_system,
)
from ds01.domain.images.requirement import parse_requirement
from ds01.domain.label import LABELS, RECIPE
from ds01.errors import BackendError, InvalidRequestError, NotFoundError
from tests.unit.domain.recipes import recipes, requirements

RECIPE_OF_BOB = ImageRecipe(
    "ubuntu:24.04",
    "cv",
    requirements=RequirementsFile(("--pre", "numpy<2", "six==1")),
    packages=(
        TierPackages(Tier.DATA_SCIENCE, ("pandas", "scikit-learn")),
        TierPackages(Tier.CUSTOM, ("pandas>1; python_version > '3'",)),
    ),
    system=("git", "ffmpeg=7"),
)
FEW = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


def test_a_package_takes_its_new_bounds_where_it_stands() -> None:
    change = add_packages(RECIPE_OF_BOB, ["NumPy>=2", "pandas>=2", "rich", "scikit-learn"])
    assert change.recipe.requirements == RequirementsFile(("--pre", "NumPy>=2", "six==1"))
    assert change.recipe.packages == (
        TierPackages(Tier.DATA_SCIENCE, ("pandas>=2", "scikit-learn")),
        TierPackages(Tier.CUSTOM, ("rich",)),
    )
    assert change.added == ("rich",)
    assert change.replaced == (("numpy<2", "NumPy>=2"), ("pandas", "pandas>=2"))
    assert change.unchanged == ("scikit-learn",)


def test_a_package_is_removed_wherever_it_stands() -> None:
    change = remove_packages(RECIPE_OF_BOB, ["Pandas", "numpy"])
    assert change.removed == ("pandas", 'pandas>1; python_version > "3"', "numpy<2")
    assert [package.key for package in change.recipe.all_packages()] == ["six", "scikit-learn"]
    with pytest.raises(NotFoundError) as caught:
        remove_packages(RECIPE_OF_BOB, ["pands"])
    assert caught.value.hint == "Did you mean pandas?"
    with pytest.raises(NotFoundError):
        remove_packages(RECIPE_OF_BOB, ["torch"])
    with pytest.raises(InvalidRequestError):
        remove_packages(RECIPE_OF_BOB, ["a; rm"])


@FEW
@given(recipes, st.lists(requirements, max_size=3))
def test_what_is_added_is_there_once_and_can_be_removed(recipe: ImageRecipe, wanted: list[str]) -> None:
    changed = add_packages(recipe, wanted).recipe
    keys = {parse_requirement(text).key for text in wanted}
    assert keys <= {package.key for package in changed.all_packages()}
    assert add_packages(changed, [parse_requirement(text).text for text in wanted[-1:]]).recipe == changed
    gone = remove_packages(changed, keys).recipe
    assert keys.isdisjoint(package.key for package in gone.all_packages())
    text = update_dockerfile(parse_dockerfile(render_dockerfile(recipe)), gone)
    assert parse_dockerfile(text).recipe == gone


def test_packages_of_the_system_are_added_pinned_and_removed() -> None:
    change = add_system(RECIPE_OF_BOB, ["git", "ffmpeg=8", "vim"])
    assert change.recipe.system == ("git", "ffmpeg=8", "vim")
    assert (change.added, change.replaced, change.unchanged) == (("vim",), (("ffmpeg=7", "ffmpeg=8"),), ("git",))
    assert remove_system(RECIPE_OF_BOB, ["ffmpeg"]).recipe.system == ("git",)
    with pytest.raises(NotFoundError) as caught:
        remove_system(RECIPE_OF_BOB, ["ffmpg"])
    assert caught.value.hint == "Did you mean ffmpeg?"
    conda = add_conda(add_conda(RECIPE_OF_BOB, ["gdal=3"]).recipe, ["gdal>=3.8", "proj", "proj"])
    assert conda.recipe.conda.specs == ("gdal>=3.8", "proj")


def test_differences_are_listed_by_place() -> None:
    new = remove_packages(add_system(RECIPE_OF_BOB, ["vim"]).recipe, ["six"]).recipe
    assert find_differences(RECIPE_OF_BOB, new) == (
        Difference("system packages", added=("vim",)),
        Difference("requirements", removed=("six==1",)),
    )
    assert find_differences(new, new) == ()


@FEW
@given(recipes, recipes)
def test_recipes_without_differences_are_the_same_but_for_order_and_facts(old: ImageRecipe, new: ImageRecipe) -> None:
    assert find_differences(old, old) == ()
    if old.system != new.system and set(old.system) != set(new.system):
        assert "system packages" in {one.where for one in find_differences(old, new)}


def test_an_image_says_which_file_it_was_built_from() -> None:
    text = render_dockerfile(RECIPE_OF_BOB)
    assert RECIPE in LABELS
    assert is_built_from(text, {RECIPE: recipe_digest(text)}) is True
    assert is_built_from(text + "\n", {RECIPE: recipe_digest(text)}) is False
    assert is_built_from(text, {}) is None


def test_the_list_of_pip_is_read() -> None:
    listed = [
        {"name": "NumPy", "version": "2.1"},
        {"name": "t", "version": "0", "editable_project_location": "/workspace/t"},
    ]
    assert parse_pip_list(json.dumps(listed)) == {
        "numpy": InstalledPackage("NumPy", "2.1"),
        "t": InstalledPackage("t", "0", "/workspace/t"),
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        '[{"name": 1, "version": "1"}]',
        '[{"name": "a"}]',
        "Traceback (most recent call last):",
        "[" * 5000,
    ],
)
def test_a_list_that_cannot_be_read_is_unknown_and_not_empty(text: str) -> None:
    with pytest.raises(BackendError):
        parse_pip_list(text)
