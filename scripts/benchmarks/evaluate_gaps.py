"""How often first principles confirm a asked for a gap: designs that `matgen verify` has calculated, series by series.

`python scripts/benchmarks/evaluate_gaps.py SERIES=FOLDER... --document docs/results.md`: each folder holds a run of `matgen design
--bandgap X` and its `verified.jsonl`. Of each series the first 30 candidates that were calculated count, whatever came
out; who did not converge counts as a miss. Writes every one of them to docs/verified_designs.csv. Needs no GPAW itself.
"""

import argparse
import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from matgen.generation.old_keys import current_keys
from matgen.generation.request import Request
from matgen.structures.candidate import Candidate
from matgen.structures.record import from_record
from matgen.targets.target import Target
from shared.page import filled, mean, percent, table

FIRST = 30
NEAR = (0.1, 0.25, 0.4)  # eV
NORMAL_90 = 1.645
CSV = Path("docs/verified_designs.csv")


@dataclass(frozen=True)
class Row:
    """One design and what GPAW says of it; eV."""

    series: str
    target: float
    name: str
    formula: str
    space_group: int
    predictor: float
    aleatoric: float
    epistemic: float
    probability: float
    evaluator: float
    above_hull: float
    gpaw: float | None
    reason: str
    seconds: float

    def within(self, margin: float) -> bool:
        """Whether the calculated gap lies so near to the target."""
        return self.gpaw is not None and abs(self.gpaw - self.target) <= margin

    @property
    def covered(self) -> bool:
        """Whether the calculated gap lies within 1.645 standard deviations of the median."""
        spread = (self.aleatoric**2 + self.epistemic**2) ** 0.5
        return self.gpaw is not None and abs(self.gpaw - self.predictor) <= NORMAL_90 * spread


def rows(series: str, folder: Path) -> list[Row]:
    """The designs of a folder that were calculated, best first."""
    report = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    targets = Request.of(targets=current_keys(report["configuration"])[0]["targets"]).property_targets
    asked = next(asked for asked in targets if asked.name == "band_gap")
    lines = (folder / "verified.jsonl").read_text(encoding="utf-8").splitlines()
    results = {record["name"]: record for record in map(json.loads, lines)}
    candidates = map(json.loads, (folder / "candidates.jsonl").read_text(encoding="utf-8").splitlines())
    found = [from_record(record) for record in candidates]
    if any("confirmed" in one.verdicts for one in found):
        raise SystemExit(
            f"expected a run without --verify in {folder}, whose confirmed candidates come first; name others"
        )
    return [_row(series, asked, one, results[one.name]) for one in found if one.name in results][:FIRST]


def _row(series: str, asked: Target, one: Candidate, result: dict) -> Row:
    predictor, evaluator = one.properties["band_gap"], one.properties["evaluator_band_gap"]
    return Row(
        series=series,
        target=asked.low,
        name=one.name,
        formula=one.crystal.composition.reduced_formula,
        space_group=one.space_group.number if one.space_group else 0,
        predictor=round(predictor.value, 3),
        aleatoric=round(predictor.aleatoric, 3),
        epistemic=round(predictor.epistemic, 3),
        probability=round(predictor.probability, 3),
        evaluator=round(evaluator.value, 3),
        above_hull=round(one.verdicts["hull"].value, 4),
        gpaw=None if result["gap"] is None else round(result["gap"], 3),
        reason=result["reason"],
        seconds=round(result["seconds"], 1),
    )


def markdown(every: Sequence[Row]) -> str:
    """A line for each series."""
    header = ["series", "target, eV", "calculated", *(f"± {near:g} eV" for near in NEAR), "metals", "not converged"]
    header += ["mean error of the guide, eV", "bias", "within ± 1.645 of its standard deviation"]
    lines = []
    for name in dict.fromkeys(row.series for row in every):
        some = [row for row in every if row.series == name]
        known = [(row.predictor, row.gpaw) for row in some if row.gpaw is not None]
        metals = sum(gap == 0 for _, gap in known)
        errors = [predictor - gap for predictor, gap in known]
        lines.append(
            [
                name,
                f"{some[0].target:g}",
                len(some),
                *(percent(sum(row.within(near) for row in some), len(some)) for near in NEAR),
                percent(metals, len(some)),
                len(some) - len(known),
                mean([abs(error) for error in errors], 2),
                mean(errors, 2),
                percent(sum(row.covered for row in some), len(known)),
            ]
        )
    return table(header, lines)


def bar(every: Sequence[Row], last: Iterable[str]) -> str:
    """The series that count, in one line."""
    told = []
    for name in last:
        some = [row for row in every if row.series == name]
        if some:
            shares = ", ".join(percent(sum(row.within(near) for row in some), len(some)) for near in NEAR)
            metals = percent(sum(row.gpaw == 0 for row in some), len(some))
            told.append(f"{some[0].target:g} eV: {shares} within ± 0.1, 0.25, 0.4 eV, {metals} metals (of {len(some)})")
    return "; ".join(told)


def main() -> None:
    """Read, count, write."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("series", nargs="+", help="NAME=FOLDER")
    options.add_argument("--last", nargs="*", default=[], help="names of the series that count")
    options.add_argument("--document", type=Path)
    asked = options.parse_args()
    pairs = [one.split("=", 1) for one in asked.series]
    every = [row for name, folder in pairs for row in rows(name, Path(folder))]
    with CSV.open("w", encoding="utf-8", newline="") as stream:
        sheet = csv.writer(stream, lineterminator="\n")
        sheet.writerow(field.name for field in fields(Row))
        sheet.writerows([getattr(row, field.name) for field in fields(Row)] for row in every)
    places = {"gaps": markdown(every), "bar gaps": bar(every, asked.last)}
    print("\n\n".join(places.values()))
    if asked.document:
        page = asked.document.read_text(encoding="utf-8")
        asked.document.write_text(filled(page, places), encoding="utf-8")


if __name__ == "__main__":
    main()
