"""Stability by two potentials: CHGNet, SevenNet-l3i5 and their consensus against the Materials Project at 0.1 eV/atom.

`python scripts/benchmarks/compare_potentials.py --data FOLDER`: the protocol of evaluate_hull.py on rows around the
limit. Rows are those whose formation energy follows the MP2020 scheme: 500 to report on, half of them above 0.1 eV/atom
(as they come), half from 0.02 to 0.1, drawn at random by --seed; and the other unstable ones with as many stable ones,
on which limits are chosen. A row above 0.1 eV/atom does not compete with itself, in either hull. Neither potential
was trained here, and both saw these crystals in their training, whatever the split.

Energies are at the PBE geometry. --energies: raw energies by SevenNet that are known (name,eV/atom); others are
computed. Rows in whose chemical system SevenNet's hull lacks phases are counted, and left out.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from pymatgen.core import Composition

from evaluate_hull import COLUMNS, TABLES, in_order, rows
from matgen.datasets.named import row_structure
from matgen.hull.hull import MARGIN, ReferenceHull, UnknownChemistryError
from matgen.relaxation.calculators import calculator_maker, kept_calculator
from matgen.relaxation.static import static_energy
from matgen.screening.hulls import hull_of
from matgen.workflows.data import data_folder
from reports.hull import FORMATION
from reports.potentials import agreement_table, figures_of, in_words, limit_table, verdict_table
from shared.measurement import Measurement, Task
from shared.options import parser

SECOND = "sevennet"
LOWEST = 0.02
"""Lowest label of a stable row that counts as around the limit, eV/atom."""
CHUNK = 20


def chosen(data: Path, n: int, seed: int) -> tuple[list[str], list[str]]:
    """Return names of rows to report on and to choose limits on, half stable, half unstable."""
    labelled = {
        name: row for name, row in rows(data).items() if row["e_form_src"] in FORMATION and row["ehull"] is not None
    }
    unstable = sorted(name for name, row in labelled.items() if row["ehull"] > MARGIN)
    stable = sorted(name for name, row in labelled.items() if LOWEST < row["ehull"] <= MARGIN)
    random = np.random.default_rng(seed)
    unstable, stable = (random.permutation(np.array(names)).tolist() for names in (unstable, stable))
    half = n // 2
    others = unstable[half:]
    return (
        in_order(data, unstable[:half] + stable[:half]),
        in_order(data, others + stable[half : half + len(others)]),
    )


@cache
def known(path: Path) -> dict[str, float]:
    """Return known raw energies by SevenNet, eV/atom."""
    lines = [line.partition(",") for line in path.read_text(encoding="utf-8").splitlines()]
    return {name: float(value) for name, _, value in lines}


@cache
def hulls() -> tuple[ReferenceHull, ReferenceHull]:
    """Return the shipped hulls of both potentials."""
    second = hull_of(SECOND)
    assert second is not None
    return ReferenceHull.load(), second


def heights(task: Task) -> list[dict[str, Any]]:
    """Return the energies above the hull of rows by both potentials, eV/atom; NaN where the hull lacks phases."""
    data, found, (first, second) = task.how["data"], [], hulls()
    some = pq.read_table(
        data / "crystals" / TABLES[0],
        columns=[*COLUMNS, "cell", "Z", "frac"],
        filters=[("material_id", "in", list(task.how["names"]))],
    ).to_pylist()
    for row in some:
        name, structure = row["material_id"], row_structure(row)
        without = (name,) if row["ehull"] > MARGIN else ()
        energy = next((known(path)[name] for path in task.how["energies"] if name in known(path)), None)
        if energy is None:
            energy = static_energy(structure, kept_calculator(calculator_maker(SECOND)))
        entry = (Composition(row["formula"]), rows(data)[name]["energy"], first.potential)
        line: dict[str, Any] = {"name": name, "formula": row["formula"], "label": row["ehull"]}
        line["first"] = first.above_hull(*entry, without=without).above_hull
        try:
            line["second"] = second.above_hull_of(structure, energy, second.potential, without=without).above_hull
        except UnknownChemistryError:
            line["second"] = None
        found.append(line)
    return found


def main() -> None:
    """Measure, print, record."""
    given = parser(__doc__, "potentials", 500)
    given.add_argument("--energies", type=Path, nargs="*", default=[], help="files of known raw energies by SevenNet")
    options = given.parse_args()
    data = data_folder(options.data)
    parts = dict(zip(("reported", "chosen on"), chosen(data, options.n, options.seed), strict=True))
    measurement = Measurement(options, {"hulls": [hull.reference.energies.sum() for hull in hulls()]})

    def measured(part: str, names: Sequence[str]) -> list[dict[str, Any]]:
        how = {"data": data, "energies": options.energies}
        chunks = [tuple(names[i : i + CHUNK]) for i in range(0, len(names), CHUNK)]
        tasks = [
            Task(f"{part} {i}", options.table, options.seed, how={**how, "names": chunk})
            for i, chunk in enumerate(chunks)
        ]
        return [line for chunk in measurement.run(heights, tasks).values() for line in chunk]

    figures = figures_of({part: measured(part, names) for part, names in parts.items()})
    tables = [verdict_table(figures), agreement_table(figures), limit_table(figures), in_words(figures)]
    measurement.finish(figures, {"potentials": "\n\n".join(tables)})


if __name__ == "__main__":
    main()
