"""What a person chooses, and the recipe that it makes."""

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ds01.config.package_tiers import read_shipped_package_tiers
from ds01.domain.images.dockerfile import parse_dockerfile
from ds01.domain.images.dockerfile_change import render_dockerfile
from ds01.domain.images.recipe import DEFAULT_ENVIRONMENT, ImageRecipe, Tier
from ds01.domain.images.recipe_choice import BaseImage, ImageChoices, TierPlan, base_contents, plan_recipe, plan_tier
from ds01.domain.images.requirements_file import import_requirements
from ds01.errors import InvalidRequestError

TIERS = read_shipped_package_tiers()
PYTORCH = BaseImage("aimehub/pytorch-2.8.0-aime-cuda12.6.3", "Pytorch-2.8.0-aime")


def plan(choices: ImageChoices, base: BaseImage = PYTORCH) -> ImageRecipe:
    return plan_recipe("thesis", "alice", base, choices=choices, tiers=TIERS)


def test_without_any_choice_the_defaults_are_taken_jupyter_too() -> None:
    recipe = plan(ImageChoices())
    assert recipe.packages_of(Tier.JUPYTER) == TIERS.jupyter.pip
    assert recipe.packages_of(Tier.DATA_SCIENCE) == TIERS.data_science.pip
    assert recipe.system == TIERS.system.apt
    assert recipe.env == DEFAULT_ENVIRONMENT
    assert (recipe.name, recipe.author, recipe.framework, recipe.use_case) == (
        "thesis",
        "alice",
        "Pytorch-2.8.0-aime",
        "",
    )
    assert parse_dockerfile(render_dockerfile(recipe)).recipe == recipe


def test_the_four_tiers_of_the_seeds_come_from_one_call() -> None:
    recipe = plan(ImageChoices(use_case="cv", packages="rich>=13, wandb", system=("ffmpeg", "git")))
    text = render_dockerfile(recipe)
    headings = ["# System packages", "# Jupyter & Interactive", "# Core Data Science", "# Use case specific packages"]
    headings += ["# Additional user packages", "# Configure Jupyter Lab", "# IPython kernel", "# Environment variables"]
    assert [text.index(f"{heading}\n") for heading in headings] == sorted(
        text.index(f"{heading}\n") for heading in headings
    )
    assert recipe.packages_of(Tier.USE_CASE) == ("timm", "albumentations", "opencv-python-headless", "kornia")
    assert recipe.packages_of(Tier.ADDITIONAL) == ("rich>=13", "wandb")
    assert recipe.system == ("git", "curl", "wget", "vim", "htop", "ffmpeg")
    assert recipe.use_case == "cv"


def test_what_the_base_has_is_not_installed_again() -> None:
    local = BaseImage("mine:1", contents=("Pandas==2.2", "jupyterlab==4", "torch==2"))
    recipe = plan(ImageChoices(use_case="cv"), local)
    assert "pandas" not in recipe.packages_of(Tier.DATA_SCIENCE)
    assert "torchvision" in recipe.packages_of(Tier.USE_CASE)
    assert base_contents(BaseImage("ubuntu:24.04"), TIERS) == ()
    tier = plan_tier("default", TIERS.jupyter, [("x", local.contents or ())])
    assert tier.left_out == ("jupyterlab",)
    assert plan_tier("skip", TIERS.jupyter, []) == TierPlan()


def test_duplicates_are_an_error_that_names_them_unless_they_are_allowed() -> None:
    choices = ImageChoices(packages="NumPy>=2 scikit_learn rich")
    with pytest.raises(InvalidRequestError) as caught:
        plan(choices)
    assert caught.value.message == (
        "Already installed: NumPy>=2 (the base image has numpy), scikit_learn (Data Science has scikit-learn)."
    )
    assert "--allow-duplicates" in (caught.value.hint or "")
    allowed = plan(ImageChoices(packages=choices.packages, allows_duplicates=True))
    assert allowed.packages_of(Tier.ADDITIONAL) == ("rich", "NumPy>=2", "scikit_learn")


def test_an_import_keeps_jupyter_and_its_packages_are_not_installed_twice() -> None:
    found = import_requirements("pandas==2.2\njupyterlab>=4\n", "requirements.txt", lambda _: None)
    recipe = plan(ImageChoices(imported=found, source="requirements.txt"))
    assert recipe.requirements is not None
    assert recipe.requirements.lines == ("pandas==2.2", "jupyterlab>=4")
    assert recipe.packages_of(Tier.JUPYTER) == ("jupyter", "ipykernel", "ipywidgets", "notebook")
    assert recipe.packages_of(Tier.DATA_SCIENCE) == ("scipy", "scikit-learn", "matplotlib", "seaborn")
    assert "jupyter_server_config" in render_dockerfile(recipe)
    with pytest.raises(InvalidRequestError, match=r"requirements\.txt has pandas==2\.2"):
        plan(ImageChoices(imported=found, source="requirements.txt", packages="pandas"))


def test_an_own_list_takes_the_place_of_the_defaults() -> None:
    recipe = plan(ImageChoices(jupyter="jupyterlab>=4", data_science="skip"))
    assert recipe.packages_of(Tier.JUPYTER) == ("jupyterlab>=4",)
    assert recipe.packages_of(Tier.DATA_SCIENCE) == ()


@pytest.mark.parametrize(
    "choices",
    [
        ImageChoices(use_case="vision"),
        ImageChoices(packages="numpy; rm -rf /"),
        ImageChoices(jupyter="numpy$(id)"),
        ImageChoices(system=("git; id",)),
    ],
)
def test_what_cannot_be_followed_is_refused(choices: ImageChoices) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        plan(choices)
    assert caught.value.hint


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(("default", "skip", "a b", "jupyterlab")),
    st.sampled_from(("default", "skip", "pandas")),
    st.sampled_from(("none", *TIERS.use_cases)),
    st.lists(st.sampled_from(("numpy", "pandas", "rich", "timm==1", "a")), max_size=3),
    st.booleans(),
)
def test_whatever_is_chosen_no_package_is_installed_twice_unless_allowed(
    jupyter: str, data_science: str, use_case: str, packages: list[str], allows: bool
) -> None:
    choices = ImageChoices(jupyter, data_science, use_case, " ".join(packages), allows_duplicates=allows)
    refusal: InvalidRequestError | None = None
    try:
        recipe = plan(choices)
    except InvalidRequestError as problem:
        refusal = problem
    if refusal is not None:
        assert not allows
        assert refusal.details["duplicates"]
        return
    keys = [package.key for package in recipe.all_packages()]
    assert allows or len(keys) == len(set(keys))
    assert parse_dockerfile(render_dockerfile(recipe)).recipe == recipe
