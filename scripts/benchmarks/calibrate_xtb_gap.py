"""How well a linear fit of the gap by GFN2-xTB, or of more features, predicts the gap by B3LYP.

`python scripts/benchmarks/calibrate_xtb_gap.py --data FOLDER` (or MATGEN_DATA), the folder of `molecules.npz`.
`--jobs 2` takes ten minutes of two idle cores. Molecules of QM9 are relaxed by GFN2-xTB from their B3LYP geometry,
since designs are evaluated at such minima. Fits use rows of the validation split, and are tested on rows of the test
split.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pymatgen.core.structure import Molecule
from scipy.stats import spearmanr

from matgen.datasets.molecules import MoleculeTable
from matgen.relaxation.xtb import POTENTIAL, relax_molecules
from matgen.relaxation.xtb_properties import XtbProperties, calibrated_gap, electronic, gap_from_levels

ELEMENTS = (1, 6, 7, 8, 9)


@dataclass(frozen=True)
class Row:
    """A molecule by GFN2-xTB, at the B3LYP geometry and at its own minimum; atoms per element; gap by B3LYP, eV."""

    found: XtbProperties
    relaxed: XtbProperties
    counts: tuple[int, ...]
    wanted: float


def sample(table: MoleculeTable, split: int, n: int, seed: int) -> MoleculeTable:
    """Return n random rows of a split."""
    rows = (table.split == split).nonzero().ravel()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return table.select(rows[order[:n]].sort().values)


def molecules(table: MoleculeTable) -> list[Molecule]:
    """Return each row as a molecule in space."""
    sizes = torch.bincount(table.templates.site_system, minlength=len(table)).tolist()
    elements = table.templates.site_element.split(sizes)
    positions = table.geometry.coords.double().split(sizes)
    charges = [int(part.sum()) for part in table.templates.graphs.charge.split(sizes)]
    return [Molecule(z.tolist(), x.numpy(), charge=q) for z, x, q in zip(elements, positions, charges, strict=True)]


def measured(table: MoleculeTable, jobs: int) -> list[Row]:
    """Return the rows whose relaxation converged."""
    initial_geometries = molecules(table)
    wanted = table.label("gap").tolist()
    rows, seconds = {}, []
    for done in relax_molecules(initial_geometries, n_jobs=jobs):
        seconds.append(done.report.seconds)
        if done.report.converged:
            numbers = initial_geometries[done.index].atomic_numbers
            counts = tuple(numbers.count(z) for z in ELEMENTS)
            states = electronic(initial_geometries[done.index]), electronic(done.structure)
            rows[done.index] = Row(*states, counts, wanted[done.index])
    print(f"{len(rows)} of {len(initial_geometries)} converged, {np.median(seconds):.2f} s each (median)")
    return [rows[index] for index in sorted(rows)]


def _levels(row: Row) -> list[float]:
    homo, lumo = row.relaxed.homo, row.relaxed.lumo
    return [homo, lumo, homo**2, lumo**2, homo * lumo]


FEATURES = {
    "gap at the B3LYP geometry": lambda row: [row.found.gap],
    "gap": lambda row: [row.relaxed.gap],
    "HOMO, LUMO": lambda row: [row.relaxed.homo, row.relaxed.lumo],
    "gap, its square": lambda row: [row.relaxed.gap, row.relaxed.gap**2],
    "HOMO, LUMO, their squares and product": _levels,
    "these and counts of elements": lambda row: [*_levels(row), *row.counts],
}


def matrix(rows: list[Row], name: str) -> np.ndarray:
    """Return features and a column of ones (n, k + 1)."""
    return np.array([[*FEATURES[name](row), 1.0] for row in rows])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("MATGEN_DATA"), help="folder (default: MATGEN_DATA)"
    )
    parser.add_argument("--n", type=int, default=2000, help="rows of the fit; half as many of the test")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    whole = MoleculeTable.load(Path(options.data) / "molecules.npz")
    fitted = measured(sample(whole, 1, options.n, options.seed), options.jobs)
    tested = measured(sample(whole, 2, options.n // 2, options.seed), options.jobs)
    print(f"{POTENTIAL}; fitted to {len(fitted)} rows of QM9 validation, tested on {len(tested)} of its test split")
    target = np.array([row.wanted for row in tested])
    deviation = np.abs(target - np.median(target)).mean()
    print(f"B3LYP gap there: standard deviation {target.std():.3f} eV, {deviation:.3f} from its median")

    def show(name: str, predicted: np.ndarray) -> None:
        """Print one line of the table."""
        r, rank = np.corrcoef(predicted, target)[0, 1], spearmanr(predicted, target).statistic
        print(f"{name:48} Pearson {r:.3f}, Spearman {rank:.3f}, MAE {np.abs(predicted - target).mean():.3f} eV")

    for features in FEATURES:
        known = np.array([row.wanted for row in fitted])
        weights = np.linalg.lstsq(matrix(fitted, features), known, rcond=None)[0]
        show(features, matrix(tested, features) @ weights)
        print(f"{'':48} weights {np.round(weights, 4).tolist()}")
    for shipped in (calibrated_gap, gap_from_levels):
        show(f"{shipped.__name__}, as shipped", np.array([shipped(row.relaxed) for row in tested]))
