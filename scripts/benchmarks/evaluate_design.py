"""Whole designs: are the targets met by the model that guides and by the judge, and are the candidates sound?

`python scripts/benchmarks/evaluate_design.py --data FOLDER`: 100 candidates for 1.5 eV, and half as many each for 0.5 and 3.0 eV
and without a wish, relaxed by CHGNet and at most 0.1 eV/atom above the hull. Every share is of the number requested.
Draws docs/figures/gaps.png.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from evaluate_prior import known, reduced
from matgen.checks.contacts import closest_contact
from matgen.checks.crystals import MIN_CONTACT
from matgen.chemistry.charges import is_valid
from matgen.generation.request import Request
from matgen.hull.hull import is_stable
from matgen.novelty.duplicates import unique
from matgen.search.selection import predictions
from matgen.structures.candidate import Candidate
from matgen.structures.cif import displacement, read_cif
from matgen.structures.record import from_record
from matgen.structures.symmetry import space_group
from matgen.targets.properties import PROPERTIES
from matgen.weights.models import load
from matgen.workflows.data import data_folder
from matgen.workflows.design import run
from shared.crystals import known_crystals
from shared.measurement import Measurement, Task, read_lines
from shared.options import parser
from shared.page import percent, table

TARGETS = (0.5, 1.5, 3.0)  # eV
TOLERANCE = PROPERTIES["band_gap"].tolerance
WHOLE = 1.5  # eV; half of the candidates at every other target, and without one
BUDGET = 600.0  # minutes: enough for any run to find all that it is asked for
MAX_EHULL = 0.1  # eV/atom
LOOKED_AT = 300  # proposals of a run that the judge is asked about
UNSCALED = StructureMatcher(scale=False)


def designed(task: Task) -> dict[str, Any]:
    """One run of the workflow, resumed if it was begun, and what came of it."""
    target, n = task.how["target"], task.how["n"]
    asked = {} if target is None else {"band_gap": target}
    request = Request.of(targets=asked, n=n, seed=task.seed, processes=1, budget=BUDGET)
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
    """Atomic numbers and atoms of the smallest formula unit."""
    numbers = list(structure.atomic_numbers)
    return reduced({z: numbers.count(z) for z in set(numbers)})


def described(candidate: Candidate, folder: Path) -> dict[str, Any]:
    """What is asked of a candidate, found anew rather than read from its verdicts."""
    structure = candidate.structure
    back = read_cif((folder / "cif" / f"{candidate.name}.cif").read_text(encoding="utf-8"))
    return {
        "formula": structure.composition.reduced_formula,
        "predictor": candidate.properties["band_gap"].value,
        "evaluator": candidate.properties["evaluator_band_gap"].value,
        "above_hull": candidate.verdicts["hull"].value,
        "falls_back": candidate.verdicts["falls_back"].passed,
        "smact": is_valid(structure.composition),
        "space_group": space_group(structure).number,
        "contact": round(closest_contact(structure).ratio, 4),
        "reads_back": back is not None and not math.isnan(displacement(structure, back)),
    }


def proposals(folder: Path) -> Iterator[dict[str, Any]]:
    """Gaps and charges of the first round's proposals, before any of them was turned away."""
    evaluator = load("evaluator")
    lines = read_lines(folder / "proposals-0.jsonl")
    step = max(1, len(lines) // LOOKED_AT)
    for line in lines[::step]:
        candidate = from_record(line)
        yield {
            "predictor": candidate.properties["band_gap"].value,
            "evaluator": predictions(evaluator, candidate.structure)["band_gap"].value,
            "smact": is_valid(candidate.structure.composition),
            "contact": round(closest_contact(candidate.structure).ratio, 4),
        }


def relaxed(folder: Path, candidates: Sequence[Candidate]) -> Iterator[dict[str, Any]]:
    """How the relaxations of candidates and of rejected proposals went."""
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


def shares(found: Mapping[str, Any], target: float | None) -> dict[str, Any]:
    """Counts of one run; `requested` is the denominator of all of them."""
    candidates = found["candidates"]

    def met(kind: str, rows: Sequence[Mapping[str, Any]]) -> int | None:
        return None if target is None else sum(abs(row[kind] - target) <= TOLERANCE for row in rows)

    return {
        "requested": found["requested"],
        "found": len(candidates),
        "predictor": met("predictor", candidates),
        "evaluator": met("evaluator", candidates),
        "smact": sum(row["smact"] for row in candidates),
        "symmetric": sum(row["space_group"] != 1 for row in candidates),
        "no_contact": sum(row["contact"] >= MIN_CONTACT for row in candidates),
        "distinct": sum(row["distinct"] for row in candidates),
        "reads_back": sum(row["reads_back"] for row in candidates),
        "new_formula": sum(row["new"] for row in candidates),
        "novel": sum(row["novel"] for row in candidates),
        "on_hull": sum(is_stable(row["above_hull"], 0.0) for row in candidates),
        "falls_back": sum(row["falls_back"] for row in candidates),
        "sun": sum(is_stable(row["above_hull"], MAX_EHULL) and row["distinct"] and row["novel"] for row in candidates),
        "mean_above_hull": fmean([row["above_hull"] for row in candidates] or [math.nan]),
        "evaluator_mean_error": None
        if target is None
        else fmean([abs(row["evaluator"] - target) for row in candidates] or [0]),
        "proposals": len(found["proposals"]),
        "proposals_predictor": met("predictor", found["proposals"]),
        "proposals_evaluator": met("evaluator", found["proposals"]),
        "proposals_smact": sum(row["smact"] for row in found["proposals"]),
        "looked_at": found["looked_at"],
        "rejected": found["rejected"],
        "seconds": found["seconds"],
        "relaxations": _relaxations(found["relaxed"]),
    }


def _relaxations(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    if not rows:
        return None
    moved = [row["rmsd"] for row in rows if row["rmsd"] is not None]
    return {
        "relaxed": len(rows),
        "converged": sum(row["converged"] for row in rows),
        "symmetry_kept": sum(row["symmetry_kept"] is not False for row in rows),
        "median_steps": median(row["steps"] for row in rows),
        "comparable": len(moved),
        "mean_rmsd": fmean(moved) if moved else None,
        "median_rmsd": median(moved) if moved else None,
    }


def baseline(rows: Sequence[Mapping[str, Any]], kind: str) -> dict[str, str]:
    """How often each target is met by designs that wished for nothing."""
    return {f"{t:g} eV": percent(sum(abs(row[kind] - t) <= TOLERANCE for row in rows), len(rows)) for t in TARGETS}


REQUESTED = {
    "found": "found",
    "predictor": "gap by guide",
    "evaluator": "gap by judge",
    "sun": "S.U.N. ≤ 0.1",
    "on_hull": "on or below the hull",
    "falls_back": "falls back",
    "new_formula": "new formula",
}
SOUND = {
    "smact": "SMACT",
    "symmetric": "not P1",
    "no_contact": "no contact < 0.7",
    "distinct": "distinct",
    "novel": "novel by `StructureMatcher`",
    "reads_back": "CIF reads back",
}


def markdown(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Candidates, then proposals, then relaxations."""
    first = "\n\n".join(_shares_table(figures, words) for words in (REQUESTED, SOUND))
    raw = [
        (
            name,
            f["proposals"],
            *(
                "–" if f[k] is None else percent(f[k], f["proposals"])
                for k in ("proposals_predictor", "proposals_evaluator", "proposals_smact")
            ),
            f"{sum(f['seconds'].values()):.0f}",
        )
        for name, f in figures.items()
    ]
    second = table(("proposals of", "looked at", "gap by guide", "gap by judge", "SMACT", "seconds of the run"), raw)
    third = [
        (
            name,
            r["relaxed"],
            percent(r["converged"], r["relaxed"]),
            f"{r['median_steps']:.0f}",
            percent(r["symmetry_kept"], r["relaxed"]),
            "–" if r["mean_rmsd"] is None else f"{r['mean_rmsd']:.3f} / {r['median_rmsd']:.3f}",
        )
        for name, f in figures.items()
        if (r := f["relaxations"])
    ]
    words = ("relaxations of", "n", "converged", "median steps", "symmetry kept", "mean / median RMSD to relaxed, Å")
    return f"{first}\n\n{second}\n\n{table(words, third)}"


def _shares_table(figures: Mapping[str, Mapping[str, Any]], words: Mapping[str, str]) -> str:
    rows = [
        (name, f["requested"], *("–" if f[k] is None else percent(f[k], f["requested"]) for k in words))
        for name, f in figures.items()
    ]
    return table(("run", "requested", *words.values()), rows)


def sample(found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Histograms of predicted gaps: proposals and candidates, by the guide and by the judge."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharex=True, constrained_layout=True)
    bins = [0.2 * i for i in range(31)]
    for column, (group, words) in enumerate((("proposals", "proposals, unselected"), ("candidates", "candidates"))):
        for row, kind in enumerate(("predictor", "evaluator")):
            for name, one in found.items():
                values = [min(x[kind], bins[-1]) for x in one[group]]
                weights = [1 / max(len(values), 1)] * len(values)
                style = {"color": "0.6", "fill": True, "alpha": 0.5} if name == "no wish" else {"fill": False}
                axes[row][column].hist(values, bins, weights=weights, histtype="step", label=name, lw=1.6, **style)
            axes[row][column].set_title(f"{words}, by the {kind}", fontsize=10)
    for axis in axes[1]:
        axis.set_xlabel("predicted PBE gap / eV")
    for axis in axes[:, 0]:
        axis.set_ylabel("share")
    axes[0][0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def tasks_of(options: argparse.Namespace, folder: Path) -> list[Task]:
    """A run for each target and one without."""
    data = data_folder(options.data)
    wanted = {target: options.n if target == WHOLE else options.n // 2 for target in (WHOLE, 0.5, 3.0, None)}
    return [
        Task(
            "no wish" if target is None else f"{target:g} eV",
            options.table,
            options.seed,
            how={"target": target, "n": n, "data": data, "folder": folder},
        )
        for target, n in wanted.items()
    ]


def main() -> None:
    """Measure, print, record, draw."""
    options = parser(__doc__, "design", 100)
    options.add_argument("--figure", type=Path, default=Path("docs/figures/gaps.png"))
    options = options.parse_args()
    measurement = Measurement(options, {"budget": BUDGET})
    tasks = tasks_of(options, options.out.parent / "designs" / measurement.fingerprint)
    found = measurement.run(designed, tasks)
    figures = {task.key: shares(found[task.key], task.how["target"]) for task in tasks}
    sample(found, options.figure)
    without = {kind: baseline(found["no wish"]["candidates"], kind) for kind in ("predictor", "evaluator")}
    told = "; ".join(
        f"{name}: {percent(f['guide'], f['requested'])} / {percent(f['judge'], f['requested'])}"
        for name, f in figures.items()
        if f["predictor"] is not None
    )
    line = "\n\nWithout a wish, within ±0.25 eV of the same targets by the judge: "
    line += ", ".join(f"{share} of {name}" for name, share in without["evaluator"].items()) + "."
    line += "\n\n![Predicted gaps of proposals and candidates, with and without a wish](figures/gaps.png)\n"
    suns = (f"{name}: {percent(f['sun'], f['requested'])} of {f['requested']}" for name, f in figures.items())
    places = {"design": markdown(figures) + line, "bar design": told, "bar returned": "; ".join(suns)}
    measurement.finish({"runs": figures, "baseline": without}, places | {"bar sound": _sound(figures)})


def _sound(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Soundness over all candidates."""
    total = sum(f["found"] for f in figures.values())
    kinds = {"reads_back": "read back", "smact": "SMACT-valid", "symmetric": "not P1", "no_contact": "no contact < 0.7"}
    parts = [f"{words} {percent(sum(f[k] for f in figures.values()), total)}" for k, words in kinds.items()]
    return f"of {total} candidates found: {', '.join(parts)}"


if __name__ == "__main__":
    main()
