"""`ds01 timeline`: who has which GPU until when, drawn as bars, with reservations and promised starts."""

from datetime import UTC, datetime, timedelta, tzinfo

from ds01.api.explanation import SOMEBODY, Clock
from ds01.api.moment import parse_coming_moment
from ds01.api.schema import SpanDocument, TimelineDocument, TimelineRow
from ds01.cli.call import Call
from ds01.cli.moment import SystemZone, clock, present
from ds01.cli.screen import DEFAULT_WIDTH, clean
from ds01.cli.spec import JSON, Option, Spec
from ds01.cli.table import fit
from ds01.errors import InvalidRequestError

HOUR = timedelta(hours=1)
TICKS = (1, 2, 3, 4, 6, 12, 24, 48, 168, 336, 744)
"""Hours between two marks."""
LEAST_BAR, MOST_BAR = 12, 60
LABEL_WIDTH, TEXT_WIDTH, GAP = 12, 34, 2
TICK_WIDTH = 7
NARROW = 60
"""Below so many columns a bar is drawn alone, and what it means stands below it."""
KINDS = ("mine", "grant", "hold", "foreign", "reservation", "promise")
_DRAWN = (*KINDS, "free", "now")
BARS = dict(zip(_DRAWN, "█▓▒▓◆░·│", strict=True))
PLAIN = dict(zip(_DRAWN, "#=-=Rp.|", strict=True))
MEANINGS = (
    ("mine", "yours"),
    ("grant", "others'"),
    ("hold", "stopped, kept for its owner"),
    ("reservation", "reserved"),
    ("promise", "a waiting request"),
)


def timeline(call: Call) -> int:
    """Print the timeline."""
    start, end = _window(call)
    document = call.client.get_timeline(from_at=start, to_at=end)
    if call.flag("json"):
        call.screen.document(document)
    elif not document["rows"]:
        call.screen.tell("This machine has no GPU.")
    else:
        marks = BARS if call.screen.draws_unicode() else PLAIN
        width = call.screen.width() or DEFAULT_WIDTH
        call.screen.data("\n".join(draw(document, clock(), width, marks)))
    return 0


def _window(call: Call) -> tuple[str | None, str | None]:
    now, zone = present(), SystemZone()
    begin, end = call.text("from"), call.text("to")
    start_at = parse_coming_moment(begin, "--from", now=now, zone=zone) if begin is not None else None
    end_at = parse_coming_moment(end, "--to", now=now, zone=zone) if end is not None else None
    if end_at is not None and end_at <= (start_at or now):
        raise InvalidRequestError("--to is not after --from.", hint="Write ds01 timeline --to 'tomorrow 18:00'")
    return (start_at.isoformat() if start_at else None, end_at.isoformat() if end_at else None)


class Scale:
    """Moments as columns.

    Attributes:
        begin: Moment of the first column.
        step: Time of one column.
        columns: How many there are.
    """

    def __init__(self, begin: datetime, end: datetime, columns: int) -> None:
        self.begin = begin
        self.columns = columns
        self.step = (end - begin) / columns

    def column(self, moment: datetime) -> int:
        """Return the column in which a moment is; below 0 or above the last one outside of the window."""
        return (moment - self.begin) // self.step

    def ticks(self, zone: tzinfo) -> list[tuple[int, str]]:
        """Return columns with what stands above them: hours of the reader's zone, or days."""
        hours = next((tick for tick in TICKS if tick * HOUR / self.step >= TICK_WIDTH), TICKS[-1])
        first = self.begin.astimezone(zone)
        midnight = first.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        found: list[tuple[int, str]] = []
        wall = midnight
        while (column := self.column(wall.astimezone(UTC))) < self.columns:
            if column >= 0 or (found == [] and wall.astimezone(UTC) == self.begin):
                found.append((column, f"{wall:%d %b}" if hours >= 24 else f"{wall:%H:%M}"))
            wall += hours * HOUR  # clock times: a mark is on the hour also after the clocks change
        return found


