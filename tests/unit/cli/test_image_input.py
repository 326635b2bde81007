"""What people type that cannot be, or not so: by flags and by questions the same words, and nothing is written."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ds01.cli.dockerfiles import dockerfile_of
from ds01.domain.images.dockerfile import parse_dockerfile
from ds01.domain.images.recipe import Tier
from tests.terminal import Terminal
from tests.unit.cli.conftest import Ds01
from tests.unit.cli.image_house import furnished_house
from tests.unit.scripted_daemon import ScriptedDaemon

ENTER, DOWN = "\r", "\x1b[B"
MANY = [f"package{number}" for number in range(300)]
# text, what the refusal says
PACKAGES = [
    ("パンダ", "パンダ"),
    ("numpy; rm -rf /", "rm -rf /"),
    ("numpy && reboot", "&&"),
    ("$(reboot)", "$(reboot)"),
    ("polars`id`", "polars`id`"),
    ("pandas>=2.0", "Already installed: pandas>=2.0"),
    ("torch<3", "Already installed: torch<3"),
    ("scikit_learn", "Already installed: scikit_learn"),
    ("rich Rich", "Already installed: Rich"),
    ("rich<14 RICH>13", "Already installed: RICH>13"),
    ("ftp://x.org/a.whl", "ftp://x.org/a.whl"),
    ("./local", "./local"),
    ("/srv/a-1.0-py3-none-any.whl", "/srv/a-1.0-py3-none-any.whl"),
    ("'polars", "'polars"),
    ('po"lars', 'po"lars'),
    ("polars>=", "polars>="),
    ("-r requirements.txt", "-r"),
    ("--index-url http://x", "--index-url"),
    (f"{'x' * 2000}", "xxx"),
]
SYSTEM = [
    ("ギット", "ギット"),
    ("Git", "Git"),
    ("git; reboot", "git;"),
    ("git$(reboot)", "git$(reboot)"),
    ("libfoo>=2", "libfoo>=2"),
    ("./a.deb", "./a.deb"),
    ("https://x.org/a.deb", "https://x.org/a.deb"),
    ("git-", "git-"),
    ("-y", "-y"),
    ("x" * 300, "xxx"),
]
FILES = [
    ("none.txt", "There is no file none.txt"),
    ("/dev/zero", "larger than 4 MiB"),
    ("~nobody-such/x.txt", "no file"),
    ("/", "Is a directory"),
    ("é.txt", "no file é.txt"),
    ("BINARY", "not UTF-8"),
    ("SHELL", "shell.txt:1"),
]
NAMES = [
    ("Thesis!", "'Thesis!'"),
    ("ünï", "'ünï'"),
    ("x" * 300, "not a legal name"),
    ("numpy; rm -rf /", "not a legal name"),
    ("../x", "not a legal name"),
    ("a/b", "not a legal name"),
    ("'a'", "not a legal name"),
    ("latest", "means something else"),
    ("pytorch", "means something else"),
]
BASES = [
    ("Not An Image", "Not An Image"),
    ("ubuntu; rm -rf /", "ubuntu; rm -rf /"),
    ("https://x.org/a", "https://x.org/a"),
    ("übuntu", "übuntu"),
    ("ubuntu:", "ubuntu:"),
]
BY_FLAG = [
    *(("-p", *row) for row in PACKAGES),
    *(("--jupyter", *row) for row in PACKAGES if "pandas" not in row[0] and "scikit" not in row[0]),
    *(("-s", *row) for row in SYSTEM),
    *(("-r", *row) for row in FILES),
    ("-s", "git\n\nRUN id", "RUN"),
    ("-t", "cooking", "cooking"),
    ("-t", "", ""),
]


@pytest.fixture
def house(daemon: ScriptedDaemon, tmp_path: Path) -> Path:
    """A home folder with odd files, and a daemon that knows the catalogue and the tiers."""
    found = furnished_house(daemon, tmp_path)
    (found / "binary.txt").write_bytes(b"\xff\x00\x80")
    (found / "shell.txt").write_text("numpy; rm -rf /\n")
    return found


@pytest.fixture
def make(ds01: Ds01, house: Path) -> Ds01:
    """Run `ds01 image WORDS` with that home."""
    return lambda *words: ds01("image", *words, HOME=str(house))


def placed(text: str, house: Path) -> str:
    return {"BINARY": str(house / "binary.txt"), "SHELL": str(house / "shell.txt")}.get(text, text)


def written(house: Path) -> str:
    return dockerfile_of({"HOME": str(house)}, "thesis").read_text()


@pytest.mark.parametrize(("flag", "text", "said"), BY_FLAG)
def test_a_flag_that_cannot_be_followed_says_which_and_writes_nothing(
    flag: str, text: str, said: str, make: Ds01, house: Path
) -> None:
    outcome = make("create", "thesis", "-f", "pytorch", flag, placed(text, house))
    if not said:
        assert outcome.status == 0, outcome.err
        return
    assert outcome.status in {2, 3}, outcome.err
    assert said in outcome.err
    assert "Traceback" not in outcome.err
    assert len(outcome.err) < 3000
    assert not (house / "dockerfiles").exists()


@pytest.mark.parametrize(("text", "said"), NAMES)
def test_a_name_that_cannot_be_is_refused(text: str, said: str, make: Ds01, house: Path) -> None:
    outcome = make("create", text, "-f", "pytorch")
    assert outcome.status == 2, outcome.err
    assert said in outcome.err
    assert list(house.rglob("*.Dockerfile")) == []


@pytest.mark.parametrize(("text", "said"), [*BASES, ("ubuntu:1\nRUN id", "RUN id")])
def test_a_base_that_is_no_reference_is_refused(text: str, said: str, make: Ds01, house: Path) -> None:
    outcome = make("create", "thesis", "--base", text)
    assert outcome.status == 2, outcome.err
    assert said.splitlines()[0] in outcome.err
    assert not (house / "dockerfiles").exists()


def test_three_hundred_packages_urls_and_bounds_are_taken(make: Ds01, house: Path) -> None:
    url = "https://x.org/a-1.0-py3-none-any.whl"
    assert make("create", "thesis", "-f", "pytorch", "-p", " ".join(MANY), "-p", f"{url} 'b>=1,<2'").status == 0
    recipe = parse_dockerfile(written(house)).recipe
    assert recipe.packages_of(Tier.ADDITIONAL) == (*MANY, f"a @ {url}", "b<2,>=1")


def test_line_ends_separate_packages_and_begin_no_instruction(make: Ds01, house: Path) -> None:
    assert make("create", "thesis", "-f", "pytorch", "-p", "polars\nRUN id\r\n").status == 0
    dockerfile = parse_dockerfile(written(house))
    assert dockerfile.recipe.packages_of(Tier.ADDITIONAL) == ("polars", "RUN", "id")
    assert dockerfile.foreign_packages() == ()
    assert "\nRUN id" not in written(house)


@pytest.fixture
def asked(daemon: ScriptedDaemon, house: Path) -> Iterator[Terminal]:
    """`ds01 image create` on a terminal, in that home."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "DS01_SOCKET": str(daemon.socket_path),
        "HOME": str(house),
        "LANG": "C.UTF-8",
        "TERM": "xterm",
    }
    argv = [sys.executable, "-m", "ds01", "image", "create", "--no-build"]
    with Terminal(argv, environment, rows=40, columns=200) as terminal:
        yield terminal


