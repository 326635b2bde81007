"""The policy file as JSON Schema, for editors: made of the same declarations that read it."""

from collections.abc import Mapping

from ds01.config.policy import DEFAULT_GROUP, VERSION
from ds01.config.sections import CONTAINER_KINDS, IDLE, RESERVATION, SITE, Section
from ds01.config.values import AGGREGATE, QUOTA, READERS, SHARES, Kind

Schema = dict[str, object]
_NAME: Schema = {"type": ["string", "integer"]}


def policy_schema() -> Schema:
    """Return the schema of `resource-limits.yaml`, version 2, with the names of today."""
    lifecycle = _section(SITE["lifecycle"])
    container_types = _keys({kind: _null_or(_layer({})) for kind in CONTAINER_KINDS})
    properties = lifecycle["properties"]
    assert isinstance(properties, dict)
    properties["container_types"] = _null_or(container_types)
    site = {name: _null_or(_section(declared)) for name, declared in SITE.items() if name != "lifecycle"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "resource-limits.yaml of DS01",
        **_keys(
            {
                "version": {"const": VERSION},
                "defaults": _null_or(_layer({"aggregate": _kinds(AGGREGATE)})),
                "default_group": {**_NAME, "default": DEFAULT_GROUP},
                "groups": _null_or({"type": "object", "additionalProperties": _null_or(_group())}),
                "user_overrides": _null_or({"type": "object", "additionalProperties": _null_or(_override())}),
                **site,
                "lifecycle": _null_or(lifecycle),
            }
        ),
        "required": ["version"],
    }


def _group() -> Schema:
    return _layer(
        {
            "members": _null_or({"type": "array", "items": _NAME}),
            "admin": {"type": "boolean"},
            "aggregate": _kinds(AGGREGATE),
            "group_quota": _kinds(QUOTA),
            "idle": _null_or(_section(IDLE)),
            "shares": SHARES.json_schema(),
        }
    )


def _override() -> Schema:
    reservation = {**_section(RESERVATION), "required": ["gpus", "start", "end"]}
    return _layer({"group": _NAME, "aggregate": _kinds(AGGREGATE), "reservation": _null_or(reservation)})


def _layer(more: Mapping[str, object]) -> Schema:
    return _keys({**{name: kind.json_schema() for name, kind in READERS.items()}, **more})


def _kinds(kinds: Mapping[str, Kind]) -> Schema:
    return _null_or(_keys({name: kind.json_schema() for name, kind in kinds.items()}))


def _section(declared: Section) -> Schema:
    return _keys(
        {
            name: kind.json_schema() if isinstance(kind, Kind) else _null_or(_section(kind))
            for name, kind in declared.keys.items()
        }
    )


def _keys(properties: Mapping[str, object]) -> Schema:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}


def _null_or(schema: Schema) -> Schema:
    """A section that holds only comments is null to a reader of YAML."""
    return {"anyOf": [schema, {"type": "null"}]}
