"""What of a build the client decides by its Dockerfile: the builder, and whether its folder is sent."""

import pytest

from ds01.cli.build_context import needs_buildkit, needs_folder
from ds01.domain.images.dockerfile import parse_dockerfile


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("RUN make", False),
        ("RUN echo --mount=type=cache", False),
        ("RUN echo '<<END'", False),
        ("ENV A=<<END", False),
        ("COPY --chown=1 a /", False),
        ("RUN --mount=type=cache,target=/c make", True),
        ("run --mount=type=cache,target=/c make", True),
        ("RUN\t--mount=type=cache,target=/c make", True),
        ("RUN \\\n    --mount=type=cache,target=/c \\\n    make", True),
        ("RUN --network=none make", True),
        ("COPY --link a /", True),
        ("COPY --chown=1 --chmod=755 a /", True),
        ("ADD --checksum=sha256:00 https://example.org/a /", True),
        ("RUN cat <<END\nx\nEND", True),
        ("ADD <<END /x\nx\nEND", True),
    ],
)
def test_what_only_buildkit_knows_is_built_by_it_however_it_is_written(instruction: str, expected: bool) -> None:
    assert needs_buildkit(parse_dockerfile(f"FROM a\n{instruction}\n")) is expected


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("RUN make", False),
        ("COPY --from=b /x /", False),
        ("RUN --mount=type=cache,target=/c make", False),
        ("RUN --mount=type=bind,from=b,target=/x make", False),
        ("COPY a /", True),
        ("copy\ta /", True),
        ("ADD a /", True),
        ("RUN --mount=type=bind,source=a,target=/x make", True),
        ("RUN --mount=source=a,target=/x make", True),
    ],
)
def test_the_folder_is_sent_where_something_is_taken_from_it(instruction: str, expected: bool) -> None:
    assert needs_folder(parse_dockerfile(f"FROM a\n{instruction}\n")) is expected
