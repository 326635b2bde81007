"""Packages that are to be added to a Dockerfile, held against what its image has without them."""

from collections.abc import Sequence

from ds01.cli.call import Call
from ds01.cli.commands.image.basis import look_into, offered_tiers
from ds01.domain.images.dockerfile import Dockerfile
from ds01.domain.images.package_tier import find_duplicates
from ds01.domain.images.recipe_choice import base_contents, duplicates_error
from ds01.domain.images.requirement import PackageRequirement
from ds01.errors import Ds01Error


def require_new(call: Call, dockerfile: Dockerfile, wanted: Sequence[PackageRequirement], *, counts_own: bool) -> None:
    """Raise for packages that are there already. Other bounds for one that the recipe installs are no duplicate.

    Args:
        call: The call.
        dockerfile: The file that they are to be added to.
        wanted: What was asked for.
        counts_own: One that the recipe installs is a duplicate too, unless it gets other bounds.

    Raises:
        InvalidRequestError: The base, a line of somebody's own, or the recipe has one of them.
    """
    own = {package.key: package.text for package in dockerfile.recipe.all_packages()}
    is_bound = {one.key for one in wanted if one.text not in {one.name, own.get(one.key)}}
    changed = {key for key in own if key in is_bound or not counts_own}
    known = (
        ("the image", tuple(own.values())),
        ("another line of the Dockerfile", dockerfile.foreign_packages()),
        ("the base image", _contents_of_base(call, dockerfile)),
    )
    _, duplicates = find_duplicates([one.text for one in wanted if one.key not in changed], known)
    if duplicates:
        raise duplicates_error(duplicates)


def _contents_of_base(call: Call, dockerfile: Dockerfile) -> tuple[str, ...]:
    """Return what the base has; what nobody can say holds nobody up."""
    recipe = dockerfile.recipe
    try:
        tiers = offered_tiers(call)
        return base_contents(look_into(call, recipe.base, recipe.framework, "").image, tiers)
    except Ds01Error as failure:
        call.screen.warn(f"What {recipe.base} contains is not known: {failure.message}")
        return ()


def tell_mistake(call: Call, mistake: Ds01Error) -> None:
    """Say why an answer cannot be taken, before it is asked for again."""
    if "duplicates" in mistake.details:  # the hint speaks of options
        call.screen.warn(mistake.message)
    else:
        call.screen.failure(mistake.message, mistake.hint)