def answer(terminal: Terminal, question: str, keys: str) -> None:
    terminal.wait_for(question)
    terminal.output = b""
    terminal.type(keys)


def ask_in_vain(terminal: Terminal, question: str, rows: list[tuple[str, str]], house: Path) -> None:
    """Type what cannot be: each time it is said, and asked again."""
    for text, said in rows:
        if said:
            answer(terminal, question, placed(text, house) + ENTER)
            terminal.wait_for(question)
            shown = re.sub(r"\s+", " ", terminal.text().replace(placed(text, house), "", 1))  # without the echo
            assert said in shown, (text, shown)
            assert "Traceback" not in shown


def pass_to(terminal: Terminal, phase: int) -> None:
    """Take what is proposed up to a phase."""
    questions = ("Which framework?", "Go on?", "Jupyter?", "Data science?", "What is it for?")
    answer(terminal, "Name of the image?", f"thesis{ENTER}")
    for question in questions[: phase - 1]:
        answer(terminal, question, ENTER)


def test_names_that_cannot_be_are_asked_for_again(house: Path, asked: Terminal) -> None:
    ask_in_vain(asked, "Name of the image?", NAMES, house)
    answer(asked, "Name of the image?", f"thesis{ENTER}")
    asked.wait_for("Which framework?")


def test_images_that_cannot_be_are_asked_for_again(house: Path, asked: Terminal) -> None:
    answer(asked, "Name of the image?", f"thesis{ENTER}")
    for text, said in [*BASES, ("", "empty")]:
        answer(asked, "Which framework?", DOWN + ENTER)
        answer(asked, "Which image (repository:tag)?", text + ENTER)
        asked.wait_for("Which framework?")
        assert said in asked.text().replace(text, "", 1) if text else True
    assert not (house / "dockerfiles").exists()


@pytest.mark.parametrize(("phase", "question"), [(3, "Jupyter?"), (4, "Data science?")])
def test_own_lists_that_cannot_be_are_asked_for_again(phase: int, question: str, house: Path, asked: Terminal) -> None:
    pass_to(asked, phase)
    answer(asked, question, DOWN + DOWN + ENTER)
    rows = [row for row in PACKAGES if "pandas" not in row[0] and "scikit" not in row[0] and len(row[0]) < 1000]
    ask_in_vain(asked, "Packages, with bounds", rows, house)
    answer(asked, "Packages, with bounds", f"<{ENTER}")
    asked.wait_for(question)


