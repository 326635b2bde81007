"""Dockerfiles of others: edited by hand, left behind by the predecessors, or never ours."""

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from ds01.domain.images.dockerfile import parse_dockerfile
from ds01.domain.images.dockerfile_change import render_dockerfile, repair_dockerfile, update_dockerfile
from ds01.domain.images.recipe import ImageRecipe, Tier, TierPackages
from ds01.errors import InvalidRequestError

HAND_EDITED = """\
# syntax=docker/dockerfile:1
# my own image, do not touch
FROM node:22 AS web
RUN npm install
FROM ubuntu:22.04
ARG TOKEN
LABEL maintainer="bob" version=3
LABEL ds01.image="old-name"
ENV http_proxy=http://proxy:3128

# System packages
RUN apt-get update && apt-get install -y --no-install-recommends \\
    git \\
    # needed for plots
    graphviz \\
    && rm -rf /var/lib/apt/lists/*

RUN <<EOF
# Core Data Science
FROM nowhere
RUN pip install --no-cache-dir pandas
EOF

# Core Data Science (Custom)
# mine: keep below 3
RUN pip install --no-cache-dir 'pandas<3' "scipy"
RUN pip install --no-cache-dir --index-url https://x.org/simple special && pip check

# Environment variables
ENV A=1 B="two words"
ENV PATH=/opt/bin:$PATH
USER bob
CMD ["python3"]
"""


def test_lines_of_a_hand_edited_file_are_kept_in_place_and_order() -> None:
    found = parse_dockerfile(HAND_EDITED)
    recipe = found.recipe
    assert (recipe.base, recipe.author, recipe.name) == ("ubuntu:22.04", "", "old-name")
    assert recipe.system == ("git", "graphviz")
    assert recipe.packages == (TierPackages(Tier.DATA_SCIENCE, ("pandas<3", "scipy")),)
    assert recipe.env == (("A", "1"), ("B", "two words"))
    assert update_dockerfile(found, recipe) == HAND_EDITED
    new = replace(recipe, base="ubuntu:24.04", system=("git",), env=(("A", "2"),))
    new = new.with_packages(Tier.CUSTOM, ["rich"]).with_packages(Tier.DATA_SCIENCE, [])
    text = update_dockerfile(found, new)
    assert parse_dockerfile(text).recipe == new
    changed = ("    ", "ENV A", "RUN apt", "FROM ubuntu", "RUN pip install --no-cache-dir '")
    own = [line for line in HAND_EDITED.splitlines() if not line.startswith(changed)]
    left = iter(text.splitlines())
    assert [line for line in own if line not in left] == []
    assert "graphviz" not in text
    assert text.index("# Custom additional packages") < text.index("# Environment variables")
    assert "special" in found.foreign_packages()


def test_a_file_without_any_section_of_ours_gets_them_before_the_end() -> None:
    text = "FROM python:3.12\nRUN apt-get update\nWORKDIR /app\nUSER bob\nCMD python app.py"
    found = parse_dockerfile(text)
    changed = update_dockerfile(found, found.recipe.with_packages(Tier.CUSTOM, ["rich>=13"]))
    assert changed == (
        "FROM python:3.12\nRUN apt-get update\n\n# Custom additional packages\nRUN pip install --no-cache-dir \\\n"
        "    'rich>=13'\nWORKDIR /app\nUSER bob\nCMD python app.py"
    )


LEGACY = """\
# DS01 Custom Image: cv-project
# Created: Tue Nov 11 10:00:00 UTC 2025
FROM pytorch/pytorch:2.5.1-cuda11.8-cudnn9-runtime

LABEL maintainer="bob"
LABEL maintainer.id="1002"
LABEL ds01.image="cv-project"
LABEL ds01.framework="pytorch"
LABEL ds01.created="2025-11-11T10:00:00+00:00"

WORKDIR /workspace

# System packages
RUN apt-get update && apt-get install -y --no-install-recommends \\
    git curl wget vim htop \\
     \\
    && rm -rf /var/lib/apt/lists/*

# Core Python packages
RUN pip install --no-cache-dir \\
    jupyter jupyterlab ipykernel numpy pandas>=2.0 \\
    torch<3

# Use case specific packages
RUN pip install --no-cache-dir \\
    timm albumentations \\

# Additional user packages
RUN pip install --no-cache-dir \\

# Configure Jupyter
RUN jupyter lab --generate-config && \\
    echo "c.ServerApp.ip = '0.0.0.0'" >> /root/.jupyter/jupyter_lab_config.py

# IPython kernel
RUN python -m ipykernel install --user \\
    --name=cv-project \\
    --display-name="cv-project (pytorch)"

ENV PYTHONUNBUFFERED=1
ENV CUDA_DEVICE_ORDER=PCI_BUS_ID

CMD ["/bin/bash"]
"""


