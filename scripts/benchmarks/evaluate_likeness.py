"""How much more frequent a class of crystals becomes with five examples of it.

`python scripts/benchmarks/evaluate_likeness.py --out results/likeness -n 30 --plain 100`: for each class, five stable
members of the prepared table are written as CIF, and `matgen design --like ... --relax none` is run with them; once it
is run without. A candidate is of the class if its space group, occupied Wyckoff positions and anonymous formula are
those of the class, and the elements that define it occur. The folders are resumed. Garnets, with 80 atoms in the
primitive cell, are beyond the models; spinels, with 14, stand in their place.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest

from matgen.chemistry.elements import ATOMIC_NUMBERS
from matgen.datasets.crystals import SPLITS, CrystalTable
from matgen.generation.request import Request
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
    "chalcopyrite": Family(("122: 4a, 4b, 8d",), (2, 2, 4)),
    "K2NiF4": Family(("139: 2a, 4c, 4e, 4e",), (1, 2, 4)),
    "MAX phase 211": Family(("194: 2a, 2c, 4f",), (2, 2, 4), ("C", "N")),
    "oxide spinel": Family(("227: 8a, 16d, 32e",), (2, 4, 8), ("O",)),
}


def examples(table: CrystalTable, family: Family, folder: Path, generator: torch.Generator) -> list[str]:
    """Write five stable training crystals of a class as CIF; return the paths."""
    templates = crystals_of(table.templates.unbatch())
    fit = (table.split == SPLITS.index("train")) & (table.label("energy_above_hull") <= STABLE)
    rows = torch.tensor([i for i in fit.nonzero().ravel().tolist() if family.holds(templates[i])])
    chosen = rows[torch.randperm(len(rows), generator=generator)[:5]]
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for structure in structures(expand(*table.batch(chosen))):
        paths.append(folder / f"{structure.composition.reduced_formula}.cif")
        structure.to(filename=str(paths[-1]), symprec=0.01)
    return [str(path) for path in paths]


def counted(candidates: Sequence[Candidate], folder: Path, family: Family) -> dict[str, Any]:
    """Count the class among candidates and among all proposals, and why proposals of the class were rejected."""
    proposals = [record for path in all_units(folder) for record in read_unit(path).proposals]
    within = [one for one in proposals if family.holds(template_of(from_record(one).crystal))]
    reasons = [one[REJECTED_BY] for one in within]
    n = sum(family.holds(template_of(one.crystal)) for one in candidates)
    interval = binomtest(n, len(candidates)).proportion_ci(method="wilson")
    return {
        "class": n,
        "candidates": len(candidates),
        "low": interval.low,
        "high": interval.high,
        "proposals": len(proposals),
        "proposals_of_class": len(within),
        "copies": reasons.count(NO_COPY),
        "known": reasons.count("novel"),
        "formulas": sorted({one.crystal.composition.reduced_formula for one in candidates}),
    }


def main() -> None:
    """Run, count, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--table", type=Path, default=Path("cache/crystals.npz"))
    options.add_argument("--out", type=Path, default=Path("results/likeness"))
    options.add_argument("-n", type=int, default=30, help="candidates with examples")
    options.add_argument("--plain", type=int, default=100, help="candidates without")
    options.add_argument("--weight", type=float, default=1.0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--processes", type=int, default=1)
    options.add_argument("--classes", nargs="*", default=list(FAMILIES))
    chosen = options.parse_args()
    table = CrystalTable.load(chosen.table)
    shared = {"relax": "none", "seed": chosen.seed, "processes": chosen.processes, "budget": 600.0}
    found: dict[str, Any] = {}
    without = run(Request.of(n=chosen.plain, **shared), chosen.out / "plain").candidates
    for name in chosen.classes:
        family, folder = FAMILIES[name], chosen.out / name.replace(" ", "_")
        generator = torch.Generator().manual_seed(chosen.seed)
        like = examples(table, family, folder / "examples", generator)
        request = Request.of(like=like, like_weight=chosen.weight, n=chosen.n, **shared)
        found[name] = {
            "with": counted(run(request, folder / "run").candidates, folder / "run", family),
            "without": counted(without, chosen.out / "plain", family),
        }
        for how, one in found[name].items():
            share = f"{one['class']} of {one['candidates']} ({one['low']:.3f} to {one['high']:.3f})"
            proposed = f"{one['proposals_of_class']} of {one['proposals']}"
            rejected = f"of these copies {one['copies']}, known {one['known']}"
            print(f"{name} {how}: {share}; proposals {proposed}, {rejected}", flush=True)
    (chosen.out / "likeness.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
