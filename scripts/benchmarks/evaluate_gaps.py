"""How often first principles confirm a band-gap target: designs calculated by `matgen verify`, by series.

`python scripts/benchmarks/evaluate_gaps.py SERIES=FOLDER... --document docs/results`: each folder holds a run of
`matgen design --bandgap X` and its `verified.jsonl`. The first 30 calculated candidates of each series count; one that
did not converge counts as a miss. Writes all of them to docs/verified_designs.csv, and keeps the series there that are
not named. Does not need GPAW.
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
from shared.page import fill_page, mean, percent, table

FIRST = 30
NEAR = (0.1, 0.25, 0.4)  # eV
NORMAL_90 = 1.645
CSV = Path("docs/verified_designs.csv")
TEXTS = frozenset({"series", "name", "formula", "reason"})


@dataclass(frozen=True)
class Row:
    """One design and its result by GPAW; energies and gaps in eV."""

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
        """Return whether the calculated gap lies within a margin of the target."""
        return self.gpaw is not None and abs(self.gpaw - self.target) <= margin

    @property
    def covered(self) -> bool:
        """Whether the calculated gap lies within 1.645 standard deviations of the median."""
        spread = (self.aleatoric**2 + self.epistemic**2) ** 0.5
        return self.gpaw is not None and abs(self.gpaw - self.predictor) <= NORMAL_90 * spread


def rows(series: str, folder: Path) -> list[Row]:
    """Return the calculated designs of a folder, best first."""
    report = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    targets = Request.of(targets=current_keys(report["configuration"])[0]["targets"]).property_targets
    target = next(one for one in targets if one.name == "band_gap")
    lines = (folder / "verified.jsonl").read_text(encoding="utf-8").splitlines()
    results = {record["name"]: record for record in map(json.loads, lines)}
    candidates = map(json.loads, (folder / "candidates.jsonl").read_text(encoding="utf-8").splitlines())
    found = [from_record(record) for record in candidates]
    if any("confirmed" in one.verdicts for one in found):
        raise SystemExit(
            f"expected a run without --verify in {folder}, whose confirmed candidates come first; name another folder"
        )
    return [_row(series, target, one, results[one.name]) for one in found if one.name in results][:FIRST]


def kept(named: set[str]) -> list[Row]:
    """Return the rows of the table on disk whose series are not named anew."""
    if not CSV.exists():
        return []
    with CSV.open(encoding="utf-8", newline="") as stream:
        return [_read(row) for row in csv.DictReader(stream) if row["series"] not in named]


def _read(row: dict[str, str]) -> Row:
    """Return a row of the table on disk; an empty gap is one that did not converge."""
    numbers = {name: float(text) for name, text in row.items() if name not in TEXTS and text}
    return Row(**{**row, "gpaw": None, **numbers, "space_group": int(row["space_group"])})  # type: ignore[arg-type]


def _row(series: str, target: Target, one: Candidate, result: dict) -> Row:
    predictor, evaluator = one.properties["band_gap"], one.properties["evaluator_band_gap"]
    return Row(
        series=series,
        target=target.low,
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
    """Return a table with one line per series."""
    header = ["series", "target, eV", "calculated", *(f"± {near:g} eV" for near in NEAR), "metals", "not converged"]
    header += ["mean error of the predictor, eV", "bias", "within ± 1.645 of its standard deviation"]
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
    """Return the line of the summary, over the series that count."""
    parts = []
    for name in last:
        some = [row for row in every if row.series == name]
        if some:
            shares = ", ".join(percent(sum(row.within(near) for row in some), len(some)) for near in NEAR)
            metals = percent(sum(row.gpaw == 0 for row in some), len(some))
            parts.append(
                f"{some[0].target:g} eV: {shares} within ± 0.1, 0.25, 0.4 eV, {metals} metals (of {len(some)})"
            )
    return "; ".join(parts)


def main() -> None:
    """Read, count, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("series", nargs="*", help="NAME=FOLDER")
    options.add_argument("--last", nargs="*", default=[], help="names of the series that count")
    options.add_argument("--document", type=Path)
    arguments = options.parse_args()
    pairs = [one.split("=", 1) for one in arguments.series]
    every = kept({name for name, _ in pairs})
    every += [row for name, folder in pairs for row in rows(name, Path(folder))]
    with CSV.open("w", encoding="utf-8", newline="") as stream:
        sheet = csv.writer(stream, lineterminator="\n")
        sheet.writerow(field.name for field in fields(Row))
        sheet.writerows([getattr(row, field.name) for field in fields(Row)] for row in every)
    places = {"gaps": markdown(every), "bar gaps": bar(every, arguments.last)}
    print("\n\n".join(places.values()))
    if arguments.document:
        fill_page(arguments.document, places)


if __name__ == "__main__":
    main()