def test_a_file_of_the_predecessor_is_read_as_it_was_meant_and_its_defects_are_named() -> None:
    found = parse_dockerfile(LEGACY)
    assert found.recipe.packages == (
        TierPackages(Tier.CORE, ("jupyter", "jupyterlab", "ipykernel", "numpy", "pandas>=2.0", "torch<3")),
        TierPackages(Tier.USE_CASE, ("timm", "albumentations")),
    )
    assert (found.recipe.name, found.recipe.author, found.recipe.framework) == ("cv-project", "bob", "pytorch")
    assert update_dockerfile(found, found.recipe) == LEGACY
    assert [(note.line, note.problem.partition(":")[0]) for note in found.notes] == [
        (20, "Core Python packages"),
        (25, "Use case specific packages"),
        (29, "Additional user packages"),
        (29, "Additional user packages"),
    ]
    mended = repair_dockerfile(found)
    again = parse_dockerfile(mended)
    assert again.notes == ()
    assert again.recipe == found.recipe
    assert repair_dockerfile(again) == mended
    assert "    'pandas>=2.0' \\\n    'torch<3'\n" in mended
    assert "Additional user packages" not in mended
    assert "\n\n\n" not in mended


def test_old_labels_are_read_and_never_written() -> None:
    recipe = parse_dockerfile(LEGACY).recipe
    assert (recipe.author, recipe.created) == ("bob", "2025-11-11T10:00:00+00:00")
    assert recipe.labels == (), "the number of the maintainer is that of whoever builds it"
    written = render_dockerfile(recipe)
    labels = [line.removeprefix("LABEL ") for line in written.splitlines() if line.startswith("LABEL ")]
    assert labels == [
        'aime.mlc.MAINTAINER="bob"',
        'aime.mlc.CUSTOM_IMAGE="cv-project"',
        'aime.mlc.FRAMEWORK="pytorch"',
        'aime.mlc.DS01_CREATED="2025-11-11T10:00:00+00:00"',
    ]


def test_jupyter_of_the_predecessor_goes_with_its_configuration() -> None:
    found = parse_dockerfile(repair_dockerfile(parse_dockerfile(LEGACY)))
    text = update_dockerfile(found, found.recipe.with_packages(Tier.CORE, ["numpy"]))
    assert "upyter" not in text
    assert "ipykernel" not in text
    assert "timm \\\n    albumentations\n\nENV PYTHONUNBUFFERED=1\nENV CUDA_DEVICE_ORDER=PCI_BUS_ID\n\nCMD" in text


def test_what_sed_left_of_the_system_packages_is_mended() -> None:
    text = (
        "FROM a\n\n# System packages\nRUN apt-get update && apt-get install -y --no-install-recommends \\\n"
        "    git curl \\\n"
        "    ffmpeg\n    && rm -rf /var/lib/apt/lists/*\n\n# Core Data Science\nRUN pip install --no-cache-dir pandas\n"
    )
    found = parse_dockerfile(text)
    assert found.recipe.system == ("git", "curl", "ffmpeg")
    assert [note.line for note in found.notes] == [4]
    mended = parse_dockerfile(repair_dockerfile(found))
    assert (mended.recipe, mended.notes) == (found.recipe, ())


