"""The file of MIG layouts that `ds01 admin mig` reads: strict, with the line of every entry in its errors.

gpus:
  "0": {mig: true, layout: static, instances: [3g.20gb, 2g.10gb, 1g.5gb]}
  "1": {mig: false}
  "2": {mig: true, layout: dynamic}
"""

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from ds01.config.document import Source, TextFile, parse, refusal
from ds01.config.values import nearest, shown
from ds01.domain.devices.mig_layout import DYNAMIC, STATIC, WantedCard

GPUS_KEY = "gpus"
_KEYS = ("mig", "layout", "instances")
_EXAMPLE = "Write {mig: true, layout: static, instances: [3g.20gb, 1g.5gb]}, or {mig: false}."


def parse_mig_file(file: TextFile) -> tuple[WantedCard, ...]:
    """Return what a file asks for, in file order.

    Raises:
        InvalidRequestError: It cannot be read, has an unknown key, or an entry that says nothing; with file and line.
    """
    document = parse(file)
    source = Source(file.name, version=1)
    for key in document:
        if key != GPUS_KEY:
            source.refuse(document, key, f"{shown(key)} is no key here.", nearest(str(key), [GPUS_KEY]))
    cards = document.get(GPUS_KEY)
    if not isinstance(cards, CommentedMap) or not cards:
        raise refusal(
            f"{file.name}:1", "the file names no GPU.", f'Write gpus: and below it "0": and so on. {_EXAMPLE}'
        )
    return tuple(_card(source, cards, key) for key in cards)


def _card(source: Source, cards: CommentedMap, key: object) -> WantedCard:
    where = source.line(cards, key)
    if isinstance(key, bool) or not isinstance(key, (str, int)) or not str(key).strip():
        source.refuse(cards, key, f"{shown(key)} is no GPU.", 'Name it by its index, such as "0", or by its UUID.')
    entry = cards[key]
    if not isinstance(entry, CommentedMap):
        source.refuse(cards, key, f"{shown(entry)} is no layout.", _EXAMPLE)
    for name in entry:
        if name not in _KEYS:
            source.refuse(entry, name, f"{shown(name)} is no key of a GPU.", nearest(str(name), _KEYS))
    is_mig = entry.get("mig")
    if "mig" not in entry:
        source.refuse(cards, key, "the key mig is missing.", _EXAMPLE)
    if not isinstance(is_mig, bool):
        source.refuse(entry, "mig", f"{shown(is_mig)} is neither true nor false.", _EXAMPLE)
    layout = _layout(source, entry, is_mig=is_mig)
    return WantedCard(str(key).strip(), is_mig, layout, _instances(source, entry, layout, is_mig=is_mig), where)


def _layout(source: Source, entry: CommentedMap, *, is_mig: bool) -> str:
    if "layout" not in entry:
        return STATIC
    layout = entry["layout"]
    if layout not in (STATIC, DYNAMIC):  # not a set: a list cannot be looked up in one
        said = str(layout) if isinstance(layout, str) else ""
        source.refuse(entry, "layout", f"{shown(layout)} is no layout.", nearest(said, [STATIC, DYNAMIC]))
    if not is_mig:
        source.refuse(entry, "layout", "a GPU without MIG has no layout.", "Leave layout out, or write mig: true.")
    return str(layout)


def _instances(source: Source, entry: CommentedMap, layout: str, *, is_mig: bool) -> tuple[str, ...]:
    named = entry.get("instances")
    if "instances" not in entry:
        if is_mig and layout == STATIC:
            source.refuse(entry, "mig", "a static layout needs its instances.", _EXAMPLE)
        return ()
    if not is_mig or layout == DYNAMIC:
        what = "a dynamic layout has none of its own" if is_mig else "a GPU without MIG has none"
        source.refuse(entry, "instances", f"{what}.", "Leave instances out.")
    if not isinstance(named, CommentedSeq) or not named:
        source.refuse(entry, "instances", f"{shown(named)} is no list of profiles.", _EXAMPLE)
    for place, name in enumerate(named):
        if not isinstance(name, str) or not name.strip():
            source.refuse(named, place, f"{shown(name)} is no profile.", "Write a profile such as 1g.5gb.")
    return tuple(str(name).strip().lower() for name in named)
