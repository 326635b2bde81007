"""Work out the values of the states of MIG cards and write them beside the table of profiles, or check the file.

    python -m dev.mig_values           writes src/ds01/data/mig_values.json
    python -m dev.mig_values --check   exits 1 when the file is not what the product computes

Small geometries are worked out by the daemon itself; the file has those that take longer.
"""

import argparse
import json
import sys
from pathlib import Path

from ds01.config.mig_tables import read_shipped_tables
from ds01.domain.devices.mig import make_table
from ds01.domain.devices.mig_value import MAX_COMPUTED_STATES, compute_values, geometry_of

PATH = Path(__file__).resolve().parents[1] / "src" / "ds01" / "data" / "mig_values.json"
NOTE = (
    "Values of the states of a MIG card, by geometry, in the order of the states' masks. Written by `python -m "
    "dev.mig_values`; what they mean: ds01.domain.devices.mig_value."
)


def render() -> str:
    """Return the file's text: every shipped device with all its profiles, and without those of double memory."""
    geometries: dict[str, object] = {}
    for table in read_shipped_tables().values():
        fewest = {one.compute_slices: one.memory_slices for one in reversed(table.profiles)}
        usual = [one for one in table.profiles if one.memory_slices == fewest[one.compute_slices]]
        for profiles in (table.profiles, usual):
            found = make_table(table.key, profiles, compute_slices=table.compute_slices)
            geometry = geometry_of(found)
            if len(found.reachable) > MAX_COMPUTED_STATES and geometry not in geometries:
                values = compute_values(found)
                steady, filling = list(values.steady.values()), list(values.filling.values())
                geometries[geometry] = {"steady": steady, "filling": filling}
    return json.dumps({"note": NOTE, "geometries": geometries}, indent=0).replace(",\n", ", ") + "\n"


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dev.mig_values")
    parser.add_argument("--check", action="store_true", help="change nothing")
    text = render()
    if parser.parse_args().check:
        return int(not PATH.exists() or PATH.read_text(encoding="utf-8") != text)
    PATH.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
