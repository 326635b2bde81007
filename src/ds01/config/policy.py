"""`resource-limits.yaml`: every section, read strictly."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarint import ScalarInt

from ds01.config.document import Source, TextFile, parse, read_file
from ds01.config.members import ARCHIVED, MEMBER, MEMBERS_FOLDER, MEMBERS_SUFFIX, parse_members
from ds01.config.predecessor import DROPPED, DROPPED_SECTIONS, RENAMED, Rewriter
from ds01.config.sections import (
    CONTAINER_KINDS,
    IDLE,
    RESERVATION,
    SITE,
    child,
    read_keys,
    read_value,
    require_known,
)
from ds01.config.values import AGGREGATE, QUOTA, READERS, SHARES, Kind, nearest, shown
from ds01.domain.rules.limit import Limits
from ds01.domain.rules.policy import LimitLayer, Policy, PolicyGroup, PolicyWarning, UserOverride
from ds01.domain.rules.site import Reservation, Site

POLICY_NAME = "resource-limits.yaml"
VERSION = 2
DEFAULT_GROUP = "student"
TOP_KEYS = ("version", "defaults", "default_group", "groups", "user_overrides")
GROUP_KEYS = ("members", "admin", "aggregate", "group_quota", "idle", "shares")
OVERRIDE_KEYS = ("group", "aggregate", "reservation")
DEFAULTS_KEYS = ("aggregate",)
# names of groups stand in labels, where a comma would break AIME's tool, in file names and in tables
_GROUP_NAME = re.compile(r"\w[\w.-]{0,63}")
_GROUP_NAME_HINT = "Use up to 64 letters, digits, _, - and dots."
_EXAMPLE = f"Write `version: {VERSION}`; docs/reference/config.md has an example."


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """The files of a policy.

    Attributes:
        main: `resource-limits.yaml`.
        members: Group to `groups/<group>.members`.
    """

    main: TextFile
    members: Mapping[str, TextFile] = field(default_factory=dict)


def read_policy(path: Path, *, base: Limits, owner_uid: int | None = None) -> Policy:
    """Return the policy of a file and of the members files beside it.

    Args:
        path: The file.
        base: Limits that the file starts from.
        owner_uid: With a number, nobody but root and this user may be able to change the files; None: anybody may.

    Raises:
        InvalidRequestError: The message holds file, line, what is wrong and the fix.
    """
    return parse_policy(read_files(path, owner_uid=owner_uid), base=base)


def read_files(path: Path, *, owner_uid: int | None = None) -> PolicyFiles:
    """Return the files of a policy, each read once.

    Raises:
        InvalidRequestError: One cannot be read, or somebody else may change it.
    """
    members = {
        found.name.removesuffix(MEMBERS_SUFFIX): read_file(found, f"{MEMBERS_FOLDER}/{found.name}", owner_uid=owner_uid)
        for found in members_paths(path.parent)
    }
    return PolicyFiles(read_file(path, path.name, owner_uid=owner_uid), members)


def members_paths(folder: Path) -> list[Path]:
    """Return the members files of a folder, in the order of their names."""
    return sorted((folder / MEMBERS_FOLDER).glob(f"*{MEMBERS_SUFFIX}"))


def parse_policy(files: PolicyFiles, *, base: Limits) -> Policy:
    """Return the policy that these texts say.

    Raises:
        InvalidRequestError: The message holds file, line, what is wrong and the fix.
    """
    document = parse(files.main)
    source = Source(files.main.name, 0)
    source.version = _version(source, document)
    if source.version == 1:
        source.warn(document, "version", "this is a file of version 1, the predecessors'.", _EXAMPLE)
        document = Rewriter(source).document(document)
    dropped = {name: f"It is not used any more. {hint}" for name, hint in DROPPED_SECTIONS.items()}
    require_known(source, document, (*TOP_KEYS, *SITE), dropped)
    return _Reader(source, document, files).policy(base)


def _version(source: Source, document: CommentedMap) -> int:
    """Before all else: to a file of another version, most keys would be unknown."""
    version = document.get("version")
    if version is None:
        return 1
    if isinstance(version, bool) or not isinstance(version, int) or version not in {1, VERSION}:
        source.refuse(document, "version", f"version {shown(version)} cannot be read.", _EXAMPLE)
    return int(version)


class _Reader:
    """Reads one document of version 2, or one rewritten into it."""

    def __init__(self, source: Source, document: CommentedMap, files: PolicyFiles) -> None:
        self._source = source
        self._document = document
        self._rewriter = Rewriter(source)
        self._members = {group: parse_members(file) for group, file in files.members.items() if group != ARCHIVED}

    def policy(self, base: Limits) -> Policy:
        source, document = self._source, self._document
        defaults = self._rewriter.layer(child(source, document, "defaults"))
        layer = self._layer(defaults, extra=DEFAULTS_KEYS)
        groups = tuple(self._group(name, section) for name, section in self._named("groups"))
        overrides = {name: self._override(name, section) for name, section in self._named("user_overrides")}
        site, container_types = self._site()
        default_group = _text(source, document, "default_group") or DEFAULT_GROUP
        self._require_groups(groups, default_group, overrides)
        layers = [layer, *(group.layer for group in groups), *(override.layer for override in overrides.values())]
        return Policy(
            defaults=layer,
            default_group=default_group,
            groups=groups,
            overrides=overrides,
            source=source.name,
            base=_predecessors_base(base, layers) if source.version == 1 else base,
            aggregate=self._values(defaults, "aggregate", AGGREGATE),
            site=site,
            container_types=container_types,
            warnings=tuple(source.warnings),
            version=source.version,
            origins={key: source.line(document, key) for key in ("version", "default_group") if key in document},
        )

    def _named(self, key: str) -> list[tuple[str, CommentedMap]]:
        outer = child(self._source, self._document, key)
        found: dict[str, CommentedMap] = {}
        for raw in outer:
            name = _name(raw)
            if name is None:
                self._source.refuse(outer, raw, f"{shown(raw)} is not a name.", "Write it in quotes.")
            if name in found:
                self._source.refuse(outer, raw, f"{name!r} is there twice.", "Write each name once.")
            found[name] = self._rewriter.layer(child(self._source, outer, raw))
        return list(found.items())

    def _line_of(self, key: str, name: str) -> str:
        outer = self._document[key]
        return self._source.line(outer, next((raw for raw in outer if _name(raw) == name), name))

    def _group(self, name: str, section: CommentedMap) -> PolicyGroup:
        is_admin = section.get("admin", False)
        if not isinstance(is_admin, bool):
            what = f"admin: {shown(is_admin)} is neither true nor false."
            self._source.refuse(section, "admin", what, "Write true or false.")
        if not _GROUP_NAME.fullmatch(name):
            what = f"{name[:80]!r} is not the name of a group."
            self._source.refuse(self._document["groups"], name, what, _GROUP_NAME_HINT)
        members = _members(self._source, section)
        from_file = self._members.get(name, {})
        return PolicyGroup(
            name=name,
            members=tuple(members),
            layer=self._layer(section, extra=GROUP_KEYS),
            is_admin=is_admin,
            file_members=tuple(from_file),
            member_origins={**from_file, **members},
            aggregate=self._values(section, "aggregate", AGGREGATE),
            quota=self._values(section, "group_quota", QUOTA),
            idle=self._values(
                section, "idle", {key: kind for key, kind in IDLE.keys.items() if isinstance(kind, Kind)}
            ),
            origin=self._line_of("groups", name),
            shares=self._shares(section),
        )

    def _shares(self, section: CommentedMap) -> float:
        value = read_value(self._source, section, "shares", SHARES) if "shares" in section else None
        return value if isinstance(value, float) else 1.0

    def _override(self, name: str, section: CommentedMap) -> UserOverride:
        origin = self._line_of("user_overrides", name)
        if not MEMBER.fullmatch(name) or name.startswith("@"):
            outer = self._document["user_overrides"]
            self._source.refuse(outer, name, f"{name!r} is not a user.", "Write a login name or uid:1234.")
        return UserOverride(
            group=_text(self._source, section, "group"),
            layer=self._layer(section, extra=OVERRIDE_KEYS),
            aggregate=self._values(section, "aggregate", AGGREGATE),
            reservation=self._reservation(section),
            origin=origin,
        )

    def _reservation(self, section: CommentedMap) -> Reservation | None:
        inner = child(self._source, section, "reservation")
        if not inner:
            return None
        found, _ = read_keys(self._source, inner, RESERVATION)
        missing = [key for key in ("gpus", "start", "end") if key not in found]
        if missing:
            what = f"reservation: {', '.join(missing)} is missing."
            self._source.refuse(section, "reservation", what, "Write {gpus: 1, start: ..., end: ...}.")
        reservation = Reservation(**found)  # type: ignore[arg-type]  # keys and types are the section's declaration
        if reservation.end <= reservation.start:
            self._source.refuse(inner, "end", "end: the reservation ends before it begins.", "Write a later time.")
        return reservation

    def _layer(self, section: CommentedMap, *, extra: tuple[str, ...]) -> LimitLayer:
        known = (*READERS, *extra)
        old = RENAMED if self._source.version == 1 else ()  # whoever keeps the old form may have mistyped an old key
        require_known(self._source, section, known, DROPPED, proposed=(*known, *old))
        values: dict[str, object] = {}
        origins: dict[str, str] = {}
        for name in section:
            if name in extra:
                continue
            values[name] = read_value(self._source, section, name, READERS[name])
            origins[name] = self._source.line(section, name)
            if isinstance(section[name], CommentedMap):
                origins.update({f"{name}.{key}": self._source.line(section[name], key) for key in section[name]})
        return LimitLayer(values=values, origins=origins)

    def _values(self, section: CommentedMap, key: str, kinds: Mapping[str, Kind]) -> LimitLayer:
        inner = child(self._source, section, key)
        require_known(self._source, inner, tuple(kinds), {})
        return LimitLayer(
            {name: read_value(self._source, inner, name, kinds[name]) for name in inner},
            {name: self._source.line(inner, name) for name in inner},
        )

    def _site(self) -> tuple[Site, Mapping[str, LimitLayer]]:
        sections: dict[str, object] = {}
        origins: dict[str, str] = {}
        container_types: dict[str, LimitLayer] = {}
        for name, declared in SITE.items():
            section = child(self._source, self._document, name)
            if name == "lifecycle" and "container_types" in section:
                container_types = self._container_types(section)
                del section["container_types"]
            found, places = read_keys(self._source, section, declared, f"{name}.")
            sections[name] = declared.build(**found)
            origins.update(places)
        return Site(**sections, origins=origins), container_types  # type: ignore[arg-type]  # one for each field

    def _container_types(self, lifecycle: CommentedMap) -> dict[str, LimitLayer]:
        outer = child(self._source, lifecycle, "container_types")
        require_known(self._source, outer, CONTAINER_KINDS, {})
        return {kind: self._layer(self._rewriter.layer(child(self._source, outer, kind)), extra=()) for kind in outer}

    def _require_groups(
        self, groups: tuple[PolicyGroup, ...], default_group: str, overrides: Mapping[str, UserOverride]
    ) -> None:
        names = [group.name for group in groups]
        if not _GROUP_NAME.fullmatch(default_group):
            what = f"default_group: {default_group[:80]!r} is not the name of a group."
            self._source.refuse(self._document, "default_group", what, _GROUP_NAME_HINT)
        if groups and default_group not in names:
            what = f"there is no group {default_group!r}, which users that no group names are in."
            self._source.refuse(self._document, "default_group", what, nearest(default_group, names))
        outer = child(self._source, self._document, "user_overrides")
        for member, override in overrides.items():
            if override.group is not None and override.group not in names:
                what = f"{member}: there is no group {override.group!r}."
                key = next(raw for raw in outer if _name(raw) == member)
                self._source.refuse(outer, key, what, nearest(override.group, names))
        for group in sorted(self._members.keys() - set(names)):
            where = f"{MEMBERS_FOLDER}/{group}{MEMBERS_SUFFIX}:1"
            self._source.warnings.append(
                PolicyWarning(where, f"there is no group {group!r} in {self._source.name}.", nearest(group, names))
            )


def _predecessors_base(base: Limits, layers: list[LimitLayer]) -> Limits:
    """The predecessors knew one GPU quota: what their file does not speak of must not lower what it grants."""
    named = {name for layer in layers for name in layer.values}
    if "max_gpus" in named and "max_gpu_equivalents" not in named:
        return replace(base, max_gpu_equivalents=None)
    if "max_gpu_equivalents" in named and "max_gpus" not in named:
        return replace(base, max_gpus=None)
    return base


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


def _members(source: Source, section: CommentedMap) -> dict[str, str]:
    raw = section.get("members")
    if raw is None:
        return {}
    if not isinstance(raw, CommentedSeq):
        source.refuse(section, "members", f"members: {shown(raw)} is not a list.", "Write members: [alice, bob].")
    found: dict[str, str] = {}
    for position, item in enumerate(raw):
        name = _name(item)
        if name is None or not MEMBER.fullmatch(name):
            hint = 'Write a login name, "@unix-group" or "uid:1234", in quotes.'
            source.refuse(raw, position, f"members: {shown(item)} is nobody's name.", hint)
        found.setdefault(name, source.line(raw, position))
    return found
