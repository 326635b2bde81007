"""What a person chooses for an image, and the recipe that it makes: the same for questions and for flags."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ds01.domain.images.import_text import Import
from ds01.domain.images.package_tier import Duplicate, PackageTier, PackageTiers, find_duplicates, without_known
from ds01.domain.images.recipe import DEFAULT_ENVIRONMENT, ImageRecipe, RequirementsFile, Tier, TierPackages
from ds01.domain.images.requirement import parse_package_list
from ds01.domain.images.system_package import parse_system_package
from ds01.errors import InvalidRequestError

NO_USE_CASE = "none"
_BASE = "the base image"
_SHOWN = {
    Tier.JUPYTER: "Jupyter",
    Tier.DATA_SCIENCE: "Data Science",
    Tier.USE_CASE: "the use case",
    Tier.ADDITIONAL: "this list",
}


class TierChoice(StrEnum):
    """How a tier is taken that has defaults; anything else is a list of packages."""

    DEFAULT = "default"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class BaseImage:
    """The image to begin with.

    Attributes:
        reference: Its reference.
        framework: Framework and version, such as `Pytorch-2.8.0-aime`; empty for any other image.
        contents: Packages of Python that it has, read from the image; None where it is not here: the table's are taken.
    """

    reference: str
    framework: str = ""
    contents: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ImageChoices:
    """Everything that is asked; what is not given is what Enter would choose.

    Attributes:
        jupyter: default, skip, or packages as typed.
        data_science: The same.
        use_case: Name of a use case, or `none`.
        packages: Additional packages of Python, as typed.
        system: Additional packages of the system.
        imported: What a file asks for.
        source: Name of that file.
        allows_duplicates: Packages that are there already are installed again.
    """

    jupyter: str = TierChoice.DEFAULT
    data_science: str = TierChoice.DEFAULT
    use_case: str = NO_USE_CASE
    packages: str = ""
    system: tuple[str, ...] = ()
    imported: Import | None = None
    source: str = ""
    allows_duplicates: bool = False


@dataclass(frozen=True, slots=True)
class TierPlan:
    """What a choice gives for a tier.

    Attributes:
        packages: What is installed.
        left_out: Defaults of the tier that are there already.
        duplicates: Packages that were asked for and are there already.
    """

    packages: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    duplicates: tuple[Duplicate, ...] = ()


Known = Sequence[tuple[str, Sequence[str]]]
"""Names of what is installed before a tier, with its packages."""


def base_contents(base: BaseImage, tiers: PackageTiers) -> tuple[str, ...]:
    """Return what the base is taken to contain: what was read from it, else the table's list for framework images."""
    if base.contents is not None:
        return base.contents
    return tiers.base.pip if base.framework else ()


def plan_tier(choice: str, defaults: PackageTier, known: Known) -> TierPlan:
    """Return what a choice means for a tier.

    Args:
        choice: `default`, `skip` (in capitals or not), or packages as typed.
        defaults: The tier's own packages.
        known: What is installed before it.

    Raises:
        InvalidRequestError: A package of the list is no requirement.
    """
    word = choice.strip().lower()
    if word == TierChoice.SKIP:
        return TierPlan()
    if word == TierChoice.DEFAULT:
        there = [text for _, texts in known for text in texts]
        packages = without_known(defaults.pip, there)
        return TierPlan(packages, left_out=tuple(text for text in defaults.pip if text not in packages))
    new, duplicates = find_duplicates([package.text for package in parse_package_list(choice)], known)
    return TierPlan(tuple(package.text for package in new), duplicates=duplicates)


def plan_recipe(
    name: str, author: str, base: BaseImage, *, choices: ImageChoices, tiers: PackageTiers, created: str = ""
) -> ImageRecipe:
    """Return the recipe that choices make.

    Args:
        name: Short name of the image.
        author: Who makes it.
        base: The image to begin with.
        choices: What was chosen.
        tiers: The table of packages.
        created: Day when it is made; empty leaves it out.

    Raises:
        InvalidRequestError: A choice cannot be followed, or names what is there already.
    """
    case = PackageTier(NO_USE_CASE) if choices.use_case == NO_USE_CASE else tiers.require_use_case(choices.use_case)
    imported = choices.imported or Import()
    known: list[tuple[str, tuple[str, ...]]] = [
        (_BASE, base_contents(base, tiers)),
        (choices.source or "the file", tuple(package.text for package in imported.packages)),
    ]
    groups: list[TierPackages] = []
    asked = (
        (Tier.JUPYTER, choices.jupyter, tiers.jupyter),
        (Tier.DATA_SCIENCE, choices.data_science, tiers.data_science),
        (Tier.USE_CASE, TierChoice.DEFAULT, case),
        (Tier.ADDITIONAL, choices.packages or TierChoice.SKIP, PackageTier("")),
    )
    for tier, choice, defaults in asked:
        plan = plan_tier(choice, defaults, known)
        again = tuple(one.package for one in plan.duplicates) if choices.allows_duplicates else ()
        if plan.duplicates and not again:
            raise duplicates_error(plan.duplicates)
        groups.append(TierPackages(tier, plan.packages + again))
        known.append((_SHOWN[tier], plan.packages))
    lines = imported.lines
    return ImageRecipe(
        base=base.reference,
        name=name,
        author=author.replace(",", ";"),
        framework=base.framework,
        use_case="" if choices.use_case == NO_USE_CASE else choices.use_case,
        created=created,
        system=tuple(dict.fromkeys(map(parse_system_package, (*tiers.system.apt, *case.apt, *choices.system)))),
        conda=imported.conda,
        requirements=RequirementsFile(lines, imported.constraints, choices.source) if lines else None,
        packages=tuple(groups),
        env=tuple({**dict(DEFAULT_ENVIRONMENT), **dict(imported.env)}.items()),
    )


def duplicates_error(duplicates: Sequence[Duplicate]) -> InvalidRequestError:
    """Return the error for packages that are there already."""
    listed = ", ".join(f"{one.package} ({one.where} has {one.known})" for one in duplicates)
    return InvalidRequestError(
        f"Already installed: {listed}.",
        hint="Leave them out, or add --allow-duplicates.",
        details={"duplicates": [one.package for one in duplicates]},
    )
