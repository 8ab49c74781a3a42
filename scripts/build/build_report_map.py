"""Write the maps of reports: two principal components of embeddings, and the places of known materials.

`python scripts/build/build_report_map.py --kind crystal`: matgen/report/map.npz, of a sample of the training split of
the prepared table (`matgen data prepare`); `--kind molecule`: matgen/report/molecule_map.npz, of the first molecules of
matgen/references/known_smiles.npz (`build_known_smiles.py`), which must be drawn ones; it keeps their number and hash.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from matgen.datasets.crystals import SPLITS, CrystalTable
from matgen.novelty.known_smiles import shipped_smiles
from matgen.novelty.molecules import shipped_molecules
from matgen.report.map import SHIPPED, embedded, of_sample
from matgen.report.remembered import key_of
from matgen.structures.candidate import as_crystal
from matgen.structures.conversion import structures
from matgen.templates.expand import expand

SOURCE = "a random sample of Materials Project crystals of up to 20 atoms, training split"
BATCH = 32


def crystals(path: Path, n: int, seed: int) -> tuple[list[str], list[str]]:
    """Return keys and formulas of a sample of a prepared table."""
    table = CrystalTable.load(path)
    rows = (table.split == SPLITS.index("train")).nonzero().ravel()
    generator = torch.Generator().manual_seed(seed)
    part = table.select(rows[torch.randperm(len(rows), generator=generator)[:n]])
    found = [as_crystal(one) for one in structures(expand(part.templates, part.geometry))]
    return [key_of(one) for one in found], [one.composition.reduced_formula for one in found]


def main() -> None:
    """Compute and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kind", choices=("crystal", "molecule"), default="crystal")
    options.add_argument("--table", type=Path, default=Path("cache/crystals.npz"), help="of crystals")
    options.add_argument("-n", type=int, default=1200, help="known materials")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    if given.kind == "crystal":
        keys, names = crystals(given.table, given.n, given.seed)
        source = SOURCE
    else:
        keys = list(shipped_smiles().smiles[: given.n])
        known = shipped_molecules().source
        source = (
            f"drawn by the package's own prior, and of a connectivity in its index of known ones, hashes of {known}"
        )
        names = keys
    vectors = [embedded(given.kind, keys[i : i + BATCH]) for i in range(0, len(keys), BATCH)]
    found = of_sample(given.kind, np.concatenate(vectors), names, source)
    found.save()
    shares = " and ".join(f"{share:.1%}" for share in found.explained)
    size = SHIPPED[found.kind].stat().st_size
    print(f"{len(names)} {given.kind}s, width {len(found.mean)}, explained {shares}, {size} bytes")


if __name__ == "__main__":
    main()
