"""Metrics of molecules on published data: agreement with published values.

`python scripts/benchmarks/evaluate_molecule_metrics.py --data FOLDER`: stability, validity, uniqueness and novelty of
the 10,000 molecules of G-SchNet for which EDM published figures (FOLDER/molecules/gschnet_samples.npz), and of QM9
itself, from the geometries of cache/molecules.npz; Jensen–Shannon distances of the molecules of G-SchNet, and of QM9's
validation split, to QM9's test split. A molecule is novel if it is not in the training split.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np

from matgen.datasets.molecules import MoleculeTable
from matgen.metrics.molecule_distributions import Histogram, distribution_distances, histograms
from matgen.metrics.molecules import (
    AtomSets,
    MoleculeMetrics,
    MoleculeValidity,
    assess_molecules,
    known_smiles,
    molecule_metrics,
    perceived_molecules,
)
from shared.measurement import Measurement, Task
from shared.options import parser
from shared.page import table

SPLITS = ("train", "valid", "test")
SETS = {"gschnet": "G-SchNet"} | {split: f"QM9, {split}" for split in SPLITS}

PUBLISHED = {
    "gschnet": {"atom_stability": 95.7, "molecule_stability": 68.1, "validity": 85.5, "valid_and_unique": 80.3},
    "test": {"atom_stability": 99.0, "molecule_stability": 95.2, "validity": 97.7, "valid_and_unique": 97.7},
}
"""Per cent, tables 1 and 2 of EDM (Hoogeboom et al. 2022), which do not name the split of QM9."""

SHARES = {
    "atom_stability": ("stable atoms", "stable_atoms", "n_atoms"),
    "molecule_stability": ("stable molecules", "stable_molecules", "n_molecules"),
    "validity": ("valid", "valid", "n_molecules"),
    "valid_and_unique": ("valid and unique", "unique", "n_molecules"),
    "connected": ("valid, in one piece", "connected", "n_molecules"),
    "novelty": ("novel of the unique", "novel", "unique"),
}
LEAST = 1000
"""Smallest number of values in the test split of a quantity whose distance is shown."""


@dataclass(frozen=True)
class Source:
    """Where the sets come from.

    Attributes:
        prepared: prepared table of molecules.
        data: folder of the training tables.
        n: largest number of molecules per set, chosen at random.
        seed: seed of the choice.
    """

    prepared: Path
    data: Path
    n: int
    seed: int

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return the source of a task."""
        return cls(task.table, Path(task.how["data"]), task.how["n"], task.seed)


@cache
def atoms(name: str, source: Source) -> AtomSets:
    """Return a set of molecules as atoms in space."""
    if name == "gschnet":
        with np.load(source.data / "molecules" / "gschnet_samples.npz") as raw:
            found = AtomSets(raw["Z"].astype(np.int64), raw["R"].astype(float), raw["n_atoms"].astype(np.int64))
    else:
        whole = MoleculeTable.load(source.prepared)
        some = whole.select(whole.split == SPLITS.index(name))
        elements, owner = some.templates.site_element.numpy(), some.templates.site_system.numpy()
        sizes = np.bincount(owner, minlength=len(some))
        found = AtomSets(elements, some.geometry.coords.numpy().astype(float), sizes)
    if len(found) <= source.n:
        return found
    return found.select(np.random.default_rng(source.seed).permutation(len(found))[: source.n])


@cache
def assessed_set(name: str, source: Source) -> list[MoleculeValidity]:
    """Return the verdicts of EDM's protocol on each molecule of a set."""
    return assess_molecules(atoms(name, source))


@cache
def distributions(name: str, source: Source) -> dict[str, Histogram]:
    """Return distributions over the valid molecules of a set, with the bonds of the protocol."""
    return histograms(perceived_molecules(atoms(name, source)))


def measured(task: Task) -> dict[str, Any]:
    """Run one task: counts of a set, or its distances to QM9's test split."""
    source = Source.of(task)
    kind, _, name = task.key.partition(" ")
    if kind == "counts":
        known = None if name == "train" else known_smiles(assessed_set("train", source))
        return asdict(molecule_metrics(assessed_set(name, source), known))
    found = distribution_distances(distributions(name, source), distributions("test", source))
    return {one.name: asdict(one) for one in found if one.n and one.n_other >= LEAST}


def hundredths(part: int, whole: int) -> str:
    """Return a share such as `68.05 %`, with one digit more than the paper."""
    return f"{100 * part / whole:.2f} %"


def summary(counts: MoleculeMetrics) -> str:
    """Return the four shares that papers report."""
    shares = [(words, getattr(counts, part), getattr(counts, whole)) for words, part, whole in SHARES.values()][:4]
    shown = ", ".join(f"{words} {hundredths(part, whole)}" for words, part, whole in shares)
    return f"{shown} of {counts.n_molecules:,}"


def markdown(found: Mapping[str, Any]) -> str:
    """Return tables of counts beside published figures, and of distances."""
    rows = []
    for name, title in SETS.items():
        counts = MoleculeMetrics(**found[f"counts {name}"])
        for share, (words, part, whole) in SHARES.items():
            above, below = getattr(counts, part), getattr(counts, whole)
            if above is not None:
                published = PUBLISHED.get(name, {}).get(share)
                rows.append(
                    (
                        title,
                        words,
                        hundredths(above, below),
                        f"{above:,} of {below:,}",
                        "" if published is None else f"{published} %",
                    )
                )
    first = table(("set", "share", "ours", "counts", "EDM's paper"), rows)
    theirs, floor = found["distances gschnet"], found["distances valid"]
    rows = [
        (
            name,
            f"{one['width']:g} {one['unit']}".strip(),
            f"{one['value']:.3f} ({one['n']:,})",
            f"{floor[name]['value']:.3f} ({floor[name]['n']:,})",
            f"{one['n_other']:,}",
        )
        for name, one in theirs.items()
    ]
    second = table(("quantity", "bins", "G-SchNet (values)", "QM9 valid (values)", "values in QM9 test"), rows)
    return f"{first}\n\nJensen–Shannon distances to QM9 test, base 2:\n\n{second}"


if __name__ == "__main__":
    found_parser = parser(__doc__, "molecule_metrics", 100_000, 1)
    found_parser.set_defaults(table=Path("cache/molecules.npz"))
    options = found_parser.parse_args()
    measurement = Measurement(options, {"least": LEAST})
    keys = [f"counts {name}" for name in SETS] + [f"distances {name}" for name in ("gschnet", "valid")]
    how = {"data": str(options.data), "n": options.n}
    found = measurement.run(measured, [Task(key, options.table, options.seed, (), how) for key in keys])
    peer, test = (MoleculeMetrics(**found[f"counts {name}"]) for name in ("gschnet", "test"))
    bar = f"G-SchNet: {summary(peer)}; QM9 test: {summary(test)}"
    measurement.finish(found, {"molecule metrics": markdown(found), "bar molecule metrics": bar})
