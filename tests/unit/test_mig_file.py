"""The file of MIG layouts."""

import pytest
from hypothesis import given, strategies as st

from ds01.config.document import TextFile
from ds01.config.mig_file import parse_mig_file
from ds01.domain.devices.mig_layout import DYNAMIC, STATIC, WantedCard
from ds01.errors import InvalidRequestError


def read(text: str) -> tuple[WantedCard, ...]:
    return parse_mig_file(TextFile("layout.yaml", text.encode("utf-8", "surrogatepass")))


def test_every_kind_of_entry_is_read_with_its_line() -> None:
    text = """gpus:
  "0": {mig: true, layout: static, instances: [3G.20gb, 1g.5gb]}
  1: {mig: false}
  GPU-aa: {mig: true, layout: dynamic}
"""
    assert read(text) == (
        WantedCard("0", True, STATIC, ("3g.20gb", "1g.5gb"), "layout.yaml:2"),
        WantedCard("1", False, STATIC, (), "layout.yaml:3"),
        WantedCard("GPU-aa", True, DYNAMIC, (), "layout.yaml:4"),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "layout.yaml:1: the file names no GPU"),
        ("gpus: {}", "names no GPU"),
        ("gpu: {}", "layout.yaml:1: 'gpu' is no key here"),
        ("gpus:\n  0: true", "layout.yaml:2: true is no layout"),
        ("gpus:\n  0: {}", "layout.yaml:2: the key mig is missing"),
        ("gpus:\n  0: {mig: on}", "layout.yaml:2: 'on' is neither true nor false"),
        ("gpus:\n  0: {mig: true}", "layout.yaml:2: a static layout needs its instances"),
        ("gpus:\n  0: {mig: true, layout: statik}", "'statik' is no layout"),
        ("gpus:\n  0: {mig: true, layout: [static]}", "a list is no layout"),
        ("gpus:\n  0: {mig: false, layout: static}", "a GPU without MIG has no layout"),
        ("gpus:\n  0:\n    mig: true\n    layout: dynamic\n    instances: [1g.5gb]", "layout.yaml:5: a dynamic layout"),
        ("gpus:\n  0: {mig: false, instances: [1g.5gb]}", "a GPU without MIG has none"),
        ("gpus:\n  0: {mig: true, instances: 1g.5gb}", "no list of profiles"),
        ("gpus:\n  0: {mig: true, instances: []}", "no list of profiles"),
        ("gpus:\n  0:\n    mig: true\n    instances:\n    - 1g.5gb\n    - 7", "layout.yaml:6: 7 is no profile"),
        ("gpus:\n  0: {mig: true, instance: [1g.5gb]}", "'instance' is no key of a GPU"),
        ("gpus:\n  true: {mig: false}", "true is no GPU"),
        ("gpus:\n  '': {mig: false}", "'' is no GPU"),
        ("gpus: [1]", "names no GPU"),
        ("gpus:\n  0: {mig: false}\n  0: {mig: false}", "layout.yaml:3"),
        ("- 1", "not a set of keys"),
        ("gpus: {", "layout.yaml:"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read(text)
    assert said in refused.value.message
    assert refused.value.hint


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = read(text)
    except InvalidRequestError as refused:
        said = refused.message
    else:
        said = found[0].where
    assert said.startswith("layout.yaml")
