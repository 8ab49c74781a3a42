"""How many compounds have a band gap, by the criteria of `matgen.energies.closed_shell`.

`python scripts/benchmarks/count_closed_shells.py` prints the table of the docstring of that module: compounds of the
prepared table that contain a nonmetal and have a labelled gap.
"""

import argparse
from collections import Counter
from pathlib import Path

import torch
from smact import metals

from matgen.chemistry.charges import commonly_neutral
from matgen.chemistry.elements import SYMBOLS
from shared.crystals import crystals
from shared.page import percent, table

GAP = 0.1
"""Smallest gap that counts, eV."""


def main() -> None:
    """Count and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--table", type=Path, default=Path("cache/crystals.npz"))
    whole = crystals(options.parse_args().table)
    whole = whole.select(torch.isfinite(whole.label("band_gap")))
    counts: Counter[tuple[bool, bool, bool]] = Counter()
    for template, gap in zip(whole.templates.unbatch(), whole.label("band_gap").tolist(), strict=True):
        amounts = {SYMBOLS[z]: n for z, n in template.composition.items()}
        if len(amounts) > 1 and not set(amounts) <= set(metals):
            odd = sum(z * n for z, n in template.composition.items()) % 2 == 1
            counts[commonly_neutral(amounts), odd, gap > GAP] += 1

    def cell(common: bool, odd: bool) -> str:  # noqa: FBT001
        n = counts[common, odd, True] + counts[common, odd, False]
        return f"{percent(counts[common, odd, True], n)} of {n:,}"

    rows = [
        (words, cell(common, odd=False), cell(common, odd=True))
        for common, words in ((True, "cancel"), (False, "don't"))
    ]
    print(table(("common charges", "even number of electrons", "odd number"), rows))


if __name__ == "__main__":
    main()
