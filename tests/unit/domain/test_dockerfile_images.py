"""Which images a Dockerfile takes from, however it is written."""

from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from ds01.domain.images.dockerfile_images import require_undeclared, trigger_images, used_images
from ds01.errors import InvalidRequestError

BOBS = "ds01.invalid/u1002/secret"


def references(text: str, **options: object) -> list[str]:
    return [image.reference for image in used_images(text, **options)]  # type: ignore[arg-type]  # as the function has it


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FROM ubuntu\n", ["ubuntu"]),
        ("# a comment\n\nfrom ubuntu:22.04 as base\n", ["ubuntu:22.04"]),
        ("FROM --platform=$BUILDPLATFORM ubuntu\n", ["ubuntu"]),
        ("FROM scratch\nCOPY x /\n", []),
        ("FROM a AS one\nFROM b\nCOPY --from=one /x /\nCOPY --from=0 /x /\n", ["a", "b"]),
        ("FROM a AS One\nFROM one\n", ["a"]),
        ("FROM a\nCOPY --from=lab/tool:1 --chown=1 /x /\n", ["a", "lab/tool:1"]),
        ("FROM a\nADD --from=lab/tool /x /\n", ["a", "lab/tool"]),
        ("FROM a\nCOPY --from=1 /x /\n", ["a", "1"]),
        ("FROM a\nRUN --mount=type=bind,from=lab/tool,source=/x,target=/y make\n", ["a", "lab/tool"]),
        (
            "FROM a\nRUN --network=none --mount=type=cache,target=/c \\\n --mount=From=lab/tool,target=/y make\n",
            ["a", "lab/tool"],
        ),
        ("ARG BASE=ubuntu\nARG TAG=22.04\nFROM ${BASE}:$TAG\n", ["ubuntu:22.04"]),
        ('ARG BASE="ubuntu" TAG=1\nFROM ${BASE}:${TAG:-2}${NONE:-}${TAG:+-x}\n', ["ubuntu:1-x"]),
        ("ARG BASE\nFROM ${BASE:-ubuntu}\n", ["ubuntu"]),
        ("ARG BASE=ubu\\\nntu\nFROM $BASE\n", ["ubuntu"]),
        ("FROM a\nFR\\\nOM ubu\\\n# comment\n\nntu\n", ["a", "ubuntu"]),
        ("\ufeffFROM\tubuntu\r\n", ["ubuntu"]),
        ("FROM a\nONBUILD COPY --from=lab/tool /x /\n", ["a", "lab/tool"]),
        ("# syntax = docker/dockerfile:1\nFROM a\n", ["docker/dockerfile:1", "a"]),
        ("#!/usr/bin/env\n# Syntax=lab/frontend\nFROM a\n", ["lab/frontend", "a"]),
        ("FROM a\n# syntax=lab/frontend\n", ["a"]),
        ("FROM a\nRUN <<EOF\npython -c 'x'\nfrom torch import nn\nEOF\n", ["a"]),
    ],
)
def test_every_image_is_found_and_stages_are_none(text: str, found: list[str]) -> None:
    assert references(text) == found


@pytest.mark.parametrize(
    "hiding",
    [
        "RUN cat <<EOF\nEOF\n{}",
        "RUN cat <<EOF\n{}\nEOF\n",
        "RUN cat <<'E\\'\nE\\\n{}\n",
        "RUN echo \\\n{}\n",
        "RUN echo \\\n# comment \\\n{}\n",
        "ENV A=1 \\\n\\\n\\\n{}\n",
    ],
)
@pytest.mark.parametrize("line", [f"FROM {BOBS}", f"COPY --from={BOBS} / /", f"RUN --mount=from={BOBS},target=/x cp"])
def test_no_here_document_or_continued_line_hides_an_image(hiding: str, line: str) -> None:
    assert BOBS in references("FROM a\n" + hiding.format(line))


@pytest.mark.parametrize(
    "script",
    [
        "RUN <<END",
        "RUN\t<<END",
        "run\v \fcat\t<<-'END'",
        "COPY\t<<END /x",
        "ADD\t<<END /x",
        "ONBUILD RUN <<END",
        "onbuild\tcopy\t<<END /x",
        "RU\\\nN <<END",
        "RUN cat <\\\n<END",
        "ONBUILD \\\n# a comment\n RUN cat <<END",
    ],
)
def test_a_line_of_a_script_is_no_stage_however_the_script_begins(script: str) -> None:
    text = f"FROM a\n{script}\nFROM a AS {BOBS}\nEND\nCOPY --from={BOBS} /x /\n"
    assert BOBS in references(text), "BuildKit finds no stage of that name and takes the image"


