"""What a file of `ds01 container export` says of itself: its first entry. Source of diff ids: OCI image spec."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ds01.errors import InvalidRequestError

SCHEMA = 1
HEADER_NAME, ORDER_NAME, CHECKSUMS_NAME = "ds01-export.json", "ds01-order.json", "ds01-checksums.json"
WORKSPACE_NAME = "workspace"
MAX_DOCUMENT_BYTES = 4 * 1024**2
MAX_LAYERS = 256
CONFIG_KEYS = ("Env", "Cmd", "Entrypoint", "WorkingDir", "User", "Labels", "StopSignal")
"""What of an image's configuration is taken over. Source: Engine API 1.41, ContainerConfig."""
_DIFF_ID = re.compile(r"sha256:[0-9a-f]{64}")
_LAYER = re.compile(r"layers/([0-9a-f]{64})\.tar")
_BROKEN = "The file is damaged, or was not made by `ds01 container export`"


@dataclass(frozen=True, slots=True)
class ExportedBase:
    """The image that a container was made from, whose layers are left out of its file.

    Attributes:
        reference: A name under which others can have it too.
        image_id: Its id.
        digest: `repository@sha256:...` of its registry; empty: it was never in one.
        layers: Its diff ids, lowest first.
    """

    reference: str
    image_id: str
    digest: str
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExportHeader:
    """The first entry of the file.

    Attributes:
        name: Name of the container.
        origin: `ds01`, `docker save` or `docker export`.
        layers: Diff ids of the whole image, lowest first.
        base: What is left out; None: the file has every layer.
        uid: Whose files become the importer's; None: nobody's.
        gid: Whose group's files become the importer's group's.
        architecture: Such as amd64.
        config: Configuration of the image, see CONFIG_KEYS.
        order: The part of the order that goes along, as the API has it.
        created_at: When it was made, ISO 8601; empty: unknown.
    """

    name: str
    origin: str
    layers: tuple[str, ...]
    base: ExportedBase | None = None
    uid: int | None = None
    gid: int | None = None
    architecture: str = "amd64"
    config: Mapping[str, object] = field(default_factory=dict)
    order: Mapping[str, object] = field(default_factory=dict)
    created_at: str = ""

    @property
    def included(self) -> tuple[str, ...]:
        """Diff ids of the layers that the file has, each once."""
        return tuple(dict.fromkeys(self.layers[len(self.base.layers) if self.base else 0 :]))

    def to_text(self) -> str:
        """Return the header as JSON."""
        base = self.base
        document = {
            "schema": SCHEMA,
            "name": self.name,
            "origin": self.origin,
            "created_at": self.created_at,
            "architecture": self.architecture,
            "uid": self.uid,
            "gid": self.gid,
            "layers": list(self.layers),
            "base": None
            if base is None
            else {
                "reference": base.reference,
                "image_id": base.image_id,
                "digest": base.digest,
                "layers": list(base.layers),
            },
            "config": dict(self.config),
            "order": dict(self.order),
        }
        return json.dumps(document, sort_keys=True, indent=1)


def layer_entry(diff_id: str) -> str:
    """Return the name of a layer's entry."""
    return f"layers/{diff_id.removeprefix('sha256:')}.tar"


def diff_id_of(entry_name: str) -> str | None:
    """Return the diff id that an entry's name says, or None."""
    found = _LAYER.fullmatch(entry_name)
    return f"sha256:{found[1]}" if found else None


def parse_header(text: bytes | str) -> ExportHeader:
    """Return the header that was written.

    Raises:
        InvalidRequestError: It is none, contradicts itself, or is of a newer DS01.
    """
    try:
        document = json.loads(text)
        schema = document["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as broken:
        raise InvalidRequestError(f"{_BROKEN}: its header cannot be read.") from broken
    if isinstance(schema, int) and schema > SCHEMA:
        raise InvalidRequestError(
            f"The file has schema {schema}; this DS01 reads up to {SCHEMA}.", hint="Import it with a newer DS01."
        )
    try:
        return _header(document)
    except (KeyError, TypeError, AttributeError) as broken:
        raise InvalidRequestError(f"{_BROKEN}: {broken} is missing or wrong in its header.") from broken


def _header(document: Mapping[str, object]) -> ExportHeader:
    base = document["base"]
    header = ExportHeader(
        name=_text(document, "name"),
        origin=_text(document, "origin"),
        layers=_layers(document),
        base=_base(base) if isinstance(base, dict) else None,
        uid=_id(document, "uid"),
        gid=_id(document, "gid"),
        architecture=_text(document, "architecture"),
        config=_mapping(document, "config"),
        order=_mapping(document, "order"),
        created_at=_text(document, "created_at"),
    )
    if not header.layers or (header.base and header.layers[: len(header.base.layers)] != header.base.layers):
        raise InvalidRequestError(f"{_BROKEN}: its layers do not stand on its base.")
    return header


def _base(document: Mapping[str, object]) -> ExportedBase:
    fields = [_text(document, key) for key in ("reference", "image_id", "digest")]
    return ExportedBase(fields[0], fields[1], fields[2], _layers(document))


def _layers(document: Mapping[str, object]) -> tuple[str, ...]:
    found = document["layers"]
    if not isinstance(found, list) or len(found) > MAX_LAYERS:
        raise TypeError("layers")
    for item in found:
        if not isinstance(item, str) or not _DIFF_ID.fullmatch(item):
            raise TypeError("layers")
    return tuple(found)


def _text(document: Mapping[str, object], key: str) -> str:
    value = document[key]
    if not isinstance(value, str):
        raise TypeError(key)
    return value


def _id(document: Mapping[str, object], key: str) -> int | None:
    value = document[key]
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**32):
        raise TypeError(key)
    return value


def _mapping(document: Mapping[str, object], key: str) -> dict[str, object]:
    value = document[key]
    if not isinstance(value, dict):
        raise TypeError(key)
    return value


def plain_config(config: Mapping[str, object]) -> dict[str, object]:
    """Return those parts of an image's configuration that are taken over; what is of a wrong kind is left out."""
    found: dict[str, object] = {}
    for key in CONFIG_KEYS:
        value = config.get(key)
        is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
        is_map = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
        wanted = {"Env": is_list, "Cmd": is_list, "Entrypoint": is_list, "Labels": is_map}
        if wanted.get(key, isinstance(value, str)) and value:
            found[key] = value
    return found
