"""CDI spec files are read as an engine reads them, and what is wrong with one is said with its path."""

from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from ds01.config.cdi_file import parse_cdi_spec
from ds01.errors import BackendError

YAML = """\
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
- name: GPU-1
containerEdits:
  env: [NVIDIA_VISIBLE_DEVICES=void]
"""


def test_yaml_is_read_with_devices_and_common_edits() -> None:
    spec = parse_cdi_spec(YAML.encode(), "/etc/cdi/nvidia.yaml", 3)
    assert (spec.source, spec.version, spec.kind, spec.rank) == ("/etc/cdi/nvidia.yaml", "0.5.0", "nvidia.com/gpu", 3)
    assert spec.devices == {"0": {"deviceNodes": [{"path": "/dev/nvidia0"}]}, "GPU-1": {}}
    assert spec.edits == {"env": ["NVIDIA_VISIBLE_DEVICES=void"]}


def test_json_is_read_too() -> None:
    text = '{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [{"name": "0"}]}'
    spec = parse_cdi_spec(text.encode(), "/var/run/cdi/nvidia.json", 0)
    assert (spec.version, spec.devices, spec.edits) == ("0.6.0", {"0": {}}, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a set of keys"),
        ("- a", "not a set of keys"),
        ("a: [", "is no CDI spec"),
        ("? [a: ]\n: 1\n", "is no CDI spec"),
        ("kind: nvidia.com/gpu\ndevices: []", "cdiVersion"),
        ("cdiVersion: 0.5\nkind: nvidia.com/gpu\ndevices: []", "cdiVersion"),
        ("cdiVersion: 0.5.0\nkind: gpu\ndevices: []", "vendor/class"),
        ("cdiVersion: 0.5.0\nkind: nvidia.com/gpu", "devices are not a list"),
        ("cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices: [{name: 0}]", "a device has no name"),
        ("cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices: [{name: a}, {name: a}]", "that another has"),
        ("cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices: [{name: a, containerEdits: x}]", "of the device a"),
        ("cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices: []\ncontainerEdits: 3", "of the file"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(text: str, said: str) -> None:
    with pytest.raises(BackendError, match=r"^/etc/cdi/x\.yaml is no CDI spec that can be read") as refused:
        parse_cdi_spec(text.encode(), "/etc/cdi/x.yaml", 0)
    assert said in refused.value.message


@given(st.binary(max_size=200), st.sampled_from(["/a.yaml", "/a.json"]))
def test_no_bytes_make_anything_but_a_spec_or_that_error(raw: bytes, source: str) -> None:
    with suppress(BackendError):
        assert parse_cdi_spec(raw, source, 0).source == source
