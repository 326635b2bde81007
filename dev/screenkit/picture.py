"""A terminal as a picture: SVG, whose letters are text and which fetches nothing."""

import io
from itertools import groupby

import pyte
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

_THEME = TerminalTheme(
    (24, 26, 31),
    (216, 219, 226),
    [
        (24, 26, 31),
        (240, 113, 120),
        (140, 200, 120),
        (230, 190, 110),
        (110, 160, 240),
        (190, 140, 230),
        (95, 200, 210),
        (216, 219, 226),
    ],
    [
        (125, 131, 145),
        (250, 140, 145),
        (165, 220, 145),
        (245, 210, 140),
        (140, 185, 250),
        (210, 165, 245),
        (130, 220, 230),
        (245, 246, 250),
    ],
)
_SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: {char_height}px;
  line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
_COLOURS = {"brown": "yellow", "brightbrown": "bright_yellow"}
"""pyte's names for yellow."""


def picture_of(screen: pyte.Screen, title: str, *, is_cropped: bool = False) -> str:
    """Return a screen as SVG.

    Args:
        screen: What is shown.
        title: What stands above it.
        is_cropped: Empty lines at the end are left out.
    """
    lines = [_line(screen, row) for row in range(screen.lines)]
    while is_cropped and lines and not lines[-1].plain.strip():
        lines.pop()
    console = Console(width=screen.columns, record=True, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    for line in lines:
        console.print(line, no_wrap=True, overflow="crop", soft_wrap=True)
    written = console.export_svg(title=title, theme=_THEME, code_format=_SVG, unique_id="ds01")
    return "\n".join(line.rstrip() for line in written.splitlines() if line.strip()) + "\n"


def _line(screen: pyte.Screen, row: int) -> Text:
    characters = (screen.buffer[row][column] for column in range(screen.columns))
    text = Text()
    for style, alike in groupby(characters, key=_style):
        text.append("".join(character.data for character in alike), style)
    text.rstrip()
    return text


def _style(character: pyte.screens.Char) -> Style:
    return Style(
        color=_colour(character.fg),
        bgcolor=_colour(character.bg),
        bold=character.bold,
        italic=character.italics,
        underline=character.underscore,
        reverse=character.reverse,
    )


def _colour(name: str) -> str | None:
    if name == "default":
        return None
    if len(name) == 6 and all(digit in "0123456789abcdef" for digit in name):
        return f"#{name}"
    return _COLOURS.get(name, name.replace("bright", "bright_"))
