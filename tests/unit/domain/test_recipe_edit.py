"""Changes to recipes, and what a container has beyond its image."""

import json

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ds01.domain.dockerfile import parse_dockerfile
from ds01.domain.dockerfile_change import render_dockerfile, update_dockerfile
from ds01.domain.installed import (
    Drift,
    Installed,
    InstalledPackage,
    find_drift,
    parse_conda_list,
    parse_dpkg_list,
    parse_pip_freeze,
    parse_pip_list,
    save_drift,
)
from ds01.domain.label import LABELS, RECIPE
from ds01.domain.recipe import ImageRecipe, RequirementsFile, Tier, TierPackages
from ds01.domain.recipe_edit import (
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
from ds01.domain.requirement import parse_requirement
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


def installed(pip: str, apt: dict[str, str] | None = None, conda: dict[str, str] | None = None) -> Installed:
    return Installed(parse_pip_freeze(pip), apt or {}, conda or {})


def test_what_was_installed_since_becomes_lines() -> None:
    before = installed("numpy==1.26.4\npip==24.0\ngone==1\n", {"git": "1", "libc6": "2"}, {"python": "3.11.1"})
    after = installed(
        "numpy==2.1\npip==25.0\nrich==13.9\nmine @ file:///workspace/mine\n-e /workspace/tool\n"
        "sam @ git+https://x.org/sam.git@0123\n-e git+https://x.org/ed.git@1#egg=ed\n",
        {"git": "1.1", "libc6": "2", "ffmpeg": "7:6.1", "libav": "1"},
        {"python": "3.11.1", "gdal": "3.8"},
    )
    after = Installed(after.pip, after.system, after.conda, manual=frozenset({"ffmpeg", "git"}))
    drift = find_drift(before, after)
    assert drift.pip == (
        "ed @ git+https://x.org/ed.git@1",
        "numpy==2.1",
        "rich==13.9",
        "sam @ git+https://x.org/sam.git@0123",
    )
    assert drift.system == ("ffmpeg",)
    assert drift.conda == ("gdal=3.8",)
    assert [name for name, _ in drift.left_out] == ["mine", "tool"]
    assert drift.removed == ("gone",)
    pip, system, conda = save_drift(RECIPE_OF_BOB, drift)
    assert pip.replaced == (("numpy<2", "numpy==2.1"),)
    assert system.recipe.system == RECIPE_OF_BOB.system
    assert conda.recipe.conda.specs == ("gdal=3.8",)
    assert find_drift(after, after) == Drift()
    assert find_drift(after, after).is_empty


def test_what_another_package_brings_is_not_a_line() -> None:
    before, after = installed(""), installed("rich==13\npygments==2\n")
    assert find_drift(before, after).pip == ("pygments==2", "rich==13")
    top = Installed(after.pip, {}, {}, top_level=frozenset({"rich"}))
    assert find_drift(before, top).pip == ("rich==13",)
    assert find_drift(installed("pygments==1\n"), top).pip == ("pygments==2", "rich==13")  # somebody chose this version


def test_the_lists_of_the_tools_are_read() -> None:
    listed = [
        {"name": "NumPy", "version": "2.1"},
        {"name": "t", "version": "0", "editable_project_location": "/workspace/t"},
    ]
    assert parse_pip_list(json.dumps(listed)) == {
        "numpy": InstalledPackage("NumPy", "2.1"),
        "t": InstalledPackage("t", "0", "/workspace/t"),
    }
    conda = [
        {"name": "gdal", "version": "3.8", "channel": "conda-forge"},
        {"name": "rich", "version": "13", "channel": "pypi"},
    ]
    assert parse_conda_list(json.dumps(conda)) == {"gdal": "3.8"}
    assert parse_dpkg_list("ii \tgit\t1:2\nrc \told\t1\nhi \theld\t3\n") == {"git": "1:2", "held": "3"}
    assert parse_pip_freeze("# c\n\na==1\n") == {"a": InstalledPackage("a", "1")}


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
    for parse in (parse_pip_list, parse_conda_list):
        with pytest.raises(BackendError):
            parse(text)


def test_other_lists_that_cannot_be_read_are_unknown_too() -> None:
    with pytest.raises(BackendError):
        parse_dpkg_list("dpkg-query: error\n")
    with pytest.raises(BackendError):
        parse_pip_freeze("WARNING: something\n")
