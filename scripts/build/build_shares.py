"""Write matgen/metrics/shares.json: shares of rare elements and of the commonest Wyckoff layouts.

`python scripts/build/build_shares.py`: all crystals of the training split of the prepared table (`matgen data
prepare`).
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from matgen.datasets.crystals import SPLITS, CrystalTable
from matgen.metrics.shares import FILE, Shares, shares
from matgen.templates.batch import crystals_of

SOURCE = "Materials Project crystals of up to 20 atoms, training split"


def table_shares(table: CrystalTable) -> Shares:
    """Return the shares of the training rows of a table."""
    some = table.select((table.split == SPLITS.index("train")).nonzero().ravel())
    templates = crystals_of(some.templates.unbatch())
    return shares(((frozenset(one.composition), one) for one in templates), SOURCE)


def main() -> None:
    """Compute and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--table", type=Path, default=Path("cache/crystals.npz"))
    found = table_shares(CrystalTable.load(options.parse_args().table))
    FILE.write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")
    for name, one in found.shares.items():
        print(f"{name}: {one.count} of {found.n}, {100 * one.share:.1f} % {one.what}")


if __name__ == "__main__":
    main()
