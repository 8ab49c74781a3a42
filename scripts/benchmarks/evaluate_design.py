"""Complete designs: how often predictor and evaluator see the target met, and whether the candidates are sound.

`python scripts/benchmarks/evaluate_design.py --data FOLDER`: 100 candidates for 1.5 eV, and half as many each for 0.5
and 3.0 eV and without a target, relaxed by CHGNet and at most 0.1 eV/atom above the hull. Every share is of the number
requested. Writes docs/figures/gaps.png.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from evaluate_prior import known, reduced
from matgen.checks.contacts import closest_contact
from matgen.chemistry.charges import is_valid
from matgen.generation.request import Request
from matgen.novelty.duplicates import unique
from matgen.search.assessment import predictions
from matgen.search.unit_format import read_unit
from matgen.structures.candidate import Candidate
from matgen.structures.cif import displacement, read_cif
from matgen.structures.record import from_record
from matgen.structures.run_folder import all_units
from matgen.structures.symmetry import space_group
from matgen.weights.models import load
from matgen.workflows.data import data_folder
from matgen.workflows.design import run
from reports.design import baseline, markdown, plot, shares, soundness
from shared.crystals import known_crystals
from shared.measurement import Measurement, Task, read_lines
from shared.options import parser
from shared.page import percent

WHOLE = 1.5  # eV; every other target, and none, gets half as many candidates
BUDGET = 600.0  # minutes, enough for every run to find all candidates
LOOKED_AT = 300  # proposals per run that the evaluator predicts
UNSCALED = StructureMatcher(scale=False)


def designed(task: Task) -> dict[str, Any]:
    """Run a design, or resume it, and return its results."""
    target, n = task.how["target"], task.how["n"]
    targets = {} if target is None else {"band_gap": target}
    request = Request.of(targets=targets, n=n, seed=task.seed, processes=1, budget=BUDGET)
    folder = task.how["folder"] / task.key
    outcome = run(request, folder)
    groups = known(task.how["data"])[0]
    index = known_crystals(task.how["data"])
    same = unique(candidate.structure for candidate in outcome.candidates)
    seconds: Counter[str] = Counter()
    for stage in json.loads((folder / "run.json").read_text(encoding="utf-8"))["stages"]:
        seconds[stage["name"]] += stage["seconds"]
    return {
        "requested": n,
        "looked_at": outcome.proposals,
        "rejected": outcome.rejected,
        "candidates": [
            described(candidate, folder)
            | {
                "distinct": same[i] == i,
                "new": formula(candidate.structure) not in groups,
                "novel": index.find(candidate.structure) is None,
            }
            for i, candidate in enumerate(outcome.candidates)
        ],
        "proposals": list(proposals(folder)),
        "relaxed": list(relaxed(folder, outcome.candidates)),
        "seconds": dict(seconds),
    }


def formula(structure: Structure) -> tuple[tuple[int, int], ...]:
    """Return atomic numbers and amounts of the smallest formula unit."""
    numbers = list(structure.atomic_numbers)
    return reduced({z: numbers.count(z) for z in set(numbers)})


def described(candidate: Candidate, folder: Path) -> dict[str, Any]:
    """Return the properties of a candidate, recalculated where its verdicts would do."""
    structure = candidate.structure
    back = read_cif((folder / "cif" / f"{candidate.name}.cif").read_text(encoding="utf-8"))
    return {
        "formula": structure.composition.reduced_formula,
        "predictor": candidate.properties["band_gap"].value,
        "evaluator": candidate.properties["evaluator_band_gap"].value,
        "above_hull": candidate.verdicts["hull"].value,
        "is_minimum": candidate.verdicts["is_minimum"].passed,
        "smact": is_valid(structure.composition),
        "space_group": space_group(structure).number,
        "contact": round(closest_contact(structure).ratio, 4),
        "reads_back": back is not None and not math.isnan(displacement(structure, back)),
    }


def proposals(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield gaps and charges of proposals of the first units, as they were before relaxation."""
    evaluator = load("evaluator")
    predictor = load("structure_properties")
    lines = [line for path in sorted(all_units(folder), key=number_of) for line in read_unit(path).proposals]
    step = max(1, len(lines) // LOOKED_AT)
    for line in lines[::step]:
        candidate = from_record(line)
        unrelaxed = candidate.unrelaxed
        yield {
            "predictor": predictions(predictor, unrelaxed)["band_gap"].value,
            "evaluator": predictions(evaluator, unrelaxed)["band_gap"].value,
            "smact": is_valid(unrelaxed.composition),
            "contact": round(closest_contact(unrelaxed).ratio, 4),
        }


def number_of(path: Path) -> int:
    """Return the number of a unit."""
    return int(path.stem)


def relaxed(folder: Path, candidates: Sequence[Candidate]) -> Iterator[dict[str, Any]]:
    """Yield the outcome of the relaxations of candidates and of rejected proposals."""
    rejected = [from_record(line) for line in read_lines(folder / "rejected.jsonl")]
    for candidate in (*candidates, *rejected):
        report = candidate.relaxation
        if report is None:
            continue
        before, after = candidate.unrelaxed, candidate.structure
        found = UNSCALED.get_rms_dist(before, after)
        length = (after.volume / len(after)) ** (1 / 3)
        yield {
            "converged": report.converged,
            "steps": report.steps,
            "rmsd": None if found is None else float(found[0]) * length,
            "symmetry_kept": candidate.verdicts["symmetry"].passed if "symmetry" in candidate.verdicts else None,
        }


def tasks_of(options: argparse.Namespace, folder: Path) -> list[Task]:
    """Return a run for each target and one without."""
    data = data_folder(options.data)
    wanted = {target: options.n if target == WHOLE else options.n // 2 for target in (WHOLE, 0.5, 3.0, None)}
    return [
        Task(
            "no target" if target is None else f"{target:g} eV",
            options.table,
            options.seed,
            how={"target": target, "n": n, "data": data, "folder": folder},
        )
        for target, n in wanted.items()
    ]


def main() -> None:
    """Measure, print, record, plot."""
    options = parser(__doc__, "design", 100)
    options.add_argument("--figure", type=Path, default=Path("docs/figures/gaps.png"))
    options = options.parse_args()
    measurement = Measurement(options, {"budget": BUDGET})
    tasks = tasks_of(options, options.out.parent / "designs" / measurement.fingerprint)
    found = measurement.run(designed, tasks)
    figures = {task.key: shares(found[task.key], task.how["target"]) for task in tasks}
    plot(found, options.figure)
    without = {kind: baseline(found["no target"]["candidates"], kind) for kind in ("predictor", "evaluator")}
    met = "; ".join(
        f"{name}: {percent(f['predictor'], f['requested'])} / {percent(f['evaluator'], f['requested'])}"
        for name, f in figures.items()
        if f["predictor"] is not None
    )
    line = "\n\nWithout a target, within ±0.25 eV of the same targets by the evaluator: "
    line += ", ".join(f"{share} of {name}" for name, share in without["evaluator"].items()) + "."
    line += "\n\n![Predicted gaps of proposals and candidates, with and without a target](../figures/gaps.png)\n"
    suns = (f"{name}: {percent(f['sun'], f['requested'])} of {f['requested']}" for name, f in figures.items())
    places = {"design": markdown(figures) + line, "bar design": met, "bar returned": "; ".join(suns)}
    measurement.finish({"runs": figures, "baseline": without}, places | {"bar sound": soundness(figures)})


if __name__ == "__main__":
    main()
