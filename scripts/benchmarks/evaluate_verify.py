"""Gaps by predictor, evaluator and GPAW, of known semiconductors and of designs.

`python scripts/benchmarks/evaluate_verify.py --data FOLDER --designs designs/A designs/B`: 50 small semiconductors of
MP-20 test with their PBE label, and up to 30 small candidates of `matgen design`, the same number of each folder, best
first. Results of GPAW are kept in `results/verify/`, by crystal and settings; predictions in parts, as in every
measurement. Writes docs/figures/verify.png.
"""

import argparse
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from pymatgen.core import Lattice, Structure

from matgen.first_principles.calculations import CalculationFile, Plan, calculated
from matgen.first_principles.gpaw import FirstPrinciples, FirstPrinciplesConfig
from matgen.first_principles.gpaw_interpreter import find_interpreter
from matgen.first_principles.gpaw_worker import MOMENTS
from matgen.generation.old_keys import current_keys
from matgen.generation.predictors import Predictor, by_structure
from matgen.generation.request import Request
from matgen.relaxation.symmetric import primitive
from matgen.search.assessment import predictions
from matgen.structures.candidate import Candidate
from matgen.structures.record import from_record
from matgen.targets.target import Target
from matgen.weights.models import load
from matgen.workflows.data import data_folder
from reports.verify import KINDS, bar, compared, markdown, on_target, outcome, plot
from shared.crystals import shipped
from shared.measurement import Measurement, Task, single_thread
from shared.options import parser

GAPS = (0.3, 6.0)  # eV, of the label
LARGEST = 4  # atoms
F_BLOCK = frozenset((*range(57, 72), *range(89, 104)))
CHUNK = 10


def known(folder: Path, n: int, seed: int) -> list[tuple[str, Structure, float]]:
    """Return material, crystal and label (eV) of small known semiconductors.

    Without f elements and elements with an open d shell: some of their labels include a Hubbard U.
    """
    columns = ["material_id", "n_atoms", "cell", "Z", "frac", "band_gap", "mp20_split"]
    rows = pq.read_table(folder / "crystals" / "mp24_le20.parquet", columns=columns).to_pylist()
    fit = [row for row in rows if row["mp20_split"] == "test" and row["n_atoms"] <= LARGEST and _fit(row)]
    order = torch.randperm(len(fit), generator=torch.Generator().manual_seed(seed)).tolist()
    return [(row["material_id"], structure_of(row), row["band_gap"]) for row in (fit[i] for i in order[:n])]


def _fit(row: Mapping[str, Any]) -> bool:
    gap = row["band_gap"]
    if gap is None or not GAPS[0] <= gap <= GAPS[1] or F_BLOCK.intersection(row["Z"]):
        return False
    return not set(MOMENTS).intersection(site.symbol for site in structure_of(row).elements)


def structure_of(row: Mapping[str, Any]) -> Structure:
    """Return the crystal of a row."""
    coords = torch.tensor(row["frac"], dtype=torch.float64).reshape(-1, 3).numpy()
    return Structure(Lattice.from_parameters(*row["cell"]), list(row["Z"]), coords)


def designed(
    folders: Sequence[Path], n: int, largest: int, datasets: Collection[str]
) -> tuple[list[tuple[str, Structure, Target]], dict[str, int]]:
    """Return name, crystal and target of candidates, taken from the folders in turn, best first.

    Returns:
        Candidates to calculate, and how many before the last of them were skipped, by cause.
    """
    each = [_designs(folder) for folder in folders]
    turns = [one for turn in range(max(map(len, each), default=0)) for some in each for one in some[turn : turn + 1]]
    found: list[tuple[str, Structure, Target]] = []
    passed: Counter[str] = Counter()
    for name, crystal, target in turns:
        if len(found) == n:
            break
        if len(primitive(crystal, FirstPrinciplesConfig().symprec)) > largest:
            passed[f"more than {largest} atoms"] += 1
        elif not {element.symbol for element in crystal.elements} <= set(datasets):
            passed["an element without dataset"] += 1
        else:
            found.append((name, crystal, target))
    return found, dict(passed)


def _designs(folder: Path) -> list[tuple[str, Structure, Target]]:
    report = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    targets = Request.of(targets=current_keys(report["configuration"])[0]["targets"]).property_targets
    target = next((target for target in targets if target.name == "band_gap"), None)
    if target is None:
        raise SystemExit(
            f"expected designs with a target for the band gap in {folder}, found none; name another folder"
        )
    lines = (folder / "candidates.jsonl").read_text(encoding="utf-8").splitlines()
    found: list[Candidate] = [from_record(json.loads(line)) for line in lines]
    return [(f"{folder.name}/{one.name}", one.structure, target) for one in found]


def first_principles(
    name: str, crystals: Iterable[tuple[str, Structure]], options: argparse.Namespace
) -> dict[str, FirstPrinciples]:
    """Return results by name; those of an earlier call are read, not calculated again."""
    config = FirstPrinciplesConfig()
    plan = Plan(find_interpreter(options.python), config, options.minutes, options.processes)
    folder = options.out.parent / "verify"
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for key, one in calculated(crystals, CalculationFile(folder / f"{name}.jsonl"), plan, folder / "logs"):
        found[key] = one
        print(f"{len(found)} {key} {one.gap:.2f} eV {one.reason} {one.seconds:.0f} s", flush=True)
    return found


