"""Dockerfiles: what is written is read back, and what is somebody's own is kept."""

import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from ds01.domain.images.dockerfile import parse_dockerfile
from ds01.domain.images.dockerfile_change import render_dockerfile, repair_dockerfile, update_dockerfile
from ds01.domain.images.dockerfile_section import JUPYTER_SETTINGS, Section
from ds01.domain.images.recipe import ImageRecipe, RequirementsFile, Tier, TierPackages
from tests.random_recipes import FULL, random_recipe
from tests.unit.domain.recipes import recipes

GOLDEN = Path(__file__).parent / "golden"
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


@pytest.mark.parametrize("name", ["full", "smallest"])
def test_the_files_are_those_that_were_looked_at(name: str) -> None:
    recipe = FULL if name == "full" else ImageRecipe("ubuntu:24.04")
    golden = GOLDEN / f"{name}.Dockerfile"
    assert render_dockerfile(recipe) == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_every_shell_reads_the_words_that_were_meant(shell: str, tmp_path: Path) -> None:
    nasty = (
        "a>=1,<2",
        'b; extra == "it\'s"',
        "c @ https://x.org/$(id);&c*?[a]~!#x",
        "d[x,y]==1.*",
        "ipykernel",
        "jupyterlab",
    )
    recipe = replace(FULL, packages=(TierPackages(Tier.CUSTOM, nasty),), files=())
    text = render_dockerfile(recipe)
    commands = [
        " ".join((piece.keyword, *piece.body)) for piece in parse_dockerfile(text).pieces if piece.keyword == "RUN"
    ]
    stubs = "".join(
        f'{name}() {{ printf "<%s>\\n" {name} "$@" >&2; }}\n' for name in ("pip", "conda", "python3", "rm", "mkdir")
    )
    # functions may not have a minus in their names everywhere
    script = (
        stubs
        + "set -e\napt() { :; }\n"
        + "\n".join(
            command.removeprefix("RUN")
            .replace("apt-get", "apt")
            .replace("/etc/jupyter", str(tmp_path))
            .replace("/var/lib/apt", str(tmp_path))
            .replace("/tmp/ds01-", f"{tmp_path}/")
            for command in commands
        )
    )
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    calls = done.stderr.split("<pip>\n")
    wanted = ["install", "--no-cache-dir", *recipe.packages_of(Tier.CUSTOM)]
    assert any(call.startswith("".join(f"<{word}>\n" for word in wanted)) for call in calls), done.stderr
    assert "<--display-name>\n<thesis (Pytorch-2.8.0-aime)>\n" in done.stderr
    assert "<gdal>=3.8,<4>\n" in done.stderr
    assert recipe.requirements is not None
    assert (tmp_path / "requirements.txt").read_text(encoding="utf-8").splitlines() == list(recipe.requirements.lines)
    assert (tmp_path / "jupyter_server_config.py").read_text(encoding="utf-8").splitlines() == list(JUPYTER_SETTINGS)


def test_the_four_tiers_of_the_seeds_stand_in_order_and_none_is_empty() -> None:
    text = render_dockerfile(FULL)
    headings = [section.value for section in Section if f"\n# {section.value}\n" in text]
    assert headings == [section.value for section in Section if section not in {Section.CORE, Section.USER}]
    assert [text.index(f"# {heading}\n") for heading in headings] == sorted(
        text.index(f"# {heading}\n") for heading in headings
    )
    assert "install --no-cache-dir\n" not in text


def test_the_header_follows_the_facts_and_one_that_somebody_changed_stays() -> None:
    text = render_dockerfile(FULL)
    assert text.splitlines()[1:5] == [
        "# DS01 Custom Image: thesis",
        "# Created: 2026-01-31",
        "# Framework: Pytorch-2.8.0-aime",
        "# Author: alice",
    ]
    other = replace(FULL, name="other", created="")
    assert update_dockerfile(parse_dockerfile("# mine\n" + text), other) == "# mine\n" + render_dockerfile(other)
    own = text.replace("# Author: alice", "# Author: alice and bob")
    assert update_dockerfile(parse_dockerfile(own), other).startswith(own.partition("FROM")[0])


def test_jupyter_is_configured_only_where_it_is_installed() -> None:
    bare = replace(FULL, packages=(TierPackages(Tier.DATA_SCIENCE, ("pandas",)),))
    assert "jupyter" not in render_dockerfile(bare).lower()
    only_kernel = replace(bare, packages=(TierPackages(Tier.JUPYTER, ("ipykernel",)),))
    assert "ipykernel install" in render_dockerfile(only_kernel)
    assert "jupyter_server_config" not in render_dockerfile(only_kernel)
    perhaps = replace(bare, packages=(TierPackages(Tier.JUPYTER, ('jupyterlab; python_version < "3"',)),))
    assert "jupyter_server_config" not in render_dockerfile(perhaps)
    imported = ImageRecipe("a", "b", requirements=RequirementsFile(("jupyterlab",)))
    assert "jupyter_server_config" in render_dockerfile(imported)


def test_three_hundred_packages_with_hashes_are_written_in_commands_that_the_kernel_takes() -> None:
    lines = tuple(f"package-{number}==1.0 " + " ".join([f"--hash=sha256:{number:064x}"] * 20) for number in range(300))
    recipe = ImageRecipe("a", requirements=RequirementsFile(lines, source="locked.txt"))
    found = parse_dockerfile(render_dockerfile(recipe))
    assert found.recipe == recipe
    assert max(len(piece.text) for piece in found.pieces) < 128 * 1024
    assert update_dockerfile(found, ImageRecipe("a")) == render_dockerfile(ImageRecipe("a"))


def test_a_configuration_that_somebody_changed_stays_when_the_image_is_renamed() -> None:
    own = render_dockerfile(FULL).replace("c.ServerApp.open_browser = False", "c.ServerApp.open_browser = True")
    text = update_dockerfile(parse_dockerfile(own), replace(FULL, name="other"))
    assert "open_browser = True" in text
    assert text.count("# Configure Jupyter Lab") == 1
    assert "--name other" in text
    kernel = render_dockerfile(FULL).replace("--name thesis", "--name mine")
    assert "--name mine" in update_dockerfile(parse_dockerfile(kernel), replace(FULL, name="other"))


def test_recipes_of_every_size_are_read_as_they_were_written() -> None:
    chance = random.Random(1)  # how long ten thousand take: make bench ROW=14
    for _ in range(500):
        recipe = random_recipe(chance)
        assert parse_dockerfile(render_dockerfile(recipe)).recipe == recipe
