"""The pictures of terminals for the guide: what was shown is in them, and they fetch nothing."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pyte
import pytest

from dev.screenkit.picture import picture_of
from dev.screenkit.terminal import ShownTerminal

DOCS = Path(__file__).resolve().parents[2] / "docs"
SHOWN = "\x1b[1;1Ha <b> & c\x1b[2;1H\x1b[36mcyan\x1b[0m \x1b[33myellow\x1b[0m \x1b[38;5;208mnumber\x1b[0m"


def test_a_picture_holds_the_text_in_its_colours_and_fetches_nothing() -> None:
    screen = pyte.Screen(20, 5)
    pyte.Stream(screen).feed(SHOWN)
    drawn = picture_of(screen, "ds01 <create>")
    text = "".join(ElementTree.fromstring(drawn).itertext()).replace("\u00a0", " ")
    assert "a <b> & c" in text
    assert "ds01 <create>" in text
    assert all(word in text for word in ("cyan", "yellow", "number"))
    assert len(set(re.findall(r"fill: (#\w{6})", drawn))) >= 4
    assert not re.search(r"url\(['\"]?http|@import|@font-face|<script", drawn)
    assert len(picture_of(screen, "t", is_cropped=True)) < len(picture_of(screen, "t"))


def test_a_terminal_shows_what_a_program_shows_and_takes_keys() -> None:
    program = "print('\\x1b[2mdim\\x1b[0m'); input('name? '); print('done')"
    with ShownTerminal([sys.executable, "-c", program], {}, columns=40, rows=5) as terminal:
        terminal.wait_for("name?")
        assert terminal.screen.buffer[0][0].fg == "brightblack"
        terminal.type("alice\r")
        terminal.wait_for("done")
        assert "name? alice" in terminal.text()


@pytest.mark.parametrize("page", ["creating.md", "images.md"])
def test_the_pictures_of_the_guide_are_there(page: str) -> None:
    text = (DOCS / "guide" / page).read_text(encoding="utf-8")
    (picture,) = re.findall(r"!\[[^\]]+\]\((\.\./images/[^)]+\.svg)\)", text)
    assert ElementTree.parse(DOCS / "guide" / picture).getroot().tag.endswith("svg")
