"""An image that is being made: choices by questions or flags, the summary, the Dockerfile. The same for both."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from ds01.cli.call import Call
from ds01.cli.commands.image.basis import Basis
from ds01.cli.dockerfiles import dockerfile_of, login_name, project_dockerfile, write_text
from ds01.domain.images.dockerfile_change import render_dockerfile
from ds01.domain.images.image_name import parse_image_name
from ds01.domain.images.package_tier import PackageTiers
from ds01.domain.images.recipe import ImageRecipe, Tier
from ds01.domain.images.recipe_choice import ImageChoices, plan_recipe
from ds01.domain.images.system_package import advise_system_package
from ds01.errors import ConflictError

TITLE_WIDTH = 15
"""Characters before the facts of the summary."""
_TITLES = {
    Tier.CORE: "Core (legacy)",
    Tier.JUPYTER: "Jupyter",
    Tier.DATA_SCIENCE: "Data science",
    Tier.USE_CASE: "Use case",
    Tier.ADDITIONAL: "Additional",
    Tier.CUSTOM: "Custom",
}


@dataclass(slots=True)
class Draft:
    """What was chosen so far.

    Attributes:
        name: Short name of the image.
        basis: The base.
        tiers: What is offered.
        choices: The choices.
        has_cache: pip keeps what it fetches in a cache of the builder.
        created: Day when it is made.
    """

    name: str
    basis: Basis
    tiers: PackageTiers
    choices: ImageChoices = field(default_factory=ImageChoices)
    has_cache: bool = False
    created: str = ""

    def recipe(self, **changed: object) -> ImageRecipe:
        """Return the recipe, with some choices made otherwise.

        Raises:
            InvalidRequestError: A choice cannot be followed.
        """
        choices = replace(self.choices, **changed)  # type: ignore[arg-type]  # names and values of the choices
        return plan_recipe(
            self.name, login_name(), self.basis.image, choices=choices, tiers=self.tiers, created=self.created
        )

    def text(self) -> str:
        """Return the Dockerfile."""
        return render_dockerfile(self.recipe(), has_cache=self.has_cache)


def path_of(call: Call, name: str) -> Path:
    """Return where the Dockerfile is to be written.

    Raises:
        NotFoundError: There is no such project.
    """
    typed, project = call.text("dockerfile"), call.text("project_dockerfile")
    if typed is not None:
        path = Path(os.path.expanduser(typed)).absolute()
        return path / "Dockerfile" if os.path.isdir(path) else path
    if project is not None:
        return project_dockerfile(call.environment, project)
    return dockerfile_of(call.environment, name)


def require_legal_name(call: Call, name: str) -> str:
    """Return the name if the image may be called so: no framework is.

    Raises:
        InvalidRequestError: It may not.
    """
    name = parse_image_name(name)  # most mistakes are found without the daemon
    return parse_image_name(name, [choice["framework"] for choice in call.client.get_catalogue()["choices"]])


def require_free(call: Call, name: str) -> None:
    """Raise if the Dockerfile is there already: said before any question, not after the last.

    Raises:
        ConflictError: It is, and --force was not given.
    """
    path = path_of(call, name)
    if os.path.lexists(path) and not call.flag("force") and not call.flag("dry_run"):
        raise ConflictError(f"{path} is there already.", hint=f"Change it: ds01 image update {name}. Or add --force.")


def write_draft(call: Call, draft: Draft) -> Path:
    """Write the Dockerfile.

    Raises:
        ConflictError: One is there, and --force was not given.
    """
    path = path_of(call, draft.name)
    backup = write_text(path, draft.text(), replaces=call.flag("force"))
    for package in draft.choices.system:
        advice = advise_system_package(package)
        if advice:
            call.screen.warn(advice)
    if backup is not None:
        call.screen.note(f"The one that was there is now {backup}")
    call.screen.success(f"Wrote {path}")
    return path


def summary_lines(draft: Draft) -> list[str]:
    """Return what the image will have, a line for each part that is not empty."""
    return [f"{'Image':<{TITLE_WIDTH}}{draft.name}", *recipe_lines(draft.recipe())]


def recipe_lines(recipe: ImageRecipe) -> list[str]:
    """Return what a recipe installs, a line for each part that is not empty."""
    lines = [f"{'Base':<{TITLE_WIDTH}}{recipe.base}"]
    if recipe.system:
        lines.append(f"{'System':<{TITLE_WIDTH}}{' '.join(recipe.system)}")
    if recipe.conda.specs:
        lines.append(f"{'Conda':<{TITLE_WIDTH}}{' '.join(recipe.conda.specs)}")
    if recipe.requirements is not None:
        lines.append(
            f"{'From a file':<{TITLE_WIDTH}}{recipe.requirements.source}: {len(recipe.requirements.lines)} lines"
        )
    for tier, title in _TITLES.items():
        if recipe.packages_of(tier):
            lines.append(f"{title:<{TITLE_WIDTH}}{' '.join(recipe.packages_of(tier))}")
    return lines
