"""Agreement of energies above the hull by CHGNet with those of the Materials Project.

`python scripts/benchmarks/evaluate_hull.py --data FOLDER`: four measurements.

* agreement: rows of MP-20 test with labels of the MP2020 scheme, with CHGNet's static energy, in the shipped hull; then
  with each row left out of its own hull.
* signed: the same rows against hulls of labelled rows only, each row left out of its own: one hull of labels, one of
  CHGNet's energies. A row may lie below its hull, so agreement shows on both sides of zero.
* verdicts: all labelled rows, with the unstable ones, at 0.1 eV/atom.
* relaxation: the energy gained by a relaxation with CHGNet, for a sample near the hull with up to 12 atoms.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from pymatgen.core import Composition

from matgen.datasets.named import row_structure
from matgen.hull.hull import ReferenceHull
from matgen.hull.reference import Reference, elements_of
from matgen.relaxation.calculators import chgnet_calculator
from matgen.relaxation.symmetric import relax
from matgen.workflows.data import data_folder
from reports.hull import (
    FORMATION,
    LARGEST,
    Row,
    agreement_figures,
    agreement_table,
    bar,
    in_words,
    limit_tables,
    relaxation_figures,
    signed_figures,
    verdict_figures,
    verdict_table,
)
from shared.measurement import Measurement, Task
from shared.options import parser

TABLES = ("mp24_le20.parquet", "mp24_gt20_on_hull.parquet")
COLUMNS = ["material_id", "formula", "n_atoms", "e_form", "e_form_src", "ehull", "ehull_src"]
CHUNK = 400
LABELS = "labels"


@cache
def rows(data: Path) -> dict[str, Row]:
    """Return all phases with CHGNet's energy, by name."""
    crystals = data / "crystals"
    energy = dict(zip(*pq.read_table(crystals / "chgnet_energies.parquet").to_pydict().values(), strict=True))
    found = pq.read_table(crystals / TABLES[0], columns=[*COLUMNS, "split", "mp20_split"]).to_pylist()
    found += pq.read_table(crystals / TABLES[1], columns=COLUMNS).to_pylist()
    return {
        row["material_id"]: {**row, "energy": energy[row["material_id"]]}
        for row in found
        if row["material_id"] in energy
    }


def test_rows(data: Path) -> list[str]:
    """Return the rows of MP-20 test with formation energies of the MP2020 scheme, sorted by chemical system."""
    wanted = (
        name
        for name, row in rows(data).items()
        if row.get("mp20_split") == "test" and row["e_form_src"] in FORMATION and row["ehull"] is not None
    )
    return in_order(data, wanted)


def in_order(data: Path, names: Iterable[str]) -> list[str]:
    """Sort rows by chemical system."""
    return sorted(names, key=lambda name: (elements_of(rows(data)[name]["formula"]), name))


@cache
def shipped() -> ReferenceHull:
    """Return the shipped hull."""
    return ReferenceHull.load()


@cache
def labelled(data: Path, energies: str) -> ReferenceHull:
    """Return a hull of the rows with formation energies of the MP2020 scheme: of their labels, or of CHGNet."""
    known = {name: row for name, row in rows(data).items() if row["e_form_src"] in FORMATION}
    elements = sorted(shipped().elements)
    if energies == LABELS:
        zero = [0.0] * len(elements)
        values = [row["e_form"] for row in known.values()]
    else:
        zero = [lowest(element) for element in elements]
        values = [row["energy"] for row in known.values()]
    n = len(elements) + len(known)
    formulas = (*elements, *(row["formula"] for row in known.values()))
    energy = np.array([*zero, *values])
    reference = Reference(energies, (*elements, *known), formulas, energy, np.zeros(n), np.zeros(n, dtype=bool))
    return ReferenceHull(reference)


def lowest(element: str) -> float:
    """Return the reference energy of an element by CHGNet, eV/atom."""
    found = shipped().above_hull(Composition(element), 0.0, shipped().potential)
    return -found.above_hull


