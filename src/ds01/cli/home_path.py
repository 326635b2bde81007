"""Paths as people read them: `~` for one's own home. Programs get them whole, in documents."""

import os
from collections.abc import Mapping


def short_home_path(path: str, environment: Mapping[str, str]) -> str:
    """Return a path with `~` in place of the caller's home; others' homes and names that only begin alike stay.

    Args:
        path: An absolute path; anything else is returned as it is.
        environment: Says by HOME where the home is; without it nothing is shortened.
    """
    home = environment.get("HOME", "")
    if not os.path.isabs(home) or not os.path.isabs(path):
        return path
    home = os.path.normpath(home)
    if home.strip("/") == "":
        return path  # the home of a service can be the root folder: every path would begin with it
    inside = path.removeprefix(home)
    is_inside = inside != path and (inside == "" or inside.startswith("/"))
    return f"~{inside}" if is_inside else path
