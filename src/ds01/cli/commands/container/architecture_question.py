"""The wizard's question about the CUDA generation: asked where the choice leads to other images that run here."""

from collections.abc import Mapping, Sequence

from ds01.api.schema import CatalogueDocument, CatalogueRowDocument
from ds01.cli.call import Call
from ds01.cli.prompts import Choice, pick_or_back

_AS_NEEDED = ""
"""What Enter chooses: no --arch, as if the question had not been asked."""


def offered_architectures(document: CatalogueDocument) -> tuple[str, ...]:
    """Return the generations of which this machine can run images, the best first; each has other images.

    Args:
        document: The catalogue of one framework, as this machine needs it.
    """
    found: dict[frozenset[str], str] = {}
    for name in document["architectures"]:
        images = frozenset(row["image"] for row in _usable(document) if name in row["architectures"])
        if images:
            found.setdefault(images, name)
    return tuple(found.values())


def ask_architecture(call: Call, names: Sequence[str]) -> Mapping[str, object] | None:
    """Ask for the generation; None: one step back.

    Args:
        call: The command.
        names: Those that are offered; the first is what the machine takes by itself.

    Raises:
        Ds01Error: The input ended.
    """
    choices = [Choice(_AS_NEEDED, f"{names[0]}  (as this machine needs)"), *(Choice(name, name) for name in names[1:])]
    chosen = pick_or_back(call, "Which CUDA generation?", choices, default=_AS_NEEDED)
    if chosen is None:
        return None
    return {} if chosen == _AS_NEEDED else {"arch": chosen}


def rows_for(
    document: CatalogueDocument, asked: CatalogueDocument, architecture: str
) -> tuple[list[CatalogueRowDocument], str | None]:
    """Return the images of a generation that run here, and the version that --arch takes by itself; None: none of them.

    With --arch the driver is not asked, so what --arch takes by itself need not run here.

    Args:
        document: The catalogue of one framework, as this machine needs it.
        asked: The same with --arch.
        architecture: The generation.
    """
    rows: dict[str, CatalogueRowDocument] = {}
    for row in _usable(document):
        if architecture in row["architectures"]:
            rows.setdefault(row["version"], row)
    newest = next((row["version"] for row in asked["rows"] if row["chosen"]), None)
    return list(rows.values()), newest if newest in rows else None


def _usable(document: CatalogueDocument) -> list[CatalogueRowDocument]:
    return [row for row in document["rows"] if row["usable"]]
