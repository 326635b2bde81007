"""Recipes at random, for the properties of Dockerfiles."""

from hypothesis import strategies as st

from ds01.domain.images.conda_package import CondaPackages
from ds01.domain.images.recipe import CopiedFile, ImageRecipe, RequirementsFile, Tier, TierPackages
from ds01.domain.images.shell_word import is_one_line

_WORD = st.text("abzAZ09", min_size=1, max_size=4)


def _joined(separators: str, word: st.SearchStrategy[str] = _WORD) -> st.SearchStrategy[str]:
    """Return one or two words with something between them."""
    return word | st.builds(
        lambda first, between, last: first + between + last, word, st.sampled_from(separators), word
    )


_LOWER = st.text("abz09", min_size=2, max_size=4)
NAMES = _joined("._-")
VERSIONS = st.sampled_from(("0", "1.0", "2.10.3", "3rc1", "1!4.5", "2024.1.post1"))
BOUNDS = st.builds(
    lambda operator, version: operator + version, st.sampled_from((">=", "<", "==", "!=", "<=", ">")), VERSIONS
)
MARKERS = st.sampled_from(
    (
        'python_version < "3.12"',
        "sys_platform == 'linux' and python_version >= '3.9'",
        'platform_machine in "x86_64 aarch64"',
        'extra == "it\'s"',
    )
)
URLS = st.builds(
    "{}://example.org/{}{}".format,
    st.sampled_from(("https", "git+https")),
    st.text("aZ0_.~!$&()*+,=:@%-", min_size=1, max_size=6),
    st.sampled_from(("", "#subdirectory=a", "#a&b")),
)
requirements = st.one_of(
    NAMES,
    st.builds(
        lambda name, extras, bounds, marker: (
            name + (f"[{','.join(extras)}]" if extras else "") + ",".join(bounds) + (f"; {marker}" if marker else "")
        ),
        NAMES,
        st.lists(NAMES, max_size=2),
        st.lists(BOUNDS, max_size=3),
        st.none() | MARKERS,
    ),
    st.builds(
        lambda name, url, marker: f"{name} @ {url}" + (f" ; {marker}" if marker else ""),
        NAMES,
        URLS,
        st.none() | MARKERS,
    ),
)
HASHES = st.sampled_from("09af").map(lambda digit: f"--hash=sha256:{digit * 64}")
file_lines = st.one_of(
    requirements,
    st.builds(
        lambda name, version, hashes: f"{name}=={version} {' '.join(hashes)}",
        NAMES,
        VERSIONS,
        st.lists(HASHES, max_size=2),
    ),
    st.sampled_from(
        ("--index-url https://example.org/simple", "--pre", "--no-binary :all:", "--find-links=https://x.org/a")
    ),
)
SYSTEM = st.builds(
    "".join,
    st.tuples(
        _joined("+.-", _LOWER),
        st.sampled_from(("", ":amd64")),
        st.sampled_from(("", "=1", "=7:4.4~rc1-0ubuntu1+b1", "/stable")),
    ),
)
CONDA = st.builds(
    "".join,
    st.tuples(st.sampled_from(("", "nvidia::")), NAMES, st.sampled_from(("", "=1.2", ">=1.2,<2", "==1.*", "=1.2=py3"))),
)
conda = st.builds(
    CondaPackages,
    specs=st.lists(CONDA, max_size=3).map(tuple),
    channels=st.lists(st.sampled_from(("conda-forge", "nvidia", "nodefaults", "https://x.org/a")), unique=True).map(
        tuple
    ),
)
ONE_LINE = st.text(max_size=30).filter(is_one_line)
LABEL_VALUES = ONE_LINE.filter(lambda text: "," not in text)
PATHS = st.text(
    st.characters(exclude_characters="$/'\"\\*?<>[]", exclude_categories=("Cc", "Cs", "Zl", "Zp")),
    min_size=1,
    max_size=12,
).filter(lambda text: text not in {".", ".."} and is_one_line(text))


def _pairs(
    keys: st.SearchStrategy[str], values: st.SearchStrategy[str]
) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    return st.dictionaries(keys, values, max_size=4).map(lambda found: tuple(found.items()))


recipes = st.builds(
    ImageRecipe,
    base=st.sampled_from(
        ("aimehub/pytorch-2.8.0-aime-cuda12.6.3", "ubuntu:24.04", "x.org:5000/a@sha256:" + "a" * 64, "${BASE}")
    ),
    name=st.just("") | _joined("._-", _LOWER),
    author=LABEL_VALUES,
    framework=LABEL_VALUES,
    use_case=st.sampled_from(("", "cv", "time-series")),
    created=st.sampled_from(("", "2026-01-31", "2025-11-11T10:00:00+01:00")),
    system=st.lists(SYSTEM, max_size=4).map(tuple),
    conda=conda,
    requirements=st.none()
    | st.builds(
        RequirementsFile,
        lines=st.lists(file_lines, max_size=4).map(tuple),
        constraints=st.lists(file_lines, max_size=2).map(tuple),
        source=ONE_LINE,
    ),
    packages=st.lists(
        st.builds(
            TierPackages,
            st.sampled_from(Tier),
            st.lists(requirements | st.sampled_from(("jupyterlab", "ipykernel", "Notebook>=7")), max_size=5).map(tuple),
        ),
        max_size=5,
    ).map(tuple),
    files=st.lists(st.builds(CopiedFile, PATHS, PATHS.map("/{}".format)), max_size=2).map(tuple),
    env=_pairs(_WORD.map("_{}".format), ONE_LINE),
    labels=_pairs(_WORD.map("org.{}".format), LABEL_VALUES),
)
