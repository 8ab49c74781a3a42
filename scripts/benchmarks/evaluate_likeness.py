"""How much more frequent a class of crystals becomes with five examples of it.

`python scripts/benchmarks/evaluate_likeness.py --out results/likeness`: for each class, five stable members of the
prepared table are written as CIF, and `matgen design --fast --like ... --relax none` is run with them. Without
examples, the class is counted among as many templates as the prior samples (`--sampled`), and among those to which a
design without targets gives a geometry (`--chosen` candidates are asked for, and each has twelve such templates). A
crystal is of the class if its space group, occupied Wyckoff positions and anonymous formula are those of the class, and
the elements that define it occur. Intervals are Wilson's, of 95 %. The folders are resumed. Garnets, with 80 atoms in
the primitive cell, are beyond the models; spinels, with 14, stand in their place.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifWriter
from scipy.stats import binomtest

from matgen.chemistry.elements import ATOMIC_NUMBERS
from matgen.datasets.crystals import SPLITS, CrystalTable
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.presets import FAST
from matgen.generation.propose import propose
from matgen.generation.request import Request
from matgen.runtime.progress import Silence
from matgen.search.copies import NO_COPY
from matgen.search.unit_format import REJECTED_BY, read_unit
from matgen.structures.candidate import Candidate
from matgen.structures.conversion import structures, template_of
from matgen.structures.record import from_record
from matgen.structures.run_folder import all_units
from matgen.templates.batch import crystals_of
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.expand import expand
from matgen.templates.prototypes import layout, layout_label
from matgen.weights.models import load_models
from matgen.workflows.design import run

STABLE = 0.02
"""Highest energy above the hull of an example, eV/atom."""


@dataclass(frozen=True)
class Family:
    """A class of crystals.

    Attributes:
        layouts: space group and occupied Wyckoff positions, in every equivalent setting.
        atoms: atoms of each element in the primitive cell, ascending.
        anions: of which one must occur; empty for any element.
    """

    layouts: tuple[str, ...]
    atoms: tuple[int, ...]
    anions: tuple[str, ...] = ()

    def holds(self, template: CrystalTemplate | None) -> bool:
        """Tell whether a template belongs to the class."""
        if template is None or layout_label(layout(template)) not in self.layouts:
            return False
        anions = {ATOMIC_NUMBERS[symbol] for symbol in self.anions}
        composition = template.composition
        return tuple(sorted(composition.values())) == self.atoms and (not anions or bool(anions & composition.keys()))


FAMILIES = {
    "half-Heusler": Family(("216: 4a, 4b, 4c", "216: 4a, 4c, 4d"), (1, 1, 1)),
    "chalcopyrite": Family(("122: 4a, 4b, 8d",), (2, 2, 4), ("P", "As", "S", "Se", "Te")),
    "K2NiF4": Family(("139: 2a, 4c, 4e, 4e",), (1, 2, 4)),
    "MAX phase 211": Family(("194: 2a, 2c, 4f",), (2, 2, 4), ("C", "N")),
    "oxide spinel": Family(("227: 8a, 16d, 32e",), (2, 4, 8), ("O",)),
}


def examples(
    table: CrystalTable, templates: Sequence[CrystalTemplate], family: Family, folder: Path, generator: torch.Generator
) -> list[str]:
    """Write five stable training crystals of a class as CIF; return the paths."""
    fit = (table.split == SPLITS.index("train")) & (table.label("energy_above_hull") <= STABLE)
    rows = torch.tensor([i for i in fit.nonzero().ravel().tolist() if family.holds(templates[i])])
    chosen = rows[torch.randperm(len(rows), generator=generator)[:5]]
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for structure in structures(expand(*table.batch(chosen))):
        if not isinstance(structure, Structure):
            raise TypeError("expected crystals, got a molecule")
        paths.append(folder / f"{structure.composition.reduced_formula}.cif")
        CifWriter(structure, symprec=0.01).write_file(paths[-1])
    return [str(path) for path in paths]


def share(n: int, total: int) -> dict[str, float]:
    """Return a count, its denominator, and the interval of its share."""
    interval = binomtest(n, total).proportion_ci(method="wilson")
    return {"n": n, "of": total, "low": interval.low, "high": interval.high}


def counted(candidates: Sequence[Candidate], folder: Path, family: Family) -> dict[str, Any]:
    """Count the class among candidates and among all proposals, and why proposals of the class were rejected."""
    proposals = [record for path in all_units(folder) for record in read_unit(path).proposals]
    within = [one for one in proposals if family.holds(template_of(from_record(one).crystal))]
    reasons = [one[REJECTED_BY] for one in within]
    found = [one for one in candidates if family.holds(template_of(one.crystal))]
    return {
        "candidates": share(len(found), len(candidates)),
        "proposals": share(len(within), len(proposals)),
        "copies": reasons.count(NO_COPY),
        "known": reasons.count("novel"),
        "of_class": sorted({one.crystal.composition.reduced_formula for one in found}),
        "others": sorted({one.crystal.composition.reduced_formula for one in candidates if one not in found}),
    }


def without_examples(sampled: int, chosen: int, seed: int) -> dict[str, list[CrystalTemplate]]:
    """Return templates that the prior samples, and those to which a design without targets gives a geometry."""
    kind, generator = Crystals(Request.of(**FAST, n=chosen), load_models()), torch.Generator().manual_seed(seed)
    some: list[CrystalTemplate] = []
    while len(some) < sampled:
        some += crystals_of(kind.sample(min(512, sampled - len(some)), generator))
    return {"sampled": some, "chosen": crystals_of(propose(kind.request, kind, generator, Silence()))}


def main() -> None:
    """Run, count, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--table", type=Path, default=Path("cache/crystals.npz"))
    options.add_argument("--out", type=Path, default=Path("results/likeness"))
    options.add_argument("-n", type=int, default=20, help="candidates with examples, of each class")
    options.add_argument("--sampled", type=int, default=4_096, help="templates of the prior")
    options.add_argument("--chosen", type=int, default=200, help="candidates without examples, whose templates count")
    options.add_argument("--weight", type=float, default=1.0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--processes", type=int, default=1)
    options.add_argument("--classes", nargs="*", default=list(FAMILIES))
    chosen = options.parse_args()
    table = CrystalTable.load(chosen.table)
    training = crystals_of(table.templates.unbatch())
    without = {"training": training, **without_examples(chosen.sampled, chosen.chosen, chosen.seed)}
    found: dict[str, Any] = {}
    for name in chosen.classes:
        family, folder = FAMILIES[name], chosen.out / name.replace(" ", "_")
        found[name] = {how: share(sum(map(family.holds, some)), len(some)) for how, some in without.items()}
        print(name, "without:", json.dumps(found[name]), flush=True)
        like = examples(table, training, family, folder / "examples", torch.Generator().manual_seed(chosen.seed))
        request = Request.of(
            **FAST,
            like=like,
            like_weight=chosen.weight,
            n=chosen.n,
            relax="none",
            seed=chosen.seed,
            processes=chosen.processes,
            budget=3600.0,
        )
        found[name]["with"] = counted(run(request, folder / "run").candidates, folder / "run", family)
        print(name, "with:", json.dumps(found[name]["with"], ensure_ascii=False), flush=True)
    (chosen.out / "likeness.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