def agreement(task: Task) -> list[dict[str, float]]:
    """Return the static energies above the hull of rows, with and without their own entry."""
    hull, found = shipped(), []
    for name in task.how["names"]:
        row = rows(task.how["data"])[name]
        entry = (Composition(row["formula"]), row["energy"], hull.potential)
        inside, outside = (hull.above_hull(*entry, without=left_out).above_hull for left_out in ((), (name,)))
        found.append({"inside": inside, "outside": outside})
    return found


def signed(task: Task) -> list[dict[str, float]]:
    """Return energies above hulls of labelled rows, without the own entry: by labels, and by CHGNet."""
    by_label, by_potential = (labelled(task.how["data"], energies) for energies in (LABELS, shipped().potential))
    found = []
    for name in task.how["names"]:
        row = rows(task.how["data"])[name]
        composition = Composition(row["formula"])
        label = by_label.above_hull(composition, row["e_form"], LABELS, without=(name,)).above_hull
        height = by_potential.above_hull(composition, row["energy"], by_potential.potential, without=(name,)).above_hull
        found.append({"label": label, "height": height})
    return found


def verdicts(task: Task) -> list[float]:
    """Return the static energies above the hull of rows."""
    hull = shipped()
    some = (rows(task.how["data"])[name] for name in task.how["names"])
    return [hull.above_hull(Composition(row["formula"]), row["energy"], hull.potential).above_hull for row in some]


def relaxation(task: Task) -> list[dict[str, Any]]:
    """Return the energy gained by a relaxation, per row."""
    calculator, found = chgnet_calculator(), []
    path = task.how["data"] / "crystals" / TABLES[0]
    some = pq.read_table(
        path, columns=["material_id", "cell", "Z", "frac"], filters=[("material_id", "in", list(task.how["names"]))]
    ).to_pylist()
    for row in some:
        report = relax(row_structure(row), calculator)[1]
        found.append(
            {
                "name": row["material_id"],
                "static": report.energy_before - rows(task.how["data"])[row["material_id"]]["energy"],
                "lowered": report.energy_before - report.energy,
                "converged": report.converged,
            }
        )
    return found


def chunked(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Split names into parts."""
    return [tuple(names[i : i + CHUNK]) for i in range(0, len(names), CHUNK)]


def near_sample(known: Mapping[str, Row], n: int) -> list[str]:
    """Return a random sample of compounds near the hull with few atoms."""
    small = [
        name
        for name in shipped().reference.names
        if name in known and known[name]["n_atoms"] <= LARGEST and len(elements_of(known[name]["formula"])) > 1
    ]
    return sorted(np.random.default_rng(0).choice(small, n, replace=False).tolist())


def main() -> None:
    """Measure, print, record."""
    options = parser(__doc__, "hull", 7065).parse_args()
    data = data_folder(options.data)
    known = rows(data)
    tested = test_rows(data)[: options.n]
    with_label = in_order(data, (name for name, row in known.items() if row["ehull"] is not None))
    energies = shipped().reference.energies
    measurement = Measurement(options, {"reference": hashlib.sha256(energies.tobytes()).hexdigest()})

    def measured(work: Callable[[Task], list[Any]], names: Sequence[str]) -> list[Any]:
        tasks = [
            Task(f"{work.__name__} {i}", options.table, 0, how={"data": data, "names": part})
            for i, part in enumerate(chunked(names))
        ]
        return [value for part in measurement.run(work, tasks).values() for value in part]

    static = np.array(measured(verdicts, with_label))
    figures = agreement_figures(tested, measured(agreement, tested), known)
    figures["signed"] = signed_figures(measured(signed, tested))
    figures |= verdict_figures(with_label, static, known)
    figures["relaxation"] = relaxation_figures(measured(relaxation, near_sample(known, 60)), static)
    tables = [agreement_table(figures["agreement"]), verdict_table(figures["verdicts"]), *limit_tables(figures)]
    measurement.finish(figures, {"hull": "\n\n".join([*tables, *in_words(figures)]), "bar hull": bar(figures)})


if __name__ == "__main__":
    main()
