"""Why builds fail, from what pip, apt, shells and engines really print."""

import pytest
from hypothesis import given, strategies as st

from ds01.domain.images.build_failure import TAIL_LINES, Cause, explain_failure, plain_lines, step_of
from ds01.domain.images.dockerignore import read_ignored

KNOWN = ("pandas", "scikit-learn", "torch")


@pytest.mark.parametrize(
    ("output", "cause", "reason", "hint"),
    [
        (
            "ERROR: Could not find a version that satisfies the requirement pandsa (from versions: none)\n"
            "ERROR: No matching distribution found for pandsa\n",
            Cause.NO_PACKAGE,
            "pandsa",
            "Did you mean pandas?",
        ),
        (
            "\x1b[91mERROR: Could not find a version that satisfies the requirement torch==9 "
            "(from versions: 2, 2.8.0)\n"
            "ERROR: No matching distribution found for torch==9\x1b[0m\n",
            Cause.NO_VERSION,
            "torch==9",
            "2.8.0",
        ),
        (
            "ERROR: Package 'numba' requires a different Python: 3.13.1 not in '>=3.8,<3.13'\n",
            Cause.WRONG_PYTHON,
            "numba needs Python >=3.8,<3.13, and the base image has 3.13.1",
            "older",
        ),
        ("E: Unable to locate package ffmpg\n", Cause.NO_SYSTEM_PACKAGE, "ffmpg", "packages.debian.org"),
        ("OSError: [Errno 28] No space left on device\n", Cause.NO_SPACE, "disk is full", "administrator"),
        (
            "WARNING: Retrying after NewConnectionError: Temporary failure in name resolution\n"
            "ERROR: No matching distribution found for pandas\n",
            Cause.NO_NETWORK,
            "network",
            "later",
        ),
        (
            "SSLCertVerificationError(1, 'self-signed certificate in certificate chain')\n"
            "ERROR: No matching distribution found for six\n",
            Cause.CERTIFICATE,
            "certificate",
            "administrator",
        ),
        ("error: externally-managed-environment\n", Cause.MANAGED_PYTHON, "PEP 668", "framework image"),
        ("/bin/sh: 1: pip: not found\n", Cause.NO_TOOL, "no pip", "catalogue"),
        ("/bin/sh: apt-get: not found\n", Cause.NO_TOOL, "no apt-get", "catalogue"),
        ("error: command 'gcc' failed: No such file or directory\n", Cause.NO_COMPILER, "compiler", "build-essential"),
        ("exec /bin/sh: exec format error\n", Cause.WRONG_ARCHITECTURE, "kind of processor", "catalogue"),
        ("wget: bad address 'nowhere.invalid'\n", Cause.NO_NETWORK, "network", "later"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated the package "
            "versions, please update the hashes.\n    six==1.16.0 from https://pypi.lab/six.whl (from -r r.txt):\n"
            "        Expected sha256 0000\n             Got        8abb\n",
            Cause.WRONG_HASH,
            "six==1.16.0",
            "correct the hash",
        ),
        (
            "E: Failed to fetch http://deb.lab/x.deb  Hash Sum mismatch\n",
            Cause.WRONG_HASH,
            "what its hash",
            "Try again",
        ),
        ('failed to compute cache key: "/missing" not found: not found\n', Cause.NO_FILE, "/missing is not", "Copy"),
        ('failed to compute cache key: failed to x: "/missing": not found\n', Cause.NO_FILE, "/missing is not", "Copy"),
        ("Killed\n", Cause.OUT_OF_MEMORY, "memory", "ds01 limits"),
        ("something odd\n", Cause.UNKNOWN, "returned a non-zero code: 1", "last lines"),
    ],
)
def test_the_likely_cause_is_named_with_the_package_and_what_to_do(
    output: str, cause: Cause, reason: str, hint: str
) -> None:
    text = f"Step 1/2 : FROM x\n---> abc\nStep 2/2 : RUN it\n{output}"
    found = explain_failure(text, "The command '/bin/sh -c it' returned a non-zero code: 1", KNOWN)
    assert (found.cause, found.step) == (cause, "RUN it")
    assert reason in found.reason
    assert hint in found.hint
    assert not any("\x1b" in line for line in found.tail)


def test_only_the_last_lines_of_the_last_step_are_kept() -> None:
    text = "Step 1/2 : FROM x\nearlier\nStep 2/2 : RUN it\n" + "".join(f"line {number}\n" for number in range(50))
    found = explain_failure(text, "no")
    assert found.tail == tuple(f"line {number}" for number in range(30, 50))


@given(st.text(), st.text())
def test_any_output_gets_a_reason_and_a_hint(output: str, message: str) -> None:
    found = explain_failure(output, message, KNOWN)
    assert found.hint
    assert len(found.tail) <= TAIL_LINES


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("FROM ubuntu:1", "the base image ubuntu:1 is not here, and its registry does not answer"),
        ("FROM --platform=linux/amd64 ubuntu:1 AS x", "the base image ubuntu:1 is not here"),
        ("FROM ds01.invalid/u1/a", "there is no image ds01.invalid/u1/a"),
    ],
)
def test_a_base_that_cannot_be_fetched_is_named(step: str, reason: str) -> None:
    found = explain_failure(f"Step 1/2 : {step}\n", "Get https://x/v2/: dial tcp: lookup x: no such host")
    assert (found.cause, found.step) == (Cause.NO_BASE, step)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("Step 3/9 : RUN pip install x", "RUN pip install x"),
        ("Step [2/4] RUN echo", "RUN echo"),
        ("Step [stage-1 2/4] COPY a b (cached)", "COPY a b (cached)"),
        ("Collecting x", None),
    ],
)
def test_steps_of_both_builders_are_found(line: str, step: str | None) -> None:
    assert step_of(line) == step


def test_a_bar_that_is_redrawn_is_one_line() -> None:
    assert plain_lines("10%\r50%\r100%\nnext\r\n\n") == ["100%", "next"]


@pytest.mark.parametrize(
    ("patterns", "path", "ignored"),
    [
        ("*.key", "a.key", True),
        ("*.key", "sub/a.key", False),
        ("**/*.key", "sub/deep/a.key", True),
        ("**/*.key", "a.key", True),
        ("data", "data/x/y", True),
        ("/data/", "data/x", True),
        ("data", "database", False),
        ("*\n!keep", "keep", False),
        ("*\n!keep", "other", True),
        ("# data\n\ndata", "# data", False),
        ("a?c", "abc", True),
        ("[ab].txt", "b.txt", True),
        ("a/**", "a/b/c", True),
        (".", "x", False),
    ],
)
def test_what_a_dockerignore_leaves_out(patterns: str, path: str, ignored: bool) -> None:
    assert read_ignored(patterns)(path) is ignored


@given(st.text(), st.text(min_size=1))
def test_any_dockerignore_can_be_read(patterns: str, path: str) -> None:
    assert read_ignored(patterns)(path) in {True, False}
