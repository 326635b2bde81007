"""Paths below the caller's home folder, as people write them."""

from collections.abc import Mapping


def short_home_path(environment: Mapping[str, str], path: str) -> str:
    """Return a path with `~` in place of the caller's home folder, for tables; any other path as it is."""
    home = environment.get("HOME", "").rstrip("/")
    if not home.startswith("/") or not (path == home or path.startswith(f"{home}/")):
        return path
    return "~" + path.removeprefix(home)
