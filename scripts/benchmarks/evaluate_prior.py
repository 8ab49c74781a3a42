"""The template prior: likelihood of validation templates, and quality of its samples.

`python scripts/benchmarks/evaluate_prior.py --data FOLDER`: NLL of the split `val` against independent frequencies, and
for 2,000 samples under each condition the shares that are legal, valid by SMACT, distinct, and new to the Materials
Project (FOLDER/crystals/mp24_index.parquet).
"""

import argparse
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from pymatgen.core import Composition
from torch import Tensor

from matgen.chemistry.charges import is_valid
from matgen.chemistry.elements import ATOMIC_NUMBERS, SYMBOLS
from matgen.datasets.crystals import CrystalTable
from matgen.energies.template_sampling import TemplateSampler
from matgen.nn.conditions import CRYSTAL_GRIDS, Conditions
from matgen.nn.sites import pad_sites
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import TemplateRules, is_legal
from matgen.training.template_prior import known_properties, true_conditions, unigram_nll
from matgen.workflows.data import data_folder
from shared.crystals import crystals, shipped
from shared.measurement import Measurement, Task
from shared.options import parser
from shared.page import percent, table

Formula = tuple[tuple[int, int], ...]

CONDITIONS: dict[str, tuple[float, float, float]] = {
    "nothing": (math.nan, math.nan, math.nan),
    "on the hull": (math.nan, math.nan, 0.0),
    "on the hull, gap 1.5 eV": (1.5, math.nan, 0.0),
    "on the hull, gap 3 eV": (3.0, math.nan, 0.0),
}
"""Conditions of the samples: band gap (eV), formation energy and energy above hull (eV/atom)."""


