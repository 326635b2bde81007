"""What an image begins with: the base, what it contains, and the packages that are offered. For questions and flags."""

import re
from dataclasses import dataclass

from ds01.api.schema import CatalogueDocument, CatalogueRowDocument, PackageTierDocument
from ds01.cli.architecture import wanted_architecture
from ds01.cli.call import Call
from ds01.domain.images.image import parse_reference
from ds01.domain.images.package_tier import PackageTier, PackageTiers
from ds01.domain.images.recipe import ImageRecipe
from ds01.domain.images.recipe_choice import BaseImage
from ds01.domain.images.system_package import system_package_name
from ds01.errors import NotFoundError

_FRAMEWORK = re.compile(r"\s*(?P<name>[^\s=:]+)(?:\s*(?:==|[\s=:])\s*(?P<version>\S+))?\s*")


@dataclass(frozen=True, slots=True)
class Basis:
    """The base and the reason for it.

    Attributes:
        image: The base.
        reason: Why this one.
        lacks_pip: It is here, and has no Python with pip.
    """

    image: BaseImage
    reason: str
    lacks_pip: bool = False


def offered_tiers(call: Call) -> PackageTiers:
    """Return the packages that this site offers."""
    found = call.client.get_package_tiers()
    return PackageTiers(
        base=_tier(found["base"]),
        system=_tier(found["system"]),
        jupyter=_tier(found["jupyter"]),
        data_science=_tier(found["data_science"]),
        use_cases={tier["name"]: _tier(tier) for tier in found["use_cases"]},
    )


def _tier(document: PackageTierDocument) -> PackageTier:
    return PackageTier(document["name"], document["about"], tuple(document["pip"]), tuple(document["apt"]))


def basis_of(call: Call, framework: str) -> Basis:
    """Return the base for a framework as typed: `pytorch`, `pytorch 2.8.0`, `pytorch==2.8.0`.

    Raises:
        NotFoundError: The catalogue has none such; the hint names those it has.
    """
    match = _FRAMEWORK.fullmatch(framework)
    name, version = (match["name"], match["version"]) if match else (framework, None)
    document = call.client.get_catalogue(framework=name, architecture=wanted_architecture(call))
    row, reason = _newest(document) if version is None else _of_version(document, version)
    return look_into(call, row["image"], f"{row['framework']}-{row['version']}", reason)


def basis_of_image(call: Call, reference: str) -> Basis:
    """Return any image as base.

    Raises:
        InvalidRequestError: It is no reference.
    """
    reference = str(parse_reference(reference))
    return look_into(call, reference, "", f"image {reference} was asked for")


def look_into(call: Call, reference: str, framework: str, reason: str) -> Basis:
    """Return an image as base, with what it says that it contains."""
    call.screen.update(f"Looking into {reference}")
    found = call.client.list_packages(reference)
    call.screen.end_update()
    lacks_pip = found["is_here"] and found["packages"] is None
    contents: tuple[str, ...] | None = () if lacks_pip else None
    if found["packages"] is not None:
        contents = tuple(f"{one['name']}=={one['version']}" for one in found["packages"])
    return Basis(BaseImage(reference, framework, contents), reason, lacks_pip=lacks_pip)


def warn_without_pip(call: Call, basis: Basis, recipe: ImageRecipe) -> None:
    """Say that a build cannot succeed which installs packages of Python where no pip is."""
    brings_pip = any(system_package_name(text) == "python3-pip" for text in recipe.system)
    if basis.lacks_pip and not brings_pip and recipe.all_packages():
        call.screen.warn(
            f"{basis.image.reference} has no Python with pip, and the image is to have packages of Python. "
            "Add it with --system python3-pip, or take another base."
        )


def _newest(document: CatalogueDocument) -> tuple[CatalogueRowDocument, str]:
    choice = document["choices"][0]
    for row in document["rows"]:
        if choice["image"] and row["image"] == choice["image"] and row["version"] == choice["version"]:
            return row, choice["reason"]
    raise NotFoundError(choice["reason"] or "The catalogue has no image for this machine.", hint="Use --base REF.")


def _of_version(document: CatalogueDocument, version: str) -> tuple[CatalogueRowDocument, str]:
    usable = [row for row in document["rows"] if row["usable"]]
    found = [row for row in usable if row["version"].lower() == version.lower()]
    for architecture in document["architectures"]:
        for row in found:
            if architecture in row["architectures"]:
                return row, f"{document['reason']}; this version for {architecture}"
    versions = ", ".join(dict.fromkeys(row["version"] for row in usable)) or "none"
    raise NotFoundError(
        f"There is no {document['choices'][0]['framework']} {version[:40]!r} for this machine.",
        hint=f"There are: {versions}.",
    )
