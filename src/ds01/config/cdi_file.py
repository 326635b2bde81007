"""CDI spec files, as NVIDIA's toolkit writes them: YAML or JSON. Read, and never written here."""

import json
import re
from collections.abc import Mapping

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ds01.domain.devices.cdi import CdiSpec
from ds01.errors import BackendError

# Source: CDI, SPEC.md, "Kind".
_KIND = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_-]*")


def parse_cdi_spec(raw: bytes, source: str, rank: int) -> CdiSpec:
    """Return what a file says.

    Args:
        raw: Its bytes.
        source: Its path; `.json` is read as JSON, all else as YAML.
        rank: Of its folder.

    Raises:
        BackendError: It is no CDI spec; the message names the file and what is wrong.
    """
    document = _load(raw, source)
    if not isinstance(document, Mapping):
        raise _wrong(source, "it is not a set of keys")
    version, kind, devices = document.get("cdiVersion"), document.get("kind"), document.get("devices")
    if not isinstance(version, str):
        raise _wrong(source, "its cdiVersion is not a text")
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        raise _wrong(source, "its kind is not vendor/class")
    if not isinstance(devices, list):
        raise _wrong(source, "its devices are not a list")
    found: dict[str, Mapping[str, object]] = {}
    for device in devices:
        name = device.get("name") if isinstance(device, Mapping) else None
        if not isinstance(name, str) or name in found:
            raise _wrong(source, "a device has no name, or one that another has")
        found[name] = _edits(device, source, f"the device {name}")
    return CdiSpec(source, version, kind, found, _edits(document, source, "the file"), rank)


def _load(raw: bytes, source: str) -> object:
    try:
        text = raw.decode("utf-8")
        return json.loads(text) if source.endswith(".json") else YAML(typ="safe", pure=True).load(text)
    except (ValueError, LookupError, TypeError, AttributeError, YAMLError, RecursionError) as failure:
        problem = str(failure).splitlines()[0] if str(failure) else type(failure).__name__
        raise _wrong(source, problem[:120]) from failure


def _edits(owner: Mapping[str, object], source: str, what: str) -> Mapping[str, object]:
    edits = owner.get("containerEdits")
    if edits is None:
        return {}
    if not isinstance(edits, Mapping):
        raise _wrong(source, f"the containerEdits of {what} are not a set of keys")
    return edits


def _wrong(source: str, problem: str) -> BackendError:
    return BackendError(f"{source} is no CDI spec that can be read: {problem}.")
