"""Metrics of molecules on published data by the code of the package: do they come out as published?

`python scripts/benchmarks/evaluate_molecule_metrics.py --data FOLDER`: stability, validity, uniqueness and novelty of the 10,000
molecules of G-SchNet that EDM published its figures of (FOLDER/molecules/gschnet_samples.npz), and of QM9 itself, from
the geometries of cache/molecules.npz; Jensen–Shannon distances of the molecules of G-SchNet, and of QM9's validation
split, to QM9's test split. Novel is what is not in the training split.
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
"""Per cent, tables 1 and 2 of EDM (Hoogeboom et al. 2022); of QM9 they do not say which split is meant."""

SHARES = {
    "atom_stability": ("stable atoms", "stable_atoms", "n_atoms"),
    "molecule_stability": ("stable molecules", "stable_molecules", "n_molecules"),
    "validity": ("valid", "valid", "n_molecules"),
    "valid_and_unique": ("valid and unique", "unique", "n_molecules"),
    "connected": ("valid, in one piece", "connected", "n_molecules"),
    "novelty": ("novel of the unique", "novel", "unique"),
}
LEAST = 1000
"""Values of a quantity in the test split, at least, for its distance to be shown."""


@dataclass(frozen=True)
class Source:
    """Where the sets come from.

    Attributes:
        prepared: table of molecules.
        data: folder of training tables.
        n: molecules of each set at most; which ones is drawn.
        seed: of the draw.
    """

    prepared: Path
    data: Path
    n: int
    seed: int

    @classmethod
    def of(cls, task: Task) -> Self:
        """As the task says."""
        return cls(task.table, Path(task.how["data"]), task.how["n"], task.seed)


@cache
def atoms(name: str, source: Source) -> AtomSets:
    """A set of molecules as atoms in space."""
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
def judged_set(name: str, source: Source) -> list[MoleculeValidity]:
    """What the protocol says of each molecule of a set."""
    return assess_molecules(atoms(name, source))


@cache
def distributions(name: str, source: Source) -> dict[str, Histogram]:
    """Distributions over the valid molecules of a set, all with the bonds that the protocol sees."""
    return histograms(perceived_molecules(atoms(name, source)))


def measured(task: Task) -> dict[str, Any]:
    """One part: the counts of a set, or its distances to QM9's test split."""
    source = Source.of(task)
    kind, _, name = task.key.partition(" ")
    if kind == "counts":
        known = None if name == "train" else known_smiles(judged_set("train", source))
        return asdict(molecule_metrics(judged_set(name, source), known))
    found = distribution_distances(distributions(name, source), distributions("test", source))
    return {one.name: asdict(one) for one in found if one.n and one.n_other >= LEAST}


def hundredths(part: int, whole: int) -> str:
    """`68.05 %`: the paper's tenths, and one figure more to see how they were rounded."""
    return f"{100 * part / whole:.2f} %"


def summary(counts: MoleculeMetrics) -> str:
    """The four shares that papers print."""
    shares = [(words, getattr(counts, part), getattr(counts, whole)) for words, part, whole in SHARES.values()][:4]
    shown = ", ".join(f"{words} {hundredths(part, whole)}" for words, part, whole in shares)
    return f"{shown} of {counts.n_molecules:,}"


def markdown(found: Mapping[str, Any]) -> str:
    """Counts of each set beside published figures, then distances."""
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
