"""Layers of a container on top of each other, as lists of what they changed."""

from collections.abc import Iterable

from ds01.domain.engine import FileChange, FileChangeKind


def merged_changes(earlier: Iterable[FileChange], later: Iterable[FileChange]) -> tuple[FileChange, ...]:
    """Return what two layers together changed, by path.

    Args:
        earlier: The lower layer.
        later: The one on top of it. A folder that is gone there takes with it what the lower one put below it.
    """
    kinds = {change.path: change.kind for change in earlier}
    for change in later:
        before = kinds.get(change.path)
        if change.kind is FileChangeKind.REMOVED:
            _remove(kinds, change.path)
        elif before is FileChangeKind.REMOVED:
            kinds[change.path] = FileChangeKind.CHANGED
        elif before is not FileChangeKind.ADDED:
            kinds[change.path] = change.kind
    return tuple(FileChange(path, kinds[path]) for path in sorted(kinds))


def _remove(kinds: dict[str, FileChangeKind], path: str) -> None:
    before = kinds.get(path)
    for gone in [one for one in kinds if one.startswith(f"{path}/")]:
        del kinds[gone]
    if before is FileChangeKind.ADDED:
        del kinds[path]
    else:
        kinds[path] = FileChangeKind.REMOVED