def predicted(task: Task) -> list[dict[str, float]]:
    """Return gaps by predictor and evaluator, eV."""
    models = shipped()
    predictor, evaluator = Predictor(models.graph, by_structure(models.structures)), load("evaluator")
    found = []
    for record in task.how["crystals"]:
        crystal = Structure.from_dict(record)
        value, spread = predictor.of_structure(crystal)["band_gap"], predictions(evaluator, crystal)["band_gap"]
        found.append(
            {
                "predictor": float(value.value),
                "predictor_spread": float(value.spread),
                "evaluator": spread.value,
                "evaluator_spread": spread.spread,
            }
        )
    return found


def predict(measurement: Measurement, name: str, crystals: Sequence[tuple[str, Structure]]) -> list[dict[str, float]]:
    """Return predictions of crystals, in their order; the keys of the tasks contain the names."""
    options = measurement.options
    parts = [crystals[i : i + CHUNK] for i in range(0, len(crystals), CHUNK)]
    tasks = [
        Task(
            f"{name} {','.join(key for key, _ in part)}",
            options.table,
            options.seed,
            how={"crystals": [crystal.as_dict() for _, crystal in part]},
        )
        for part in parts
    ]
    return [one for part in measurement.run(predicted, tasks).values() for one in part]


def rows_of(
    names: Sequence[str],
    crystals: Sequence[Structure],
    gpaw: Mapping[str, FirstPrinciples],
    predicted_gaps: Sequence[Mapping[str, float]],
) -> list[dict[str, Any]]:
    """Return one row per crystal, whether or not GPAW converged."""
    return [
        {
            "name": name,
            "formula": crystal.composition.reduced_formula,
            "atoms": len(crystal),
            **values,
            "gpaw": gpaw[name].gap if gpaw[name].converged else None,
            "reason": gpaw[name].reason,
            "seconds": gpaw[name].seconds,
            "spin_polarised": gpaw[name].settings.get("spin_polarised"),
        }
        for name, crystal, values in zip(names, crystals, predicted_gaps, strict=True)
    ]


def of_known(options: argparse.Namespace, measurement: Measurement) -> list[dict[str, Any]]:
    """Return rows of known semiconductors."""
    crystals = known(data_folder(options.data), options.n, options.seed)
    named = [(name, crystal) for name, crystal, _ in crystals]
    gpaw = first_principles("known", named, options)
    gaps = predict(measurement, "known", named)
    rows = rows_of([name for name, _ in named], [crystal for _, crystal in named], gpaw, gaps)
    return [row | {"label": label} for row, (_, _, label) in zip(rows, crystals, strict=True)]


def of_designs(options: argparse.Namespace, measurement: Measurement) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return rows of designs, and how many were skipped, by cause."""
    datasets = find_interpreter(options.python).datasets
    crystals, passed = designed(options.designs, options.designed, options.largest, datasets)
    named = [(name, crystal) for name, crystal, _ in crystals]
    gpaw = first_principles("designs", named, options)
    gaps = predict(measurement, "designs", named)
    rows = rows_of([name for name, _ in named], [crystal for _, crystal in named], gpaw, gaps)
    requested = [{"low": target.low, "high": target.high} for _, _, target in crystals]
    return [row | target for row, target in zip(rows, requested, strict=True)], passed


def main() -> None:
    """Calculate, predict, compare, record, plot."""
    options = parser(__doc__, "verify", 50, processes=1)
    options.add_argument("--designs", type=Path, nargs="*", default=[], help="folders of `matgen design`")
    options.add_argument("--designed", type=int, default=30, help="largest number of candidates")
    options.add_argument("--largest", type=int, default=10, help="largest number of atoms in the primitive cell")
    options.add_argument("--python", help="interpreter with GPAW (default: search for one)")
    options.add_argument("--minutes", type=float, default=60.0, help="time limit per crystal")
    options.add_argument("--figure", type=Path, default=Path("docs/figures/verify.png"))
    options = options.parse_args()
    single_thread()
    settings = {"first_principles": asdict(FirstPrinciplesConfig())}
    settings |= {"designed": options.designed, "largest": options.largest}
    measurement = Measurement(options, settings | {"designs": [folder.name for folder in options.designs]})
    parts = {"known semiconductors": of_known(options, measurement)} if options.n else {}
    passed: dict[str, int] = {}
    if options.designs:
        parts["designs"], passed = of_designs(options, measurement)
    figures: dict[str, Any] = {}
    if rows := parts.get("known semiconductors"):
        figures["known"] = {
            "outcome": outcome(rows),
            "against_gpaw": {kind: compared(rows, kind) for kind in KINDS},
            "against_label": {kind: compared(rows, kind, "label") for kind in ("predictor", "evaluator")},
        }
    if rows := parts.get("designs"):
        against = {kind: compared(rows, kind) for kind in ("predictor", "evaluator")}
        figures["designs"] = {"outcome": outcome(rows), "against_gpaw": against, "on_target": on_target(rows)}
        figures["designs"]["passed_over"] = passed
    plot(parts, options.figure)
    picture = f"\n\n![Gaps by predictor, evaluator and table against gaps by GPAW](../figures/{options.figure.name})\n"
    measurement.finish(figures | {"rows": parts}, {"verify": markdown(figures) + picture, "bar verify": bar(figures)})


if __name__ == "__main__":
    main()
