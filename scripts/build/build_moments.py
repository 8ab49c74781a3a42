"""Write matgen/chemistry/moments.csv: magnetic moments of the elements in training crystals, by CHGNet.

`python scripts/build/build_moments.py cache/crystals.npz`: the table is written by `matgen data prepare`. For each
element some training crystals that hold it are chosen at random; CHGNet gives the moment of each atom. The share of
validation crystals whose moment lies within the stated spread of the estimate is printed.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from matgen.chemistry.elements import SYMBOLS
from matgen.datasets.crystals import SPLITS, CrystalTable
from matgen.relaxation.magnetic_moments import site_moments
from matgen.structures.conversion import structures
from matgen.templates.expand import expand

TARGET = Path(__file__).resolve().parents[2] / "matgen" / "chemistry" / "moments.csv"
HEADER = """\
# Magnetic moments of atoms by CHGNet 0.3.0 in training crystals, μB; written by scripts/build/build_moments.py.
# mean and deviation: of the means over the atoms of the element in one crystal; highest: of any atom.
"""


def chosen(table: CrystalTable, split: str, each: int, random: np.random.Generator) -> np.ndarray:
    """Return rows of a split such that every element occurs in `each` of them, where so many hold it."""
    rows = np.flatnonzero(table.split.numpy() == SPLITS.index(split))
    holders: dict[int, list[int]] = defaultdict(list)
    inside = set(rows.tolist())
    for row, z in set(zip(table.templates.site_system.tolist(), table.templates.site_element.tolist(), strict=True)):
        if row in inside:
            holders[z].append(row)
    found: set[int] = set()
    for z in sorted(holders, key=lambda z: (len(holders[z]), z)):
        missing = each - len(found.intersection(holders[z]))
        left = sorted(set(holders[z]) - found)
        found |= set(random.permutation(left)[: max(missing, 0)].tolist())
    return np.array(sorted(found))


def moments_by_element(table: CrystalTable, rows: np.ndarray) -> list[dict[int, list[float]]]:
    """Return the moments of the atoms of each element of each crystal that CHGNet reads."""
    found = []
    for row in rows.tolist():
        some = torch.tensor([row])
        state = expand(table.templates.select(some), table.geometry.select(table.templates, some))
        (crystal,) = structures(state)
        (moments,) = site_moments([crystal])
        if moments:
            of_element: dict[int, list[float]] = defaultdict(list)
            for z, moment in zip(crystal.atomic_numbers, moments, strict=True):
                of_element[z].append(moment)
            found.append(dict(of_element))
    return found


def main() -> None:
    """Compute, write, validate."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("table", type=Path)
    options.add_argument("--each", type=int, default=40, help="training crystals of each element")
    options.add_argument("--validation", type=int, default=8, help="validation crystals of each element")
    given = options.parse_args()
    torch.set_num_threads(1)
    table, random = CrystalTable.load(given.table), np.random.default_rng(0)
    means: dict[int, list[float]] = defaultdict(list)
    highest: dict[int, float] = defaultdict(float)
    crystals = moments_by_element(table, chosen(table, "train", given.each, random))
    for crystal in crystals:
        for z, moments in crystal.items():
            means[z].append(float(np.mean(moments)))
            highest[z] = max(highest[z], *moments)
    lines = [
        f"{SYMBOLS[z]},{np.mean(means[z]):.3f},{np.std(means[z]):.3f},{highest[z]:.3f},{len(means[z])}"
        for z in sorted(means)
    ]
    header = f"{HEADER}# {len(crystals)} crystals of the split `train`.\nsymbol,mean,deviation,highest,crystals\n"
    TARGET.write_text(header + "\n".join(lines) + "\n", encoding="utf-8")
    errors = []
    for crystal in moments_by_element(table, chosen(table, "val", given.validation, random)):
        counts = {z: len(moments) for z, moments in crystal.items()}
        n = sum(counts.values())
        true = sum(map(sum, crystal.values())) / n
        estimate = sum(k * np.mean(means[z]) for z, k in counts.items()) / n
        spread = sum(k * np.std(means[z]) for z, k in counts.items()) / n
        errors.append((true, estimate, spread))
    true, estimate, spread = np.array(errors).T
    error = np.abs(estimate - true)
    print(f"{len(true)} validation crystals: moment per atom {true.mean():.3f}, mean error {error.mean():.3f} μB")
    print(f"of a constant {np.abs(true - np.median(true)).mean():.3f}; std of error {(estimate - true).std():.3f}")
    for floor in (0.0, 0.02, 0.05, 0.1):
        print(f"within one spread of at least {floor}: {(error <= np.maximum(spread, floor)).mean():.3f}")


if __name__ == "__main__":
    main()