def test_packages_and_files_that_cannot_be_are_asked_for_again_and_then_written_as_by_flags(
    make: Ds01, house: Path, asked: Terminal
) -> None:
    expected = make("create", "thesis", "-f", "pytorch", "-p", " ".join(MANY), "-s", "git ffmpeg", "--dry-run").out
    pass_to(asked, 6)
    ask_in_vain(asked, "More packages of Python?", [row for row in PACKAGES if len(row[0]) < 1000], house)
    answer(asked, "More packages of Python?", " ".join(MANY) + ENTER)
    ask_in_vain(asked, "by apt?", SYSTEM, house)
    answer(asked, "by apt?", f"<{ENTER}")
    answer(asked, "More packages of Python?", " ".join(MANY) + ENTER)
    answer(asked, "by apt?", f"git ffmpeg{ENTER}")
    ask_in_vain(asked, "pyproject.toml?", FILES, house)
    answer(asked, "pyproject.toml?", f"<{ENTER}")
    answer(asked, "by apt?", f"git ffmpeg{ENTER}")
    answer(asked, "pyproject.toml?", ENTER)
    answer(asked, "Write the Dockerfile", ENTER)
    assert asked.wait() == 0, asked.text()
    assert written(house) == expected


def test_a_list_that_is_too_long_for_a_terminal_is_asked_for_again_and_none_of_it_is_taken(
    house: Path, asked: Terminal
) -> None:
    long = " ".join(f"package{number:08}" for number in range(300))
    pass_to(asked, 6)
    answer(asked, "More packages of Python?", long + ENTER)
    asked.wait_for("no line of 4096 bytes or more")
    answer(asked, "More packages of Python?", f"None{ENTER}")
    answer(asked, "by apt?", f"none{ENTER}")
    answer(asked, "pyproject.toml?", f"none{ENTER}")
    answer(asked, "Write the Dockerfile", ENTER)
    assert asked.wait() == 0, asked.text()
    recipe = parse_dockerfile(written(house)).recipe
    assert recipe.packages_of(Tier.ADDITIONAL) == (), "neither the list, nor a package `none`"


OURS = "FROM busybox\n\n# Additional user packages\nRUN pip install --no-cache-dir \\\n    rich\n"
DOCKERFILES = {
    "somebody's": '# syntax=docker/dockerfile:1\nFROM a AS b\nRUN pip install x\nFROM b\nENTRYPOINT ["x"]\n',
    "windows": OURS.replace("\n", "\r\n"),
    "without its last line end": OURS.rstrip("\n"),
    "marked": "\ufeff" + OURS,
}


@pytest.mark.parametrize("kind", DOCKERFILES)
def test_a_dockerfile_of_any_making_is_changed_where_it_has_to_be(kind: str, make: Ds01, house: Path) -> None:
    path = house / "Dockerfile"
    path.write_bytes(DOCKERFILES[kind].encode())
    assert make("update", str(path), "--add", "polars>=1,<2").status == 0
    after = path.read_bytes().decode()
    assert "'polars<2,>=1'" in after
    lines = iter(after.splitlines())
    assert all(
        line in lines for line in DOCKERFILES[kind].removeprefix("\ufeff").splitlines()
    )  # each after the one before
    assert ("\r\n" in after) == (kind == "windows")
    assert "\n" not in after.replace("\r\n", "") or kind != "windows"
    (backup,) = house.glob("Dockerfile.*.bak")
    assert backup.read_bytes() == DOCKERFILES[kind].encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no line FROM"),
        (b"RUN echo\n", "no line FROM"),
        (b"\xff\xfe\x00", "Dockerfile"),
        (b"FROM busybox\n" + b"# comment\n" * 200_000, "larger than 1 MiB"),
        (b"FROM busybox\n" + b"#" * 5_000_000, "larger than 4 MiB"),
        (b"# escape=`\nFROM busybox\n", "escape"),
    ],
    ids=["empty", "no base", "binary", "huge", "larger", "escape"],
)
@pytest.mark.parametrize("words", [("update", "--add", "rich"), ("build",)], ids=["update", "build"])
def test_a_dockerfile_that_is_none_is_refused_and_stays(
    words: tuple[str, ...], content: bytes, said: str, make: Ds01, house: Path
) -> None:
    path = house / "Dockerfile"
    path.write_bytes(content)
    outcome = make(words[0], str(path), *words[1:])
    assert outcome.status == 2, outcome.err
    assert said in outcome.err
    assert "Traceback" not in outcome.err
    assert path.read_bytes() == content
    assert list(house.glob("*.bak")) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--add", "numpy; rm -rf /"), "rm -rf /"),
        (("--add", "./x"), "./x"),
        (("--add", ""), ""),
        (("--remove", "richh"), "Did you mean rich?"),
        (("--remove", "x;y"), "x;y"),
        (("--add-system", "Git"), "git"),
        (("--remove-system", "vim"), "vim"),
        (("--add", "x\nRUN=id"), "RUN==id"),
    ],
)
def test_an_update_that_cannot_be_is_refused_and_the_file_stays(
    words: tuple[str, ...], said: str, make: Ds01, house: Path
) -> None:
    path = house / "Dockerfile"
    path.write_text(OURS)
    outcome = make("update", str(path), *words)
    assert outcome.status in {2, 3} if said else outcome.status in {0, 2}, outcome.err
    assert said in outcome.err
    assert "Traceback" not in outcome.err
    assert path.read_text() == OURS
