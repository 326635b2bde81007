"""Requirements of pip, packages of the system and of conda: what is taken, and what is said about the rest."""

import pytest
from hypothesis import given, strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ds01.domain.images.conda_package import conda_name, parse_channel, parse_conda_spec
from ds01.domain.images.requirement import nearest_package, package_key, parse_package_list, parse_requirement
from ds01.domain.images.shell_word import is_one_line, quote_word, split_words
from ds01.domain.images.system_package import advise_system_package, parse_system_list, parse_system_package
from ds01.errors import InvalidRequestError
from tests.unit.domain.recipes import requirements


@given(requirements)
def test_one_spelling_means_what_was_written(text: str) -> None:
    found = parse_requirement(text)
    written, meant = Requirement(found.text), Requirement(text)
    assert (written.name, written.extras, written.specifier, written.url) == (
        meant.name,
        meant.extras,
        meant.specifier,
        meant.url,
    )
    assert str(written.marker) == str(meant.marker)
    assert found.key == canonicalize_name(meant.name)
    assert parse_requirement(found.text) == found
    assert found.has_marker == (meant.marker is not None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "numpy; rm -rf /",
        "numpy;rm",
        "numpy && id",
        "numpy|id",
        "$(id)",
        "`id`",
        "numpy'",
        'numpy"',
        "a\nb",
        "a\0",
        "a\\",
        "-r x",
        "--index-url=https://x.org",
        "-e .",
        ".",
        "..",
        "./mine",
        "../mine",
        "/opt/mine",
        "~/mine",
        "mine.whl",
        "C:\\mine",
        "file:///mine",
        "mine @ file:///mine",
        "café",
        "numpy==",
        "numpy 2",
        "a" * 1001,
        "a @ https://x.org/a b",
        "a @ https://x.org/'b'",
        "a @ https://user:secret@x.org/a",
        "a @ https://ghp_0123456789@github.com/a",
        "git+https://github.com/a/b",
        "a @ ftp://x.org/a",
        "numpy>=2;",
        "a; python_version",
        "a; b; c",
        "a[",
        "a[b",
        "a[b;c]",
        "a>=1 ; python_version < '3' @ https://x.org",
        "numpy>=>2",
        "a~=1",
        "numpy#1",
        "{a,b}",
        "a*",
        "a?",
        "!a",
        "a,b",
        "(a)",
    ],
)
def test_what_is_no_requirement_is_refused_with_something_to_do(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_requirement(text)
    assert caught.value.hint
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "hint"),
    [("pandas=2.0", "pandas==2.0"), ("torch 2.1", "torch==2.1"), ("git+https://x.org/a", "NAME @ git+https://x.org/a")],
)
def test_the_hint_is_what_was_meant(text: str, hint: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_requirement(text)
    assert hint in (caught.value.hint or "")


@given(st.text(max_size=60))
def test_no_text_gets_through_that_a_shell_could_take_for_more(text: str) -> None:
    try:
        found = parse_requirement(text).text
    except InvalidRequestError:
        return
    assert split_words(quote_word(found)) == (found,)
    assert is_one_line(found)


def test_urls_get_the_name_of_their_package() -> None:
    assert (
        parse_requirement("https://x.org/a_b-1.0-py3-none-any.whl").text
        == "a_b @ https://x.org/a_b-1.0-py3-none-any.whl"
    )
    assert parse_requirement("git+https://x.org/a.git@main#egg=foo").text == "foo @ git+https://x.org/a.git@main"
    assert parse_requirement("git+ssh://git@x.org/a.git#subdirectory=b&egg=foo").text == (
        "foo @ git+ssh://git@x.org/a.git#subdirectory=b"
    )
    assert parse_requirement("a @ https://${TOKEN}@x.org/a").is_pinned
    wheel = parse_requirement("https://x.org/a_b-1.0-py3-none-any.whl")
    assert parse_requirement(wheel.text) == wheel


def test_names_are_compared_as_the_index_compares_them() -> None:
    assert {package_key(name) for name in ("scikit_learn", "Scikit.Learn", "scikit--learn")} == {"scikit-learn"}
    assert nearest_package("panda", ["numpy", "pandas", "polars"]) == "pandas"
    assert nearest_package("Scikit_Lern", ["scikit-learn"]) == "scikit-learn"
    assert nearest_package("qqq", ["numpy"]) is None


@pytest.mark.parametrize(
    ("line", "packages"),
    [
        ("", []),
        (" , ,", []),
        ("numpy pandas>=2.0, torch", ["numpy", "pandas>=2.0", "torch"]),
        ("numpy, 'pandas >= 2.0, < 3'", ["numpy", "pandas<3,>=2.0"]),
        ("pandas >= 2.0 torch", ["pandas>=2.0", "torch"]),
        ("six>=1.15,<1.17 rich,torch<3", ["six<1.17,>=1.15", "rich", "torch<3"]),
        ("pandas >= 2.0, < 3, ~=2.1 torch", ["pandas<3,>=2.0,~=2.1", "torch"]),
        ("uvicorn[standard,x] a", ["uvicorn[standard,x]", "a"]),
        ("a; python_version < '3', b", ['a; python_version < "3"', "b"]),
        ("'pandas>=2' \"torch<3\"", ["pandas>=2", "torch<3"]),
        ("a @ https://x.org/a", ["a @ https://x.org/a"]),
    ],
)
def test_a_typed_line_may_hold_several(line: str, packages: list[str]) -> None:
    assert [package.text for package in parse_package_list(line)] == packages


def test_three_hundred_names_are_taken_and_one_bad_one_is_named() -> None:
    names = [f"package{number}" for number in range(300)]
    assert [package.text for package in parse_package_list(" ".join(names))] == names
    with pytest.raises(InvalidRequestError, match="bad!"):
        parse_package_list(" ".join([*names, "bad!"]))


@given(st.text(max_size=40))
def test_a_quoted_word_is_read_back_by_us(text: str) -> None:
    if is_one_line(text):
        assert split_words(quote_word(text)) == (text,)
    else:
        with pytest.raises(InvalidRequestError):
            quote_word(text)


@pytest.mark.parametrize(
    "text", ["a$b", "`a`", "a>b", "a<b", "a;b", "a&b", "a|b", '"$a"', "'a", '"a', "a\\", "*", "~", "#a"]
)
def test_what_a_shell_does_more_with_is_not_words(text: str) -> None:
    assert split_words(text) is None


@pytest.mark.parametrize(
    "text", ["git", "g++", "libgl1", "libc6:amd64", "ffmpeg=7:4.4.2-0ubuntu0.22.04.1", "git/stable", "aa=1~rc1"]
)
def test_packages_of_the_system_are_taken(text: str) -> None:
    assert parse_system_package(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Git",
        "git; id",
        "git curl",
        "-y",
        "--purge",
        "git-",
        "../x",
        "git==2",
        "pandas>=2",
        "a",
        "gît",
        "git=",
        "git\nid",
        "x" * 300,
        "*",
    ],
)
def test_what_apt_would_read_otherwise_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_system_package(text)
    assert caught.value.hint


