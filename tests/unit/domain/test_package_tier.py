"""The table of package tiers, and what would be installed twice."""

import re
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from ds01.config.package_tiers import TIERS_FILE, read_package_tiers, read_shipped_package_tiers
from ds01.domain.images.package_tier import find_duplicates, parse_package_tiers, without_known
from ds01.errors import InvalidRequestError
from tests.unit.domain.recipes import NAMES

TIERS = read_shipped_package_tiers()


def test_the_shipped_tiers_are_those_of_the_seeds() -> None:
    assert TIERS.base.pip == (
        "conda",
        "numpy",
        "pillow",
        "tqdm",
        "torch",
        "torchvision",
        "torchaudio",
        "ipython",
        "psutil",
    )
    assert TIERS.jupyter.pip == ("jupyter", "jupyterlab", "ipykernel", "ipywidgets", "notebook")
    assert TIERS.data_science.pip == ("pandas", "scipy", "scikit-learn", "matplotlib", "seaborn")
    assert TIERS.system.apt == ("git", "curl", "wget", "vim", "htop")
    assert list(TIERS.use_cases) == ["ml", "cv", "nlp", "rl", "audio", "ts", "llm"]
    assert TIERS.require_use_case("ml").pip == ("xgboost", "lightgbm", "catboost", "optuna")
    assert set(TIERS.require_use_case("cv").pip) >= {"timm", "albumentations", "opencv-python-headless", "torchvision"}
    assert set(TIERS.require_use_case("nlp").pip) >= {
        "transformers",
        "datasets",
        "tokenizers",
        "accelerate",
        "sentencepiece",
    }
    assert TIERS.require_use_case("rl").pip == ("gymnasium", "stable-baselines3", "tensorboard")
    with pytest.raises(InvalidRequestError) as caught:
        TIERS.require_use_case("vision")
    assert caught.value.hint == "One of: ml, cv, nlp, rl, audio, ts, llm, none"


def test_cuda_and_rocm_are_the_bases_and_no_tier_installs_them() -> None:
    tiers = (TIERS.system, TIERS.jupyter, TIERS.data_science, *TIERS.use_cases.values())
    installed = [text.lower() for tier in tiers for text in (*tier.pip, *tier.apt)]
    assert len(installed) > 20
    assert [text for text in installed if re.search("cuda|cudnn|nvidia|rocm|miopen", text)] == []


def test_a_site_replaces_the_tiers_as_a_whole(tmp_path: Path) -> None:
    assert read_package_tiers(tmp_path) == TIERS
    (tmp_path / TIERS_FILE).write_text('[jupyter]\npip = ["jupyterlab>=4"]\n', encoding="utf-8")
    own = read_package_tiers(tmp_path)
    assert own.jupyter.pip == ("jupyterlab>=4",)
    assert (own.base.pip, dict(own.use_cases)) == ((), {})
    (tmp_path / TIERS_FILE).chmod(0o666)
    with pytest.raises(InvalidRequestError, match="everybody"):
        read_package_tiers(tmp_path)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[jupiter]\n", "no tier 'jupiter'"),
        ("[jupyter\n", "tiers.toml:1: "),
        ("jupyter = 1\n", "not a table"),
        ("[jupyter]\nnpm = []\n", "not a key"),
        ("[jupyter]\npip = 'a'\n", "not a list"),
        ("[jupyter]\npip = [1]\n", "not a list"),
        ("[jupyter]\npip = ['a; rm']\n", "not a package"),
        ("[system]\napt = ['Git']\n", "not a package of the system"),
        ("[use_case]\ncv = 1\n", "not a table"),
        ("use_case = 1\n", "not a table"),
        ("[use_case.'a b']\n", "name of a use case"),
        ("[use_case.none]\n", "name of a use case"),
        ("[jupyter]\nabout = 3\n", "one line"),
        ("[jupyter]\npip = ['scikit_learn', 'Scikit-Learn']\n", "twice"),
        ("[jupyter]\npip = [\n 'a',\n 'b c d']\n", r"tiers.toml:4: \[jupyter\]: "),
        ("[use_case.cv]\napt = ['git']\n\n[use_case.nlp]\napt = ['Git']\n", r"tiers.toml:5: \[use_case.nlp\]: "),
        ("# a\n\n[jupyter]\nabout = 1\n", "tiers.toml:4: "),
        ("#" * 300_000, "256 KiB"),
        ("a = " + "[" * 5000, "nested too deeply"),
        ("a = " + "9" * 5000, "tiers.toml:1: "),
    ],
)
def test_a_mistake_in_the_table_says_where_it_is(text: str, word: str) -> None:
    with pytest.raises(InvalidRequestError, match=word) as caught:
        parse_package_tiers(text, "tiers.toml")
    assert caught.value.message.startswith("tiers.toml:")
    assert caught.value.message == f"{caught.value.details['where']}: {caught.value.details['problem']}"
    assert caught.value.hint


def test_what_is_there_already_is_found_whatever_it_is_called() -> None:
    known = [("the base image", TIERS.base.pip), ("Jupyter", ["scikit_learn==1.0", "not ! a name"])]
    new, twice = find_duplicates(["NumPy>=2", "scikit-learn", "torch[x]", "rich", "rich", "Rich>=13"], known)
    assert [package.text for package in new] == ["rich"]
    assert [(one.package, one.known, one.where) for one in twice] == [
        ("NumPy>=2", "numpy", "the base image"),
        ("scikit-learn", "scikit_learn==1.0", "Jupyter"),
        ("torch[x]", "torch", "the base image"),
        ("Rich>=13", "rich", "this list"),
    ]


def test_torch_is_not_torchvision() -> None:
    new, twice = find_duplicates(["torch"], [("the base image", ["torchvision"])])
    assert ([package.name for package in new], twice) == (["torch"], ())


@given(st.lists(NAMES, max_size=6), st.lists(NAMES, max_size=6))
def test_every_package_is_new_or_a_duplicate(wanted: list[str], known: list[str]) -> None:
    new, twice = find_duplicates(wanted, [("x", known)])
    assert {package.key for package in new}.isdisjoint(package for package in without_known(known, []))
    assert {package.text for package in new} | {one.package for one in twice} == set(wanted)
    assert without_known([package.text for package in new], known) == tuple(package.text for package in new)
