"""Dockerfiles: what is written is read back, and what is somebody's own is kept."""

from hypothesis import HealthCheck, given, settings

from ds01.domain.dockerfile import parse_dockerfile
from ds01.domain.dockerfile_change import render_dockerfile, repair_dockerfile, update_dockerfile
from ds01.domain.recipe import ImageRecipe
from tests.unit.domain.recipes import recipes

SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=100)


@SLOW
@given(recipes)
def test_what_is_written_is_read_back(recipe: ImageRecipe) -> None:
    text = render_dockerfile(recipe)
    found = parse_dockerfile(text)
    assert found.recipe == recipe
    assert found.text == text
    assert found.notes == ()
    assert parse_dockerfile(render_dockerfile(recipe, has_cache=True)).recipe == recipe


@SLOW
@given(recipes)
def test_a_recipe_that_did_not_change_changes_no_byte(recipe: ImageRecipe) -> None:
    for has_cache in (False, True):
        text = render_dockerfile(recipe, has_cache=has_cache)
        found = parse_dockerfile(text)
        assert update_dockerfile(found, recipe) == text
        assert repair_dockerfile(found) == text


@SLOW
@given(recipes, recipes)
def test_a_file_of_ours_that_is_changed_is_the_one_that_would_be_written(old: ImageRecipe, new: ImageRecipe) -> None:
    assert update_dockerfile(parse_dockerfile(render_dockerfile(old)), new) == render_dockerfile(new)


@SLOW
@given(recipes, recipes)
def test_line_ends_of_windows_are_kept(old: ImageRecipe, new: ImageRecipe) -> None:
    text = render_dockerfile(old).replace("\n", "\r\n")
    found = parse_dockerfile(text)
    assert found.recipe == old
    assert update_dockerfile(found, new) == render_dockerfile(new).replace("\n", "\r\n")