@pytest.mark.parametrize(
    "text",
    [
        "FROM $BASE\n",
        "ARG BASE=$OTHER\nFROM $BASE\n",
        "ARG BASE='ubuntu'\nFROM $BASE\n",
        "ARG BASE=a\nARG BASE\nFROM $BASE\n",
        "FROM ubuntu-$TARGETARCH\n",
        "ARG TARGETARCH=amd64\nFROM ubuntu-$TARGETARCH\n",
        "FROM ubu''ntu\n",
        "FROM ubu\\ntu\n",
        "FROM ${BASE/a/b}\n",
        "FROM a\nCOPY --from=$X / /\n",
        "FROM a\nRUN --mount=type=bind,from=$X,target=/x make\n",
        "FROM a\nRUN --mount=type=bind,'from=b',target=/x make\n",
        'FROM a\nCOPY --fr"om"=b / /\n',
        "RUN make\nFROM a\n",
        "FROM a\nRUN --device=nvidia.com/gpu=all nvidia-smi\n",
        "FROM a\nRUN --mount=type=cache,target=/c --network=host make\n",
        "FROM a\nONBUILD RUN --security=insecure make\n",
        "// syntax=lab/frontend\nFROM a\n",
        '{"syntax": "lab/frontend"}\nFROM a\n',
        f"FROM a\nRUN cat <<E-F\nx \\\nE-F\nFROM {BOBS}\n",
        "FROM \\\n" + "\\\n" * 100 + "a\n",
        "FROM a\nRUN cat <<E-F\nFROM x AS busybox\nE-F\nCOPY --from=busybox / /\n",
        "FROM a\nRUN\tcat <<E-F\nFROM x AS busybox\nE-F\nCOPY --from=busybox / /\n",
        "FROM a\nONBUILD RUN cat <<E-F\nFROM x AS busybox\nE-F\nCOPY --from=busybox / /\n",
        'FROM a\nRUN echo \\" <<EOF \\" "\nFROM x AS busybox\nEOF\nCOPY --from=busybox / /\n',
    ],
)
def test_what_cannot_be_told_before_the_build_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"Line \d+ of the Dockerfile"):
        used_images(text)


def test_the_value_of_a_secret_argument_is_never_filled_in() -> None:
    for text in ("ARG HTTP_PROXY\nFROM $HTTP_PROXY\n", "ARG HTTP_PROXY=a\nARG X=b${HTTP_PROXY:+c}\nFROM $X\n"):
        with pytest.raises(InvalidRequestError):
            used_images(text, unknown=("HTTP_PROXY",))


@pytest.mark.parametrize(
    "line",
    [
        "ARG HTTP_PROXY",
        "arg\tA=1 HTTP_PROXY=x",
        "ARG A=${HTTP_PROXY}",
        "AR\\\nG \\\n# comment\nHTTP_\\\nPROXY",
        "ONBUILD ARG HTTP_PROXY",
        "RUN cat <<E-F\nE-F\nARG HTTP_PROXY",
    ],
)
def test_a_declared_argument_is_refused_because_a_builder_would_keep_it(line: str) -> None:
    with pytest.raises(InvalidRequestError, match="would keep the site's proxy in the image"):
        require_undeclared(f"FROM a\n{line}\n", ["HTTP_PROXY"])
    require_undeclared(f"FROM a\n{line}\n", [])
    require_undeclared(f"FROM a\n{line}\n", ["NO_PROXY"])


@pytest.mark.parametrize("line", ["ARG \\\n{}HTTP_PROXY", "A\\\n{}RG HTTP_PROXY", "ONBUILD \\\n{}ARG HTTP_PROXY"])
def test_an_argument_without_an_end_is_refused(line: str) -> None:
    with pytest.raises(InvalidRequestError, match="over too many lines"):
        require_undeclared("FROM a\n" + line.format("\\\n" * 100) + "\n", ["HTTP_PROXY"])


def test_a_command_may_read_what_it_is_given() -> None:
    require_undeclared("FROM a\nARG TAG\nRUN echo $HTTP_PROXY \\\n  ARG\n", ["HTTP_PROXY"])


def test_the_line_and_the_instruction_are_said() -> None:
    found = used_images("FROM a\n\nCOPY --from=b / /\n")
    assert [(image.line, image.instruction) for image in found] == [(1, "FROM"), (3, "COPY --from")]


def test_triggers_of_a_base_image_take_from_images_too() -> None:
    assert [image.reference for image in trigger_images(["RUN make", f"COPY --from={BOBS} / /"])] == [BOBS]


@given(st.text(st.sampled_from("FROMmaA \\\n#$<EOF=-\"'{:}\t\r0ds/"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InvalidRequestError):
        assert all(image.reference for image in used_images(text))


@given(st.lists(st.sampled_from(["RUN make", "# a", "", "ENV A=b", "RUN <<EOF\nx\nEOF", "RUN a \\\n  b"]), max_size=8))
def test_a_line_of_its_own_is_always_found_whatever_stands_before(lines: list[str]) -> None:
    text = "\n".join(["FROM a", *lines, f"COPY --from={BOBS} / /", ""])
    assert BOBS in references(text)


def test_a_long_hostile_file_is_read_in_one_go() -> None:
    assert references("FROM a\n" + "RUN \\\n" * 50_000 + "x\n") == ["a"]
    with pytest.raises(InvalidRequestError, match="too many lines"):
        used_images("FROM a\n" + "RUN \\\n--a\\\n" * 50_000 + "R\\\n" * 50_000 + "x\n")
