"""Long and odd texts take no time to speak of: nobody can keep a reader busy."""

import time

import pytest

from ds01.domain.images.dockerfile import parse_dockerfile
from ds01.domain.images.dockerfile_change import repair_dockerfile
from ds01.domain.images.requirements_file import import_requirements

LONG = 60_000
BODIES = (
    "ENV A=" + "a" * LONG + "$",
    "ENV A=" + '"a"' * (LONG // 3) + "$",
    "ENV " + "A=b " * (LONG // 4) + "$",
    "LABEL " + "a" * LONG,
    "RUN pip install --no-cache-dir " + "a " * (LONG // 2) + "$",
    "RUN pip install --no-cache-dir " + "'" * LONG,
    "RUN pip install --no-cache-dir" + " " * LONG + "-x",
    "RUN pip install --no-cache-dir " + "a>=1," * (LONG // 5) + "!",
    "RUN pip install --no-cache-dir " + "[" * LONG,
    "RUN apt-get update && apt-get install -y --no-install-recommends" + " a" * (LONG // 2) + " ;",
    "RUN apt-get update && apt-get install" + " -y" * (LONG // 3) + " ;",
    "RUN conda install" + " -y" * (LONG // 3) + " ;",
    "RUN conda install -y" + " a>1" * (LONG // 4) + " |",
    "RUN cat " + "<<A " * 2000,
    "RUN " + '"' * LONG + "<<A",
    "RUN " + "; " * (LONG // 2) + "pip install " + "a " * 1000,
    'COPY ["' + "a" * LONG,
    "COPY " + "[" * LONG,
    "RUN \\\n" * (LONG // 6),
)
HEADINGS = (
    "System packages",
    "Conda packages",
    "Core Data Science",
    "Environment variables",
    "Files",
    "Packages from requirements.txt",
)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body[:32].strip())
def test_a_hostile_dockerfile_is_read_at_once(body: str) -> None:
    text = "FROM a\n" + "".join(f"\n# {heading}\n{body}\n" for heading in HEADINGS)
    start = time.process_time()
    found = parse_dockerfile(text)
    found.foreign_packages()
    repair_dockerfile(found)
    assert time.process_time() - start < 5
    assert found.text == text


@pytest.mark.parametrize(
    "line",
    [
        " " * LONG,
        "a" + " " * LONG + "b",
        "a" * LONG,
        "-" * LONG,
        "a>=1," * (LONG // 5),
        "a;" * LONG,
        "\\\n" * LONG,
        "#" * LONG,
    ],
)
def test_a_hostile_requirements_file_is_read_at_once(line: str) -> None:
    start = time.process_time()
    import_requirements(line + "\n", "r.txt", lambda _: None)
    assert time.process_time() - start < 5
