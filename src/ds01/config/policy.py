"""`resource-limits.yaml`: defaults, groups and overrides."""

import re
from pathlib import Path

from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarint import ScalarInt

from ds01.config.document import Source, load
from ds01.config.values import NULLABLE, READERS, nearest, shown
from ds01.domain.limit import LIMIT_NAMES, Limits
from ds01.domain.policy import LimitLayer, Policy, PolicyGroup, UserOverride
from ds01.errors import Ds01Error

POLICY_NAME = "resource-limits.yaml"
VERSION = 2
DEFAULT_GROUP = "student"
_TOP_KEYS = ("version", "defaults", "default_group", "groups", "user_overrides")
_GROUP_KEYS = ("members", "admin")
# a login name, @group or uid:N, without what ends a field of passwd(5); names of a directory may hold blanks
_MEMBER = re.compile(r"uid:(0|[1-9][0-9]{0,9})|(?!uid:)@?[^\s:@](?:[^:\r\n\t\0]*[^\s:])?")


def read_policy(path: Path, *, base: Limits) -> Policy:
    """Return the policy of a file.

    Args:
        path: The file.
        base: Limits that the file starts from.

    Raises:
        InvalidRequestError: The message holds file, line, what is wrong and the fix.
    """
    document = load(path)
    source = Source(path)
    _require_version(source, document)
    _require_known(source, document, _TOP_KEYS)
    groups = tuple(_group(source, name, section) for name, section in _sections(source, document, "groups"))
    overrides = {name: _override(source, section) for name, section in _sections(source, document, "user_overrides")}
    default_group = _text(source, document, "default_group") or DEFAULT_GROUP
    names = [group.name for group in groups]
    if groups and default_group not in names:
        what = f"there is no group {default_group!r}, which users that no group names are in."
        source.refuse(document, "default_group", what, nearest(default_group, names))
    for member, override in overrides.items():
        if not _MEMBER.fullmatch(member) or member.startswith("@"):
            source.refuse(document, "user_overrides", f"{member!r} is not a user.", "Write a login name or uid:1234.")
        if override.group is not None and override.group not in names:
            section = document["user_overrides"]
            what = f"{member}: there is no group {override.group!r}."
            source.refuse(section, member, what, nearest(override.group, names))
    return Policy(
        defaults=_layer(source, _section(source, document, "defaults"), extra=()),
        default_group=default_group,
        groups=groups,
        overrides=overrides,
        source=path.name,
        base=base,
    )


def _require_version(source: Source, document: CommentedMap) -> None:
    """Before all else: to a file of another version, most keys would be unknown."""
    version = document.get("version")
    number = version if isinstance(version, int) and not isinstance(version, bool) else None
    if number == VERSION:
        return
    hint = f"Write `version: {VERSION}`; docs/reference/config.md has an example."
    if version is None or number == 1:
        source.refuse(document, "version", "a file of version 1 (the predecessors') cannot be read.", hint)
    source.refuse(document, "version", f"version {shown(version)} cannot be read.", hint)


def _require_known(source: Source, section: CommentedMap, known: tuple[str, ...]) -> None:
    for key in section:
        if key not in known:
            near = nearest(key, known) if isinstance(key, str) else f"Known: {', '.join(known)}."
            source.refuse(section, key, f"the key {shown(key)} is unknown.", near)


def _section(source: Source, parent: CommentedMap, key: str) -> CommentedMap:
    section = parent.get(key)
    if section is None:
        return CommentedMap()  # missing, or holding only comments
    if not isinstance(section, CommentedMap):
        hint = "Write `key: value` lines below it, indented."
        source.refuse(parent, key, f"{shown(key)} is {shown(section)}, not a set of keys.", hint)
    return section


def _sections(source: Source, parent: CommentedMap, key: str) -> list[tuple[str, CommentedMap]]:
    outer = _section(source, parent, key)
    found: list[tuple[str, CommentedMap]] = []
    for raw in outer:
        name = _name(raw)
        if name is None:
            source.refuse(outer, raw, f"{shown(raw)} is not a name.", "Write it in quotes.")
        if name in dict(found):
            source.refuse(outer, raw, f"{name!r} is there twice.", "Write each name once.")
        found.append((name, _section(source, outer, raw)))
    return found


def _name(raw: object) -> str | None:
    """Return a name as it is meant; a login name of digits may stand without quotes, but `0123` would lose its zero."""
    if isinstance(raw, str):
        return str(raw)
    is_plain = isinstance(raw, int) and not isinstance(raw, (bool, ScalarInt))
    return str(raw) if is_plain else None


def _text(source: Source, section: CommentedMap, key: str) -> str | None:
    raw = section.get(key)
    name = _name(raw)
    if raw is not None and not name:
        source.refuse(section, key, f"{key}: {shown(raw)} is not a name.", "Write it in quotes.")
    return name


def _group(source: Source, name: str, section: CommentedMap) -> PolicyGroup:
    is_admin = section.get("admin", False)
    if not isinstance(is_admin, bool):
        source.refuse(section, "admin", f"admin: {shown(is_admin)} is neither true nor false.", "Write true or false.")
    return PolicyGroup(
        name=name,
        members=_members(source, section),
        layer=_layer(source, section, extra=_GROUP_KEYS),
        is_admin=is_admin,
    )


def _members(source: Source, section: CommentedMap) -> tuple[str, ...]:
    raw = section.get("members")
    if raw is None:
        return ()
    if not isinstance(raw, CommentedSeq):
        source.refuse(section, "members", f"members: {shown(raw)} is not a list.", "Write members: [alice, bob].")
    found: list[str] = []
    for position, item in enumerate(raw):
        name = _name(item)
        if name is None or not _MEMBER.fullmatch(name):
            hint = 'Write a login name, "@unix-group" or "uid:1234", in quotes.'
            source.refuse(raw, position, f"members: {shown(item)} is nobody's name.", hint)
        found.append(name)
    return tuple(found)


def _override(source: Source, section: CommentedMap) -> UserOverride:
    group = _text(source, section, "group")
    return UserOverride(group=group, layer=_layer(source, section, extra=("group",)))


def _layer(source: Source, section: CommentedMap, *, extra: tuple[str, ...]) -> LimitLayer:
    _require_known(source, section, (*LIMIT_NAMES, *extra))
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for name in section:
        if name in extra:
            continue
        values[name] = _value(source, section, name)
        origins[name] = source.line(section, name)
    return LimitLayer(values=values, origins=origins)


def _value(source: Source, section: CommentedMap, name: str) -> object:
    raw = section[name]
    reader = READERS[name]
    if raw is None:
        if name not in NULLABLE:
            source.refuse(section, name, f"{name} cannot be null.", "Leave it out to inherit the value.")
        return None
    try:
        return reader(raw)
    except Ds01Error as failure:
        source.refuse(section, name, f"{name}: {failure.message}", failure.hint)
