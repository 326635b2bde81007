"""Changes to a recipe: packages added, pinned and removed; what differs; whether an image is older than its file."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ds01.domain.images.conda_package import CondaPackages, conda_name, parse_conda_spec
from ds01.domain.images.recipe import ImageRecipe, Tier, TierPackages
from ds01.domain.images.requirement import nearest_package, parse_requirement
from ds01.domain.images.requirements_line import parse_requirements_line
from ds01.domain.images.system_package import nearest_system_package, parse_system_package, system_package_name
from ds01.domain.label import RECIPE
from ds01.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class RecipeChange:
    """A changed recipe, and what was done.

    Attributes:
        recipe: The recipe now.
        added: What was not there.
        replaced: What was there otherwise: before, now.
        unchanged: What was there exactly so.
        removed: What is gone.
    """

    recipe: ImageRecipe
    added: tuple[str, ...] = ()
    replaced: tuple[tuple[str, str], ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def add_packages(recipe: ImageRecipe, requirements: Iterable[str], *, tier: Tier = Tier.CUSTOM) -> RecipeChange:
    """Add packages of Python; one that is there takes the new bounds where it stands.

    Args:
        recipe: The recipe.
        requirements: Requirements.
        tier: Where the new ones go.

    Raises:
        InvalidRequestError: One of them is no requirement.
    """
    added: list[str] = []
    replaced: list[tuple[str, str]] = []
    unchanged: list[str] = []
    for text in requirements:
        wanted = parse_requirement(text)
        there = [package for package in recipe.all_packages() if package.key == wanted.key]
        if any(package.text == wanted.text for package in there):
            unchanged.append(wanted.text)
        elif there:
            recipe = _with_replaced(recipe, wanted.key, wanted.text)
            replaced.append((there[0].text, wanted.text))
        else:
            recipe = recipe.with_packages(tier, (*recipe.packages_of(tier), wanted.text))
            added.append(wanted.text)
    return RecipeChange(recipe, tuple(added), tuple(replaced), tuple(unchanged))


def _with_replaced(recipe: ImageRecipe, key: str, text: str | None) -> ImageRecipe:
    """Put a text in the first place that a package has, and take it out of all others; None takes it out everywhere."""
    left = [text] if text is not None else []

    def changed(texts: Sequence[str]) -> tuple[str, ...]:
        found: list[str] = []
        for one in texts:
            package = parse_requirements_line(one).package
            if package is None or package.key != key:
                found.append(one)
            elif left:
                found.append(left.pop())
        return tuple(found)

    requirements = recipe.requirements
    if requirements is not None:
        requirements = replace(requirements, lines=changed(requirements.lines))
    packages = tuple(TierPackages(group.tier, changed(group.packages)) for group in recipe.packages)
    return replace(recipe, requirements=requirements, packages=packages)


def remove_packages(recipe: ImageRecipe, names: Iterable[str]) -> RecipeChange:
    """Remove packages of Python by their names, wherever they stand.

    Raises:
        InvalidRequestError: One is no name.
        NotFoundError: The recipe has none such; the hint names the nearest.
    """
    removed: list[str] = []
    for name in names:
        wanted = parse_requirement(name)
        there = [package for package in recipe.all_packages() if package.key == wanted.key]
        if not there:
            near = nearest_package(wanted.name, [package.name for package in recipe.all_packages()])
            raise NotFoundError(
                f"The image does not install {wanted.name}.", hint=f"Did you mean {near}?" if near else _listed(recipe)
            )
        recipe = _with_replaced(recipe, wanted.key, None)
        removed += [package.text for package in there]
    return RecipeChange(recipe, removed=tuple(removed))


def _listed(recipe: ImageRecipe) -> str:
    names = ", ".join(package.name for package in recipe.all_packages()[:20])
    return f"It installs: {names}" if names else "It installs no packages of Python."


def add_system(recipe: ImageRecipe, packages: Iterable[str]) -> RecipeChange:
    """Add packages of the system; one that is there takes the new version where it stands.

    Raises:
        InvalidRequestError: One of them is no name.
    """
    texts, added, replaced, unchanged = list(recipe.system), [], [], []
    for text in map(parse_system_package, packages):
        name = system_package_name(text)
        at = next((index for index, one in enumerate(texts) if system_package_name(one) == name), None)
        if text in texts:
            unchanged.append(text)
        elif at is None:
            texts.append(text)
            added.append(text)
        else:
            replaced.append((texts[at], text))
            texts[at] = text
    return RecipeChange(replace(recipe, system=tuple(texts)), tuple(added), tuple(replaced), tuple(unchanged))


def remove_system(recipe: ImageRecipe, names: Iterable[str]) -> RecipeChange:
    """Remove packages of the system.

    Raises:
        InvalidRequestError: One is no name.
        NotFoundError: The recipe has none such; the hint names the nearest.
    """
    texts, removed = list(recipe.system), []
    for wanted in map(parse_system_package, names):
        name = system_package_name(wanted)
        there = [text for text in texts if system_package_name(text) == name]
        if not there:
            near = nearest_system_package(name, [system_package_name(text) for text in texts])
            raise NotFoundError(
                f"The image does not install {name} by apt.",
                hint=f"Did you mean {near}?" if near else f"It installs: {', '.join(texts) or 'nothing'}",
            )
        texts = [text for text in texts if text not in there]
        removed += there
    return RecipeChange(replace(recipe, system=tuple(texts)), removed=tuple(removed))


def add_conda(recipe: ImageRecipe, specs: Iterable[str]) -> RecipeChange:
    """Add packages of conda; one that is there takes the new bounds where it stands.

    Raises:
        InvalidRequestError: One of them is no specification.
    """
    texts, added, replaced, unchanged = list(recipe.conda.specs), [], [], []
    for text in map(parse_conda_spec, specs):
        at = next((index for index, one in enumerate(texts) if conda_name(one) == conda_name(text)), None)
        if text in texts:
            unchanged.append(text)
        elif at is None:
            texts.append(text)
            added.append(text)
        else:
            replaced.append((texts[at], text))
            texts[at] = text
    conda = CondaPackages(tuple(texts), recipe.conda.channels)
    return RecipeChange(replace(recipe, conda=conda), tuple(added), tuple(replaced), tuple(unchanged))


def remove_conda(recipe: ImageRecipe, names: Iterable[str]) -> RecipeChange:
    """Remove packages of conda by their names; the recipe has them.

    Raises:
        InvalidRequestError: One is no name.
    """
    gone = {conda_name(parse_conda_spec(name)) for name in names}
    removed = tuple(text for text in recipe.conda.specs if conda_name(text) in gone)
    left = tuple(text for text in recipe.conda.specs if text not in removed)
    return RecipeChange(replace(recipe, conda=CondaPackages(left, recipe.conda.channels)), removed=removed)


@dataclass(frozen=True, slots=True)
class Difference:
    """What two recipes have differently in one place.

    Attributes:
        where: The place, in plain words.
        added: What only the new one has.
        removed: What only the old one has.
    """

    where: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def find_differences(old: ImageRecipe, new: ImageRecipe) -> tuple[Difference, ...]:
    """Return what differs, for the summary before anything is written."""
    before, after = _listing(old), _listing(new)
    found = (
        Difference(
            where,
            added=tuple(text for text in after[where] if text not in before[where]),
            removed=tuple(text for text in before[where] if text not in after[where]),
        )
        for where in after
    )
    return tuple(one for one in found if one.added or one.removed)


def _listing(recipe: ImageRecipe) -> Mapping[str, tuple[str, ...]]:
    requirements = recipe.requirements
    return {
        "base": (recipe.base,),
        "name": (recipe.name,) if recipe.name else (),
        "system packages": recipe.system,
        "conda packages": recipe.conda.specs,
        "conda channels": recipe.conda.channels,
        "requirements": requirements.lines if requirements else (),
        "constraints": requirements.constraints if requirements else (),
        **{f"{tier.value.replace('_', ' ')} packages": recipe.packages_of(tier) for tier in Tier},
        "files": tuple(f"{one.source} -> {one.target}" for one in recipe.files),
        "environment": tuple(f"{key}={value}" for key, value in recipe.env),
        "labels": tuple(f"{key}={value}" for key, value in recipe.labels),
    }


def recipe_digest(text: str) -> str:
    """Return the digest of a Dockerfile that is put on the image built from it: SHA-256, 64 hex digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def is_built_from(text: str, labels: Mapping[str, str]) -> bool | None:
    """Tell whether an image was built from this very Dockerfile; None where the image does not say.

    Args:
        text: The Dockerfile now.
        labels: Labels of the image.
    """
    digest = labels.get(RECIPE)
    return None if not digest else digest == recipe_digest(text)
