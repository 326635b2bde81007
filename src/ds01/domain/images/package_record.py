"""What package tools write down in files when they install: read from the layer of a container, running or not.

Nothing of the container's is run for it, so what is found does not depend on a pip that works.

Source: PEP 376 and PEP 627 (`*.dist-info`), PEP 610 (`direct_url.json`), the PyPA's specification "Recording installed
projects" (`REQUESTED`, `INSTALLER`), dpkg(1) `/var/lib/dpkg/status`, apt-mark(8) `/var/lib/apt/extended_states`,
conda's `conda-meta` with a file for each package and `history`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ds01.domain.engine import FileChange, FileChangeKind
from ds01.domain.images.installed import Installed, InstalledPackage
from ds01.domain.images.other_record import is_other_record
from ds01.domain.images.requirement import package_key

DPKG_STATUS = "/var/lib/dpkg/status"
APT_STATES = "/var/lib/apt/extended_states"
SYSTEM_LISTS = (DPKG_STATUS, APT_STATES)
_SITE = re.compile(r"(?P<site>.*/(?:site|dist)-packages)/(?P<stem>[^/]+)\.(?:dist|egg)-info")
_OF_THE_SYSTEM = re.compile(r"/usr/lib/python3(?:\.\d+)?/dist-packages")
"""Where packages of Debian's put Python packages: dpkg knows them."""
_STEM = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)-(?P<version>\d[^-]*)(?:-py\d[\d.]*)?")
_LINK = re.compile(r".*/(?:site|dist)-packages/(?P<name>[^/]+)\.egg-link")
_CONDA = re.compile(r"(?P<prefix>.*)/conda-meta/(?P<name>[^/]+)-(?P<version>[^-/]+)-[^-/]+\.json")
_OWN_ENVIRONMENT = ("/pyvenv.cfg", "/conda-meta")
_ASKED = re.compile(r"^# (?P<verb>update|remove) specs: (?P<specs>\[.*\])\s*$", re.MULTILINE)
_EXTRA = re.compile(r"^Requires-Dist: *(?P<name>[A-Za-z0-9._-]+)[^;\n]*;.*\bextra\s*==", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PackageRecord:
    """One package that a tool has written down.

    Attributes:
        path: Its folder, or its file of conda.
        name: Its name.
        version: Its version.
    """

    path: str
    name: str
    version: str

    @property
    def key(self) -> str:
        """The name by which packages of Python are compared."""
        return package_key(self.name)


@dataclass(frozen=True, slots=True)
class LayerRecords:
    """What the packages of a layer have written down.

    Attributes:
        pip_added: Packages of Python that came.
        pip_removed: Those of the image that went, with the versions that went.
        conda_added: Packages of conda that came.
        conda_removed: Those that went.
        has_system: dpkg's list is another one.
        requested: Folders of packages that somebody asked pip for.
        referring: Folders of packages that say where they came from.
        environments: Environments of their own that were made in the container, such as a venv.
        linked: Names of packages that are links to a folder of the container.
    """

    pip_added: tuple[PackageRecord, ...] = ()
    pip_removed: tuple[PackageRecord, ...] = ()
    conda_added: tuple[PackageRecord, ...] = ()
    conda_removed: tuple[PackageRecord, ...] = ()
    has_system: bool = False
    requested: frozenset[str] = frozenset()
    referring: frozenset[str] = frozenset()
    environments: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()

    def paths_to_read(self) -> tuple[str, ...]:
        """Return the files of the container from which the rest is learnt."""
        paths = [f"{record.path}/direct_url.json" for record in self.pip_added if record.path in self.referring]
        paths += [f"{record.path}/METADATA" for record in self.pip_added if record.path in self.requested]
        if self.conda_added or self.conda_removed:
            paths += [f"{record.path}/INSTALLER" for record in (*self.pip_added,)]
            paths += sorted({history_of(record.path) for record in (*self.conda_added, *self.conda_removed)})
        return (*paths, *(SYSTEM_LISTS if self.has_system else ()))


def history_of(conda_record: str) -> str:
    """Return the file in which conda writes down what it was asked for."""
    return f"{conda_record.rpartition('/')[0]}/history"


def is_of_records(path: str) -> bool:
    """Tell whether a path says something about packages."""
    parent = path.rpartition("/")[0]
    return (
        path in SYSTEM_LISTS
        or is_other_record(path)
        or path.endswith((*_OWN_ENVIRONMENT, "/conda-meta/history"))
        or any(form.fullmatch(one) for one in (path, parent) for form in (_SITE, _CONDA, _LINK))
    )


def find_records(changes: Iterable[FileChange]) -> LayerRecords:
    """Return what the packages of a layer have written down."""
    kinds = {change.path: change.kind for change in changes}
    environments = _environments(kinds)
    found: dict[tuple[str, FileChangeKind], list[PackageRecord]] = {}
    for path, kind in kinds.items():
        if kind is FileChangeKind.CHANGED or any(path.startswith(f"{place}/") for place in environments):
            continue
        record, tool = _record_of(path)
        if record is not None:
            found.setdefault((tool, kind), []).append(record)
    added = FileChangeKind.ADDED
    pip = tuple(found.get(("pip", added), ()))
    return LayerRecords(
        pip_added=pip,
        pip_removed=tuple(found.get(("pip", FileChangeKind.REMOVED), ())),
        conda_added=tuple(found.get(("conda", added), ())),
        conda_removed=tuple(found.get(("conda", FileChangeKind.REMOVED), ())),
        has_system=DPKG_STATUS in kinds,
        requested=frozenset(record.path for record in pip if f"{record.path}/REQUESTED" in kinds),
        referring=frozenset(record.path for record in pip if f"{record.path}/direct_url.json" in kinds),
        environments=environments,
        linked=tuple(match["name"] for path in kinds if (match := _LINK.fullmatch(path)) and kinds[path] is added),
    )


def _environments(kinds: Mapping[str, FileChangeKind]) -> tuple[str, ...]:
    """A venv, or an environment of conda, that is new as a whole: what is in it is not what a shell starts with."""
    return tuple(
        sorted(
            path.removesuffix(mark)
            for path, kind in kinds.items()
            for mark in _OWN_ENVIRONMENT
            if kind is FileChangeKind.ADDED and path.endswith(mark) and path != mark
        )
    )


def _record_of(path: str) -> tuple[PackageRecord | None, str]:
    site = _SITE.fullmatch(path)
    if site is not None:
        stem = _STEM.fullmatch(site["stem"])
        if stem is None or _OF_THE_SYSTEM.fullmatch(site["site"]):
            return None, "pip"
        return PackageRecord(path, stem["name"].replace("_", "-"), stem["version"]), "pip"
    conda = _CONDA.fullmatch(path)
    if conda is not None:
        return PackageRecord(path, conda["name"], conda["version"]), "conda"
    return None, ""


@dataclass(frozen=True, slots=True)
class RecordFiles:
    """The files behind the records, as texts by path.

    Attributes:
        container: Of the container.
        image: dpkg's lists of the image.
    """

    container: Mapping[str, str]
    image: Mapping[str, str] = field(default_factory=dict)


def installed_of(records: LayerRecords, files: RecordFiles) -> tuple[Installed, Installed]:
    """Return what the image and the container have where they differ: before, after.

    Packages that neither tool's records of this layer name are in neither of the two.
    """
    of_conda = {
        record.path
        for record in records.pip_added
        if files.container.get(f"{record.path}/INSTALLER", "").strip() == "conda"
    }
    pip = [record for record in records.pip_added if record.path not in of_conda]
    before = Installed(
        {record.key: InstalledPackage(record.name, record.version) for record in records.pip_removed},
        parse_dpkg_status(files.image.get(DPKG_STATUS, "")),
        {record.name: record.version for record in records.conda_removed},
        manual=_manual_of(files.image),
    )
    after = Installed(
        {record.key: _package_of(record, records, files) for record in _user_first(pip)},
        parse_dpkg_status(files.container.get(DPKG_STATUS, "")),
        {record.name: record.version for record in records.conda_added},
        top_level=_asked_of_pip(pip, records, files),
        manual=_manual_of(files.container),
        conda_asked=_asked_of_conda(records, files),
    )
    return _without_condas(before, after, records), after


def _without_condas(before: Installed, after: Installed, records: LayerRecords) -> Installed:
    """What conda took away was pip's to name only if conda says nothing of it."""
    condas = {record.key for record in (*records.conda_added, *records.conda_removed)}
    left = {key: package for key, package in before.pip.items() if key in after.pip or key not in condas}
    return Installed(left, before.system, before.conda, manual=before.manual)


def _user_first(pip: Iterable[PackageRecord]) -> list[PackageRecord]:
    """The user's own folder comes first on Python's path, so it is the last one that is put into the mapping."""
    return sorted(pip, key=lambda record: "/.local/lib/" in record.path)


def _package_of(record: PackageRecord, records: LayerRecords, files: RecordFiles) -> InstalledPackage:
    text = files.container.get(f"{record.path}/direct_url.json", "") if record.path in records.referring else ""
    return InstalledPackage(record.name, record.version, parse_direct_url(text) if text else "")


def _asked_of_pip(pip: Iterable[PackageRecord], records: LayerRecords, files: RecordFiles) -> frozenset[str] | None:
    """None where nothing was marked: an older pip marks none, and then each may have been asked for."""
    asked = {record.key for record in pip if record.path in records.requested}
    if not asked:
        return None
    # whoever asked for `name[extra]` asked for what the extra brings; the folder does not say which extras
    metadata = (files.container.get(f"{path}/METADATA", "") for path in records.requested)
    return frozenset(asked | {package_key(match["name"]) for text in metadata for match in _EXTRA.finditer(text)})


def _asked_of_conda(records: LayerRecords, files: RecordFiles) -> frozenset[str] | None:
    asked: set[str] = set()
    for path in {history_of(record.path) for record in (*records.conda_added, *records.conda_removed)}:
        text = files.container.get(path)
        if text is None:
            return None
        asked |= parse_conda_history(text)
    return frozenset(asked)


def _manual_of(lists: Mapping[str, str]) -> frozenset[str] | None:
    if DPKG_STATUS not in lists:
        return None
    names = parse_dpkg_status(lists[DPKG_STATUS])
    return frozenset(names) - parse_auto_installed(lists.get(APT_STATES, ""))


def parse_direct_url(text: str) -> str:
    """Return where a package came from, as pip takes it; a folder of the container as a path.

    An unreadable text is an origin too, one that no build sees: what is unknown is not from an index.
    """
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        return "an unreadable direct_url.json"
    if not isinstance(document, dict) or not isinstance(document.get("url"), str):
        return "an unreadable direct_url.json"
    url = str(document["url"])
    if url.startswith("file:"):
        return url.removeprefix("file://")
    source = document.get("vcs_info")
    if isinstance(source, dict) and isinstance(source.get("vcs"), str):
        commit = source.get("commit_id")
        return f"{source['vcs']}+{url}" + (f"@{commit}" if isinstance(commit, str) else "")
    return url


def parse_dpkg_status(text: str) -> dict[str, str]:
    """Return versions by name of what is installed; what was removed and left its settings is not installed."""
    found: dict[str, str] = {}
    for paragraph in text.split("\n\n"):
        fields = dict(_FIELD.findall(paragraph))
        if "Package" in fields and fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = fields.get("Version", "")
    return found


_FIELD = re.compile(r"^(Package|Status|Version|Auto-Installed):[ \t]*(.*?)[ \t]*$", re.MULTILINE)


def parse_auto_installed(text: str) -> frozenset[str]:
    """Return the names of the system packages that only others asked for."""
    paragraphs = (dict(_FIELD.findall(paragraph)) for paragraph in text.split("\n\n"))
    return frozenset(
        fields["Package"] for fields in paragraphs if "Package" in fields and fields.get("Auto-Installed") == "1"
    )


def parse_conda_history(text: str) -> frozenset[str]:
    """Return the names of the packages that conda was asked for and not asked to remove again."""
    asked: set[str] = set()
    for match in _ASKED.finditer(text):
        names = {_spec_name(spec) for spec in re.findall(r"""['"]([^'"]+)['"]""", match["specs"])}
        asked = asked | names if match["verb"] == "update" else asked - names
    return frozenset(asked)


def _spec_name(spec: str) -> str:
    return re.split(r"[\s=<>!~\[]", spec.rpartition("::")[2], maxsplit=1)[0].lower()