def reduced(counts: Mapping[int, int]) -> Formula:
    """Return atomic numbers and amounts of the smallest formula unit, ascending."""
    divisor = math.gcd(*counts.values())
    return tuple((z, n // divisor) for z, n in sorted(counts.items()))


def read_formula(text: str) -> Formula:
    """Return a formula such as `O4MgSb2` as by `reduced`; elements beyond plutonium have atomic number 0."""
    counts: Counter[int] = Counter()
    for symbol, n in re.findall(r"([A-Z][a-z]?)(\d*)", text):
        counts[ATOMIC_NUMBERS.get(symbol, 0)] += int(n or 1)
    return reduced(counts)


@cache
def known(data: Path) -> tuple[frozenset[Formula], frozenset[tuple[Formula, int]]]:
    """Return the formulas of the Materials Project, and the formulas with space groups."""
    columns = pq.read_table(data / "crystals" / "mp24_index.parquet", columns=["formula", "spg"]).to_pydict()
    formulas = [read_formula(text) for text in columns["formula"]]
    groups = [int(group) if group is not None and not math.isnan(group) else 0 for group in columns["spg"]]
    return frozenset(formulas), frozenset(zip(formulas, groups, strict=True))


def likelihood(task: Task) -> dict[str, float]:
    """Return the mean NLL, nats per crystal, of validation templates with their sites in random order."""
    whole = crystals(task.table)
    val = (whole.split == 1).nonzero().ravel()[:: task.how["stride"]]
    some = whole.select(torch.cat([(whole.split == 0).nonzero().ravel(), val]))
    parts: dict[str, list[Tensor]] = {"unconditional": [], "elements": [], "everything": []}
    generator = task.generator()
    for rows in (some.split == 1).nonzero().ravel().split(256):
        for name, value in _nll(some, rows, generator).items():
            parts[name].append(value)
    means = {name: torch.cat(values).mean().item() for name, values in parts.items()}
    return {"rows": len(val), "unigram": unigram_nll(some), **means}


@torch.no_grad()
def _nll(whole: CrystalTable, rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Return NLL (n,) without conditions, given the elements, and given all known conditions."""
    prior, templates = shipped().prior, whole.templates.select(rows)
    known_conditions = true_conditions(templates, known_properties(whole)[rows])
    nothing = Conditions.none(len(rows), CRYSTAL_GRIDS)
    elements = Conditions(nothing.n_atoms, known_conditions.elements, known_conditions.complete, nothing.properties)
    sites = pad_sites(templates, generator)
    given = {"unconditional": nothing, "elements": elements, "everything": known_conditions}
    return {name: -prior(conditions, templates.space_group, sites) for name, conditions in given.items()}


def samples(task: Task) -> dict[str, int]:
    """Return counts over samples under one condition."""
    n, generator = task.how["n"], task.generator()
    found: list[CrystalTemplate] = []
    for first in range(0, n, 500):
        conditions = Conditions.none(min(500, n - first), CRYSTAL_GRIDS)
        conditions.properties[:] = torch.tensor(CONDITIONS[task.how["condition"]])
        found += TemplateSampler(shipped().prior, TemplateRules()).sample(conditions, generator)
    return counts(found, n, task.how["data"])


def data_rows(task: Task) -> dict[str, int]:
    """Return the same counts over random validation crystals, of which none is new."""
    whole, n = crystals(task.table), task.how["n"]
    rows = (whole.split == 1).nonzero().ravel()
    chosen = rows[torch.randperm(len(rows), generator=task.generator())[:n]]
    return counts(whole.templates.select(chosen).unbatch(), len(chosen), task.how["data"])


def counts(templates: Sequence[CrystalTemplate], n: int, data: Path) -> dict[str, int]:
    """Return how many of n samples are complete templates, and their properties."""
    formulas, with_groups = known(data)
    own = [reduced(template.composition) for template in templates]
    valid = [is_valid(Composition({SYMBOLS[z]: count for z, count in formula})) for formula in own]
    new = [formula not in formulas for formula in own]
    return {
        "requested": n,
        "complete": len(templates),
        "legal": sum(map(is_legal, templates)),
        "smact": sum(valid),
        "distinct": len(set(templates)),
        "new_formula": sum(new),
        "new_formula_or_group": sum(
            (formula, t.space_group) not in with_groups for formula, t in zip(own, templates, strict=True)
        ),
        "smact_and_new": sum(a and b for a, b in zip(valid, new, strict=True)),
        "p1": sum(template.space_group == 1 for template in templates),
    }


def measured(task: Task) -> dict[str, Any]:
    """Run one task."""
    return {"likelihood": likelihood, "samples": samples, "data": data_rows}[task.how["kind"]](task)


def tasks_of(options: argparse.Namespace, data: Path) -> list[Task]:
    """Return tasks: the likelihood, samples per condition, and validation crystals for comparison."""
    how = {"n": options.n, "data": data}
    return [
        Task("likelihood", options.table, options.seed, how={"kind": "likelihood", "stride": options.stride}),
        *(
            Task(name, options.table, options.seed, how=how | {"kind": "samples", "condition": name})
            for name in CONDITIONS
        ),
        Task("validation crystals", options.table, options.seed, how=how | {"kind": "data"}),
    ]


def markdown(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return both tables."""
    nll = figures["likelihood"]
    names = {"unigram": "independent frequencies", "unconditional": "prior, no conditions"}
    names |= {"elements": "prior, given the elements", "everything": "prior, given elements, atoms and labels"}
    first = table(
        (f"NLL of {nll['rows']:,} validation templates", "nats per crystal"),
        [(words, f"{nll[name]:.2f}") for name, words in names.items()],
    )
    kinds = ("legal", "smact", "distinct", "new_formula", "new_formula_or_group", "smact_and_new", "p1")
    rows = [
        (name, f["requested"], *(percent(f[kind], f["requested"]) for kind in kinds))
        for name, f in figures.items()
        if name != "likelihood"
    ]
    words = ("legal", "SMACT-valid", "distinct", "new formula", "new formula or group", "valid and new formula", "P1")
    return f"{first}\n\n{table(('condition', 'samples', *words), rows)}"


def main() -> None:
    """Measure, print, record."""
    options = parser(__doc__, "prior", 2000)
    options.add_argument("--stride", type=int, default=1, help="use every STRIDE-th validation row")
    options = options.parse_args()
    measurement = Measurement(options, {"stride": options.stride})
    figures = measurement.run(measured, tasks_of(options, data_folder(options.data)))
    nll, sampled = figures["likelihood"], figures["nothing"]
    line = f"{nll['unconditional']:.2f} against {nll['unigram']:.2f} nats"
    legal, valid, new = (percent(sampled[kind], sampled["requested"]) for kind in ("legal", "smact", "new_formula"))
    share = f"of {sampled['requested']:,} samples: legal {legal}, SMACT-valid {valid}, of a new formula {new}"
    measurement.finish(figures, {"prior": markdown(figures), "bar prior": f"{line}; {share}"})


if __name__ == "__main__":
    main()
