"""Write matgen/checks/distances.npz: shortest and usual distances of pairs of elements, and volumes of metals.

`python scripts/build/build_distances.py`: crystals of the training split of the prepared table (`matgen data prepare`)
whose energy above the hull is labelled and at most 0.1 eV/atom. Of each crystal the closest contact of each pair of
elements counts, up to 1.25 of the sum of covalent radii. Volumes of metals are pymatgen's, as measured.
"""

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pymatgen.core import Element, Structure
from scipy.constants import Avogadro

from matgen.checks.pair_distances import LONGEST_BOND, radii_sums
from matgen.chemistry.elements import SYMBOLS
from matgen.datasets.crystals import SPLITS, CrystalTable
from matgen.structures.candidate import as_crystal
from matgen.structures.conversion import structures
from matgen.templates.batch import Geometry
from matgen.templates.expand import expand

TARGET = Path(__file__).resolve().parents[2] / "matgen" / "checks" / "distances.npz"

NEAR_HULL = 0.1
"""eV/atom above the hull; beyond it, and without a label, the table has crystals whose atoms overlap."""

AT_ONCE = 200


def training_crystals(table: CrystalTable) -> Iterator[Structure]:
    """Yield the crystals of the training split near the hull."""
    near = (table.split == SPLITS.index("train")) & (table.label("energy_above_hull") <= NEAR_HULL)
    for rows in near.nonzero().ravel().split(AT_ONCE):
        some = table.select(rows)
        geometry = Geometry(some.geometry.lattice.double(), some.geometry.coords.double())
        for crystal in structures(expand(some.templates, geometry)):
            yield as_crystal(crystal)


def closest(structure: Structure) -> Iterator[tuple[int, int, float]]:
    """Yield each pair of elements, ascending, with the distance of its closest contact, Å."""
    numbers, sums = np.array(structure.atomic_numbers), radii_sums()
    present = np.unique(numbers)
    cutoff = LONGEST_BOND * float(sums[np.ix_(present, present)].max())
    first, second, _, distance = structure.get_neighbor_list(cutoff)
    one, other = numbers[first], numbers[second]
    some = (distance <= LONGEST_BOND * sums[one, other]) & (one <= other)
    for pair in np.unique(np.stack([one[some], other[some]], axis=1), axis=0).tolist():
        here = some & (one == pair[0]) & (other == pair[1])
        yield pair[0], pair[1], float(distance[here].min())


def volume_as_metal(element: Element) -> float:
    """Return the measured volume of an atom of a metal, Å³; NaN for others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it has none
        molar = element.molar_volume if element.is_metal else None  # cm³/mol
    return np.nan if molar is None else float(molar) * 1e24 / Avogadro


def main() -> None:
    """Collect and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--table", type=Path, default=Path("cache/crystals.npz"))
    table = CrystalTable.load(options.parse_args().table)
    found: dict[tuple[int, int], list[float]] = {}
    n = 0
    for structure in training_crystals(table):
        n += 1
        for one, other, distance in closest(structure):
            found.setdefault((one, other), []).append(distance)
    metal_volumes = [np.nan] + [volume_as_metal(Element(symbol)) for symbol in SYMBOLS[1:]]
    pairs = sorted(found)
    np.savez_compressed(
        TARGET,
        pairs=np.array(pairs, dtype=np.uint8),
        shortest=np.array([min(found[pair]) for pair in pairs], dtype=np.float32),
        usual=np.array([np.median(found[pair]) for pair in pairs], dtype=np.float32),
        crystals=np.array([len(found[pair]) for pair in pairs], dtype=np.uint16),
        metal_volumes=np.array(metal_volumes, dtype=np.float32),
    )
    print(f"{n} crystals, {len(pairs)} pairs, {np.isfinite(metal_volumes).sum()} metals, {TARGET.stat().st_size} B")


if __name__ == "__main__":
    main()
