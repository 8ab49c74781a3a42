"""Write matgen/chemistry/elements.npz: descriptors of the elements, and atomic volumes fitted to crystals.

`python scripts/build/build_elements.py FOLDER`: FOLDER contains crystals/mp24_le20.parquet. The descriptors are
pymatgen's; the volumes are a non-negative least-squares fit of relative cell volumes on the training rows.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pymatgen.core import Element, Lattice
from scipy.optimize import nnls

TARGET = Path(__file__).resolve().parents[2] / "matgen" / "chemistry" / "elements.npz"
N_ELEMENTS = 94


def fitted_volumes(folder: Path) -> np.ndarray:
    """Return atomic volumes (N_ELEMENTS + 1,) in Å³; NaN for elements without training rows."""
    rows = pq.read_table(folder / "crystals" / "mp24_le20.parquet").to_pylist()
    rows = [r for r in rows if r["split"] == "train" and 0.6 < r["volume_ratio"] < 1.7]
    counts = np.array([np.bincount(r["Z"], minlength=N_ELEMENTS + 1) for r in rows], dtype=float)
    volume = np.array([Lattice.from_parameters(*map(float, r["cell"])).volume for r in rows])
    fitted, _ = nnls(counts / volume[:, None], np.ones(len(rows)))
    return np.where(counts.any(0), fitted, np.nan)


def descriptors(z: int) -> list[float]:
    """Return period, group, Mendeleev number, electronegativity, radius, first ionisation, affinity, s p d f, block."""
    e = Element.from_Z(z)
    shells = {"s": 0, "p": 0, "d": 0, "f": 0} | {
        kind: electrons
        for n, kind, electrons in e.full_electronic_structure
        if n + {"d": 1, "f": 2}.get(kind, 0) == e.row
    }
    x = e.X if np.isfinite(e.X) else 0.0
    radius = float(e.atomic_radius or e.atomic_radius_calculated or 1.5)
    blocks = [float(e.block == b) for b in "spdf"]
    return [
        e.row,
        e.group,
        e.mendeleev_no,
        x,
        radius,
        float(e.ionization_energy or 0),
        float(e.electron_affinity or 0),
        *shells.values(),
        *blocks,
        float(e.is_metal),
        float(e.is_transition_metal),
        float(e.is_rare_earth),
    ]


def main() -> None:
    """Collect and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path, help="folder of the training tables")
    folder = options.parse_args().folder
    warnings.simplefilter("ignore")
    table = np.array([descriptors(z) for z in range(1, N_ELEMENTS + 1)])
    table = (table - table.mean(0)) / table.std(0)
    table = np.vstack([np.zeros_like(table[:1]), table]).astype(np.float32)
    symbols = np.array(["", *(Element.from_Z(z).symbol for z in range(1, N_ELEMENTS + 1))])
    volumes = fitted_volumes(folder).astype(np.float32)
    np.savez_compressed(TARGET, symbols=symbols, descriptors=table, volumes=volumes)
    print(table.shape, np.isfinite(volumes).sum(), TARGET.stat().st_size)


if __name__ == "__main__":
    main()