@pytest.mark.parametrize(
    "command",
    [
        "pip install --no-cache-dir a && pip check",
        "pip install -r requirements.txt",
        "pip install --no-cache-dir $PACKAGES",
        "pip install --no-cache-dir a | tee log",
        "pip install --no-cache-dir `cat list`",
        "pip install --no-cache-dir ./mine",
        "conda install -y a",
        "true",
        '["pip", "install", "a"]',
    ],
)
def test_a_command_that_does_more_stays_its_authors(command: str) -> None:
    text = f"FROM a\n\n# Core Data Science\nRUN {command}\n"
    found = parse_dockerfile(text)
    assert found.recipe == ImageRecipe("a")
    new = ImageRecipe("a").with_packages(Tier.DATA_SCIENCE, ["pandas"])
    changed = update_dockerfile(found, new)
    assert changed.startswith(text)
    assert parse_dockerfile(changed).recipe == new


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "FROM"),
        ("# nothing\n\n", "FROM"),
        ("RUN true\n", "FROM"),
        ("# escape=`\nFROM a\n", "escape"),
        ("FROM a b c d\n", "FROM"),
        ("FROM a\n" + "# x\n" * 300_000, "1 MiB"),
    ],
)
def test_what_is_no_dockerfile_is_refused(text: str, word: str) -> None:
    with pytest.raises(InvalidRequestError, match=word):
        parse_dockerfile(text)


LINES = (
    "FROM a\n",
    "# System packages\n",
    "# Core Data Science\n",
    "# Environment variables\n",
    "\n",
    "ENV A=1\r\n",
    "RUN pip install --no-cache-dir \\\n",
    "    pandas>=2 \\\n",
    "    'x' \\\n",
    "# c\n",
    "RUN cat <<EOF\n",
    "EOF\n",
    "RUN apt-get update && apt-get install -y --no-install-recommends \\\n",
    "    && rm -rf /var/lib/apt/lists/*\n",
    "    git\n",
    "LABEL a=b\n",
    'LABEL aime.mlc.CUSTOM_IMAGE="n"\n',
    "CMD x",
    "\x0c\n",
    "ENV",
    "# IPython kernel\n",
    "RUN ipykernel\n",
    'COPY ["a", "/b"]\n',
    "# Files\n",
    "# Packages from requirements.txt\n",
    "# Source: r\n",
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(LINES), max_size=14), st.sampled_from(("", "pandas", "jupyterlab")))
def test_any_file_is_kept_byte_by_byte_and_takes_a_change(parts: list[str], package: str) -> None:
    text = "FROM first\n" + "".join(parts)
    found = parse_dockerfile(text)
    assert found.text == text
    assert update_dockerfile(found, found.recipe) == text
    new = found.recipe.with_packages(Tier.CUSTOM, [package] if package else [])
    again = parse_dockerfile(update_dockerfile(found, new))
    assert again.recipe == new
    mended = parse_dockerfile(repair_dockerfile(found))
    assert mended.recipe.packages == found.recipe.packages


def test_keywords_may_be_set_apart_by_tabs() -> None:
    text = (
        "FROM\tubuntu:24.04\n# System packages\nRUN\tapt-get update && apt-get install -y --no-install-recommends git\n"
    )
    found = parse_dockerfile(text)
    assert (found.recipe.base, found.recipe.system) == ("ubuntu:24.04", ("git",))
    changed = update_dockerfile(found, replace(found.recipe, base="ubuntu:22.04"))
    assert changed == text.replace("24.04", "22.04")


COMMENTED = """\
FROM ubuntu:24.04
# Custom additional packages
RUN pip install --no-cache-dir \\
    rich \\
    # 2 breaks the plots
      # ask carol
    numpy==1.26 \\
    # for the tables
    polars
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("packages", "kept"),
    [
        (("rich", "numpy==1.26", "polars", "scipy"), ["rich", "# 2 breaks", "# ask", "numpy==1.26", "# for", "polars"]),
        (("rich", "numpy<3", "polars"), ["rich", "# 2 breaks", "# ask", "'numpy<3'", "# for", "polars"]),
        (("rich", "numpy==1.26"), ["# for", "RUN", "rich", "# 2 breaks", "# ask", "numpy==1.26"]),
    ],
    ids=["added", "pinned", "removed"],
)
def test_comments_between_packages_stay_with_their_packages(
    newline: str, packages: tuple[str, ...], kept: list[str]
) -> None:
    found = parse_dockerfile(COMMENTED.replace("\n", newline))
    text = update_dockerfile(found, found.recipe.with_packages(Tier.CUSTOM, packages))
    assert parse_dockerfile(text).recipe.packages_of(Tier.CUSTOM) == packages
    lines = iter(text.split(newline))
    assert all(any(line.strip().startswith(part) for line in lines) for part in kept)  # each after the one before
    assert ("\n" in text.replace(newline, "")) is False
