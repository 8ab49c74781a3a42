"""Write matgen/report/map.npz: two principal components of embeddings, and the places of known crystals.

`python scripts/build/build_report_map.py`: a sample of the training split of the prepared table (`matgen data
prepare`).
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from matgen.datasets.crystals import SPLITS, CrystalTable
from matgen.report.map import SHIPPED, embedded, of_sample
from matgen.structures.candidate import as_crystal
from matgen.structures.conversion import structures
from matgen.templates.expand import expand

SOURCE = "a random sample of Materials Project crystals of up to 20 atoms, training split"
BATCH = 32


def main() -> None:
    """Compute and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--table", type=Path, default=Path("cache/crystals.npz"))
    options.add_argument("--crystals", type=int, default=1200)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    table = CrystalTable.load(given.table)
    rows = (table.split == SPLITS.index("train")).nonzero().ravel()
    generator = torch.Generator().manual_seed(given.seed)
    chosen = rows[torch.randperm(len(rows), generator=generator)[: given.crystals]]
    vectors, formulas = [], []
    for some in chosen.split(BATCH):
        part = table.select(some)
        crystals = [as_crystal(one) for one in structures(expand(part.templates, part.geometry))]
        vectors.append(embedded(crystals))
        formulas += [one.composition.reduced_formula for one in crystals]
    found = of_sample(np.concatenate(vectors), formulas, SOURCE)
    found.save(SHIPPED)
    shares = " and ".join(f"{share:.1%}" for share in found.explained)
    print(f"{len(formulas)} crystals, width {len(found.mean)}, explained {shares}, {SHIPPED.stat().st_size} bytes")


if __name__ == "__main__":
    main()
