"""Crystal structure prediction from a formula: how often the known crystal is found, and ranked first.

`python scripts/benchmarks/evaluate_csp.py`: rows of the 500 of MP-20 test, with and without the number of formula units
in the cell. `--formulas FILE` adds a table of other crystals with the columns `material_id` and `nsites`, such as the
180 of CSPBench; their structures come from the training tables. For each row, `matgen design --formula` makes its
proposals; the best 20 are relaxed by CHGNet.
"""

import csv
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from matgen.generation.generate import generate
from matgen.generation.kinds import kind_of_request
from matgen.generation.request import Request
from matgen.relaxation.pool import relaxed_together
from matgen.runtime.progress import Silence
from matgen.search.by_energy import energy_order
from matgen.templates.crystal_rules import MAX_ATOMS
from shared.crystals import MP20_MATCHER, TableStructures, crystals, sample_rows, true_structures
from shared.measurement import Measurement, Task
from shared.options import parser
from shared.page import percent, table

MOST = 20
"""Proposals of each formula that are relaxed."""

MATCHERS = {"mp20": MP20_MATCHER, "cspbench": StructureMatcher()}
"""MP-20's tolerances, and pymatgen's own (0.2, 0.3, 5°)."""

WAYS = {
    "units": "MP-20 test, formula units given",
    "formula": "MP-20 test, formula alone",
    "cspbench units": "CSPBench, formula units given",
    "cspbench formula": "CSPBench, formula alone",
}


def predicted(task: Task) -> list[dict[str, Any]]:
    """Return the proposals of one formula, best first: energies, and whether they match before and after relaxation."""
    truth, matcher = _truth(task), MATCHERS[task.how["set"]]
    units = round(len(truth) / truth.composition.reduced_composition.num_atoms) if task.how["units"] else 0
    if len(truth) > MAX_ATOMS:
        return []  # the models know no larger cells: not found
    request = Request.of(
        n=MOST // 5,
        formula=truth.composition.reduced_formula,
        formula_units=units,
        allow_known=True,
        stages={"moves": task.how["moves"]},
    )
    started = time.process_time()
    proposals = generate(request, kind_of_request(request), task.generator(), Silence())[:MOST]
    proposed = time.process_time()
    relaxed = relaxed_together([(i, one.structure, float("inf")) for i, one in enumerate(proposals)])
    seconds = [round(proposed - started, 2), round(time.process_time() - proposed, 2)]
    final = {one.index: one for one in relaxed}
    return [
        {
            "seconds": seconds,
            "order": energy_order(final[i].report.energy, one.energies),
            "before": bool(matcher.fit(truth, one.structure)),
            "after": bool(matcher.fit(truth, final[i].structure)),
        }
        for i, one in enumerate(proposals)
    ]


def _truth(task: Task) -> Structure:
    if task.how["set"] == "mp20":
        return true_structures(crystals(task.table), task.rows)[0]
    return TableStructures(Path(task.how["data"]))[task.how["material_id"]]


def figures_of(rows: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return how many rows are matched by the first and by any proposal, before and after relaxation.

    Rows without proposals count as not found; the processor time is the mean of the others.
    """
    proposed = [row[0]["seconds"] for row in rows if row]
    return {
        "rows": len(rows),
        "first": sum(bool(row) and row[0]["before"] for row in rows),
        "any": sum(any(one["before"] for one in row) for row in rows),
        "first_relaxed": sum(bool(row) and min(row, key=lambda one: one["order"])["after"] for row in rows),
        "any_relaxed": sum(any(one["after"] for one in row) for row in rows),
        "seconds": [sum(one[i] for one in proposed) / max(len(proposed), 1) for i in (0, 1)],
    }


def main() -> None:
    """Measure, print, record."""
    options = parser(__doc__, "csp", 500)
    options.add_argument("--formulas", type=Path, help="table of crystals, with the columns material_id and nsites")
    options.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    options.add_argument("--unseen", action="store_true", help="of these only crystals outside the training split")
    options.add_argument("--moves", action="store_true", help="also move templates by Metropolis–Hastings")
    options = options.parse_args()
    measurement = Measurement(options, {"moves": options.moves, "most": MOST})
    found = {}
    for way in options.ways:
        results = measurement.run(predicted, _tasks(options, way))
        if results:
            found[way] = figures_of(list(results.values()))
            if way.startswith("cspbench"):
                seen = _seen(options)
                for name, wanted in (("seen", True), ("unseen", False)):
                    if some := [value for key, value in results.items() if (key.split()[-1] in seen) == wanted]:
                        found[f"{way}, {name}"] = figures_of(some)
    header = ("rows of", "rows", "first", "any of 20", "first, relaxed", "any of 20, relaxed", "CPU-s: propose, relax")
    lines = [
        (
            _title(way),
            f["rows"],
            *(percent(f[k], f["rows"]) for k in ("first", "any", "first_relaxed", "any_relaxed")),
            f"{f['seconds'][0]:.1f}, {f['seconds'][1]:.1f}",
        )
        for way, f in found.items()
    ]
    measurement.finish(found, {"csp": table(header, lines)})


def _title(way: str) -> str:
    base, _, part = way.partition(", ")
    return WAYS[base] + {"": "", "seen": ", in the training split", "unseen": ", not in the training split"}[part]


def _tasks(options: Any, way: str) -> list[Task]:
    how = {"units": way.endswith("units"), "moves": options.moves}
    if not way.startswith("cspbench"):
        rows = sample_rows(crystals(options.table), 500)
        chosen = rows[torch.linspace(0, len(rows) - 1, min(options.n, len(rows))).round().long()].tolist()
        return [Task(f"{way} {row}", options.table, options.seed, (row,), how | {"set": "mp20"}) for row in chosen]
    if options.formulas is None:
        return []
    how |= {"set": "cspbench", "data": str(options.data)}
    known = TableStructures(options.data)
    with options.formulas.open(encoding="utf-8") as stream:
        names = [row["material_id"] for row in csv.DictReader(stream)]
    seen = _seen(options) if options.unseen else set()
    return [
        Task(f"{way} {name}", options.table, options.seed, (), how | {"material_id": name})
        for name in names
        if name in known and name not in seen
    ][: options.n]


def _seen(options: Any) -> set[str]:
    """Return the names of the crystals of the training split."""
    import pyarrow.parquet as pq

    whole = pq.read_table(options.data / "crystals" / "mp24_le20.parquet", columns=["material_id", "split"])
    return {row["material_id"] for row in whole.to_pylist() if row["split"] == "train"}


if __name__ == "__main__":
    main()