def test_likely_mistakes_get_advice() -> None:
    assert advise_system_package("numpy") == "numpy is a package of Python: -p numpy"
    assert advise_system_package("build-essentials=1") == "apt calls it build-essential"
    assert advise_system_package("git") is None
    assert parse_system_list("git, curl git") == ("git", "curl")


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("numpy", "numpy"),
        ("numpy=1.26", "numpy=1.26"),
        ("numpy 1.26", "numpy=1.26"),
        ("numpy 1.26 py311_0", "numpy=1.26=py311_0"),
        ("numpy >= 1.26, < 2", "numpy>=1.26,<2"),
        ("conda-forge::gdal", "conda-forge::gdal"),
        ("a=1.2=py3_0", "a=1.2=py3_0"),
        ("a==1.*", "a==1.*"),
        ("_openmp_mutex", "_openmp_mutex"),
        ("a=1.1|=1.2", "a=1.1|=1.2"),
    ],
)
def test_specifications_of_conda_get_one_spelling(text: str, spec: str) -> None:
    assert parse_conda_spec(text) == spec
    assert parse_conda_spec(spec) == spec
    assert conda_name(spec) in {"numpy", "gdal", "a", "_openmp_mutex"}


@pytest.mark.parametrize("text", ["", "a;b", "a b c d", "-c x", "a && b", "a$(id)", "a>=", "é", "a'b", "x" * 300])
def test_what_is_no_specification_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_conda_spec(text)


@pytest.mark.parametrize("text", ["", "-c", "a b", "file:///x", "https://x.org/'", "../x", "$x"])
def test_what_is_no_channel_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_channel(text)


def test_a_package_at_the_address_of_an_archive_is_one_and_a_file_is_none() -> None:
    assert parse_requirement("a @ https://x.org/a-1.whl").text == "a @ https://x.org/a-1.whl"
    with pytest.raises(InvalidRequestError):
        parse_requirement("a @ file:///a-1.whl")
