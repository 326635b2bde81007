"""The files of the repository, as the tests of its house rules read them."""

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CODE_FOLDERS = ("src", "dev", "tests")
TEXT_SUFFIXES = frozenset(
    {".c", ".cfg", ".conf", ".csv", ".h", ".json", ".lock", ".md", ".py", ".sh", ".toml", ".yaml", ".yml"}
)
NOT_OURS = frozenset({"__pycache__", "node_modules", "dist", "build"})
OURS_THOUGH_HIDDEN = frozenset({".ci", ".github"})


def files(folder: Path = ROOT) -> Iterator[Path]:
    """Yield every file that belongs to the repository, in a stable order: nothing built, nothing hidden by tools."""
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_ours(name))
        yield from (Path(path) / name for name in sorted(names))


def _is_ours(folder: str) -> bool:
    return folder in OURS_THOUGH_HIDDEN or not (folder.startswith(".") or folder in NOT_OURS)


def texts() -> Iterator[tuple[Path, str]]:
    """Yield every text file with its text: files of known kinds, and scripts without a suffix."""
    for path in files():
        if path.suffix in TEXT_SUFFIXES or not path.suffix:
            yield path, path.read_text(encoding="utf-8", errors="replace")


def modules(*folders: str) -> Iterator[Path]:
    """Yield the Python files of some folders of the repository."""
    for folder in folders:
        yield from (path for path in files(ROOT / folder) if path.suffix == ".py")


def pages() -> Iterator[Path]:
    """Yield every Markdown page."""
    yield from (path for path in files() if path.suffix == ".md")


def shown(path: Path) -> str:
    """Return a path as the messages of failing tests show it."""
    return path.relative_to(ROOT).as_posix()