def draw(document: TimelineDocument, said: Clock, width: int, marks: dict[str, str]) -> list[str]:
    """Return the lines of the drawing.

    Args:
        document: What is taken.
        said: How moments are said.
        width: Columns of the terminal.
        marks: What is drawn, by kind.
    """
    is_narrow = width < NARROW
    label_width = max([len(_label(row)) for row in document["rows"]])
    label_width = min(label_width, LABEL_WIDTH)
    beside = 0 if is_narrow else TEXT_WIDTH + GAP
    columns = min(max(width - label_width - GAP - beside, LEAST_BAR), MOST_BAR)
    text_width = max(width - label_width - columns - 2 * GAP, 8) if not is_narrow else max(width - label_width - GAP, 8)
    scale = Scale(datetime.fromisoformat(document["from_at"]), datetime.fromisoformat(document["to_at"]), columns)
    lines = [" " * (label_width + GAP) + _tick_line(scale, said)]
    for row in document["rows"]:
        label = fit(_label(row), label_width, "~").ljust(label_width) + " " * GAP
        bar = _bar(row, scale, marks, datetime.fromisoformat(document["now"]))
        texts = [fit(text, text_width, "~") for text in _texts(row, said)]
        indent = " " * (label_width + GAP + (0 if is_narrow else columns + GAP))
        if is_narrow:
            lines += [label + bar, *(indent + text for text in texts)]
        else:
            lines.append((label + bar + " " * GAP + (texts[0] if texts else "")).rstrip())
            lines += [indent + text for text in texts[1:]]
    return [*lines, "", *_legend(document, marks, width)]


def _label(row: TimelineRow) -> str:
    return clean(" ".join(part for part in (row["address"], row["label"]) if part))


def _tick_line(scale: Scale, said: Clock) -> str:
    line = [" "] * scale.columns
    for column, text in scale.ticks(said.zone):
        if column + len(text) <= scale.columns:
            line[column : column + len(text)] = text
    return "".join(line).rstrip()


def _bar(row: TimelineRow, scale: Scale, marks: dict[str, str], now: datetime) -> str:
    cells = [marks["free"]] * scale.columns
    for span in sorted(row["spans"], key=lambda span: -KINDS.index(_kind(span))):
        first = max(scale.column(datetime.fromisoformat(span["start_at"])), 0)
        last = scale.columns
        if span["end_at"] is not None:
            last = min(scale.column(datetime.fromisoformat(span["end_at"]) - scale.step / 1000) + 1, scale.columns)
        for column in range(first, last):
            cells[column] = marks[_kind(span)]
    here = scale.column(now)
    if 0 < here < scale.columns and cells[here] == marks["free"]:
        cells[here] = marks["now"]
    return "".join(cells)


def _kind(span: SpanDocument) -> str:
    if span["kind"] == "grant" and span["mine"]:
        return "mine"
    return "promise" if span["kind"] == "estimate" else span["kind"]


def _texts(row: TimelineRow, said: Clock) -> list[str]:
    found = [clean(_span_text(span, said)) for span in sorted(row["spans"], key=lambda span: span["start_at"])]
    if row["reason"]:
        found.insert(0, clean(row["reason"]))
    return found or (["free"] if row["gpu_uuid"] else [])


def _span_text(span: SpanDocument, said: Clock) -> str:
    owner = "you" if span["mine"] else span["owner"] or (f"group {span['group']}" if span["group"] else SOMEBODY)
    who = f"{owner} ({span['name']})" if span["name"] else owner
    begins_later = datetime.fromisoformat(span["start_at"]) > said.now
    if span["kind"] in {"promise", "estimate"}:
        return f"{'by' if span['kind'] == 'promise' else 'about'} {said.say(span['start_at'])} {who}"
    if span["end_at"] is None:
        return f"{who}, no end is known"
    if begins_later:
        return f"{said.say(span['start_at'])} to {said.say(span['end_at'])} {who}"
    return f"until {said.say(span['end_at'])} {who}"


def _legend(document: TimelineDocument, marks: dict[str, str], width: int) -> list[str]:
    used = {_kind(span).replace("foreign", "grant") for row in document["rows"] for span in row["spans"]}
    parts = [f"{marks[kind]} {meaning}" for kind, meaning in MEANINGS if kind in used] + [f"{marks['free']} free"]
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += "   " + part
        else:
            lines.append(part)
    return lines


TIMELINE = Spec(
    timeline,
    examples=(
        "ds01 timeline  the next day",
        "ds01 timeline --to 'mon 09:00'  up to a time",
        "ds01 timeline --from 'tomorrow 08:00' --to 'tomorrow 20:00'  one day",
        "ds01 timeline --json  for programs",
    ),
    details=(
        "One row for each GPU; reservations and waiting requests have rows of their own by kind, because their GPU is "
        "chosen when they start."
    ),
    options=(
        Option("--from", "Begin: now if not given.", kind="text", metavar="WHEN"),
        Option("--to", "End: a day later if not given.", kind="text", metavar="WHEN"),
        JSON,
    ),
)
