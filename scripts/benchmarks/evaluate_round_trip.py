"""Structure → template and free parameters → structure, for every row of the training table.

`python scripts/benchmarks/evaluate_round_trip.py --data FOLDER`: compares each structure of
FOLDER/crystals/mp24_le20.parquet with the expansion of the prepared table (StructureMatcher with ltol 0.2, stol 0.3 and
5°, volumes not rescaled).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow.parquet as pq
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from matgen.datasets.named import row_structure
from matgen.structures.conversion import described, structures
from matgen.templates.batch import TemplateBatch
from matgen.templates.expand import expand
from matgen.templates.symmetry import NoTemplateError
from matgen.workflows.data import data_folder
from shared.crystals import crystals, true_structures
from shared.measurement import Measurement, Task
from shared.options import parser
from shared.page import percent, table

TOLERANCES = {"ltol": 0.2, "stol": 0.3, "angle_tol": 5, "scale": False}
MATCHER = StructureMatcher(**TOLERANCES)
AS_SUPERCELL = StructureMatcher(**TOLERANCES, primitive_cell=False, attempt_supercell=True)
FINE = 0.01  # Å; a tolerance that finds hardly any symmetry that is not there
COLUMNS = ["material_id", "formula", "cell", "Z", "frac"]
CHUNK = 1000


def cause(before: int, after: int, *, supercell: bool, fine: bool) -> str:
    """Return why a structure is not recovered.

    Args:
        before: atoms in its own cell.
        after: atoms in the expanded primitive cell; 0 if there was no template.
        supercell: whether both match if the matcher makes supercells instead of reducing each cell.
        fine: whether the structure is recovered if its symmetry is determined at 0.01 Å.
    """
    if after == 0:
        return "no template"
    if supercell:
        return "the same as a supercell; the matcher reduces the two cells differently"
    if not fine:
        return "not explained"
    if after < before:
        return "a smaller primitive cell at 0.1 Å; recovered at 0.01 Å"
    return "more symmetry at 0.1 Å than it has; recovered at 0.01 Å"


def round_trip(task: Task) -> dict[str, Any]:
    """Return failures among rows of the Parquet file, and distances of the other rows."""
    first = task.how["first"]
    path = task.how["data"] / "crystals" / "mp24_le20.parquet"
    rows = pq.read_table(path, columns=COLUMNS).slice(first, CHUNK)[: task.how["n"]].to_pylist()
    known = crystals(task.table)
    place = {name: index for index, name in enumerate(known.material_id.tolist())}
    prepared = [place[row["material_id"]] for row in rows if row["material_id"] in place]
    back = dict(zip(prepared, true_structures(known, prepared), strict=True))
    failures, distances = [], []
    for row in rows:
        own = row_structure(row)
        found = back.get(place.get(row["material_id"], -1))
        distance = MATCHER.get_rms_dist(own, found) if found else None
        if distance is None:
            name = {"material_id": row["material_id"], "formula": row["formula"]}
            failures.append(name | why(own, found))
        else:
            distances.append(float(distance[0]))
    return {"rows": len(rows), "failures": failures, "sum": sum(distances), "max": max(distances, default=0.0)}


def why(own: Structure, back: Structure | None) -> dict[str, Any]:
    """Return the cause, and the distance if both match as supercells."""
    found = None if back is None else AS_SUPERCELL.get_rms_dist(own, back)
    reason = cause(len(own), len(back or ()), supercell=found is not None, fine=_recovered(own))
    return {"cause": reason, "distance": None if found is None else float(found[0])}


def _recovered(own: Structure) -> bool:
    try:
        template, geometry = described(own, FINE)
    except NoTemplateError:
        return False
    return MATCHER.fit(own, structures(expand(TemplateBatch.of([template]), geometry))[0])


def summary(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return counts over all parts."""
    parts = list(parts)
    failures = [failure for part in parts for failure in part["failures"]]
    rows = sum(part["rows"] for part in parts)
    return {
        "rows": rows,
        "same": rows - len(failures),
        "same_as_supercell": rows - sum(failure["distance"] is None for failure in failures),
        "causes": dict(Counter(failure["cause"] for failure in failures).most_common()),
        "failures": failures,
        "mean_distance": sum(part["sum"] for part in parts) / max(rows - len(failures), 1),
        "largest_distance": max(part["max"] for part in parts),
    }


def main() -> None:
    """Measure, print, record."""
    options = parser(__doc__, "round_trip", 75_544).parse_args()
    data = data_folder(options.data)
    tasks = [
        Task(f"row {first}", options.table, 0, how={"data": data, "first": first, "n": min(CHUNK, options.n - first)})
        for first in range(0, options.n, CHUNK)
    ]
    measurement = Measurement(options, {})
    figures = summary(measurement.run(round_trip, tasks).values())
    same = f"{percent(figures['same'], figures['rows'])} of {figures['rows']:,}"
    rows = [("the same structure", f"{figures['same']:,}", percent(figures["same"], figures["rows"]))]
    rows += [(name, n, percent(n, figures["rows"])) for name, n in figures["causes"].items()]
    text = table(("after the round trip", "rows", "share"), rows)
    apart = f"{figures['mean_distance']:.5f} (largest {figures['largest_distance']:.3f})"
    text += f"\n\nMean root-mean-square distance of the rest, over (volume per atom)^(1/3): {apart}.\n"
    measurement.finish(figures, {"round_trip": text, "bar round_trip": same})


if __name__ == "__main__":
    main()
