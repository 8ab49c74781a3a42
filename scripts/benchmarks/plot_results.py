"""Figures of docs/results.md, drawn from the tables that stand in docs/results and in docs/verified_designs.csv.

`python scripts/benchmarks/plot_results.py` writes docs/figures/results-*.png. Nothing is measured here: a table that a
benchmark has filled again is drawn with its new numbers.
"""

import argparse
import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.figure import save, style, subplots

TARGETS = ("0.5 eV", "1.5 eV", "3 eV")


def rows_of(folder: Path, page: str, after: str, number: int = 0) -> list[list[str]]:
    """Return the cells of a Markdown table, without its header.

    Args:
        folder: of the pages.
        page: name of the page.
        after: text behind which the table stands.
        number: of the tables there, which one.
    """
    text = (folder / page).read_text(encoding="utf-8").split(after, 1)[1]
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in blocks[number].splitlines()[2:]]


def number_in(text: str) -> float:
    """Return the first number of a cell such as `886 (614 to 1165)` or `63.3 %`."""
    return float(re.findall(r"-?\d+(?:\.\d+)?", text)[0])


def interval_in(text: str) -> tuple[float, float]:
    """Return the interval of a cell such as `886 (614 to 1165)`."""
    low, high = re.findall(r"\(([\d.]+) to ([\d.]+)\)", text)[0]
    return float(low), float(high)


def confirmed(folder: Path) -> Any:
    """Draw the gap by GPAW of each design for three targets."""
    with (folder.parent / "verified_designs.csv").open(encoding="utf-8") as stream:
        designs = list(csv.DictReader(stream))
    figure, axes = subplots(1, 3, (9.0, 2.9), sharey=False)
    for axis, name in zip(axes[0], TARGETS, strict=True):
        series = [one for one in designs if one["series"] == name]
        gaps = sorted(float(one["gpaw"]) for one in series if one["gpaw"])
        target = number_in(name)
        near = sum(abs(gap - target) <= 0.4 for gap in gaps)
        axis.axhspan(target - 0.4, target + 0.4, color="C0", alpha=0.12, lw=0)
        axis.axhspan(target - 0.25, target + 0.25, color="C0", alpha=0.15, lw=0)
        axis.axhline(target, color="C0", lw=1)
        axis.scatter(range(len(gaps)), gaps, s=16, color=["C1" if gap == 0 else "0.2" for gap in gaps], zorder=3)
        axis.set(title=f"asked for {name}: {near} of {len(series)} within 0.4 eV", xlabel="design", xticks=[])
        axis.set_ylim(-0.15, max(*gaps, target + 0.4) + 0.2)
    axes[0][0].set_ylabel("band gap by GPAW (PBE), eV")
    return figure


def errors(folder: Path) -> Any:
    """Draw the mean absolute errors of band gap and formation energy of each model."""
    rows = rows_of(folder, "predictions.md", "<!-- properties -->")
    figure, axes = subplots(1, 2, (9.0, 2.6))
    goals = {"band_gap": (0.16, "eV"), "formation_energy": (0.030, "eV/atom")}
    for axis, (name, (goal, unit)) in zip(axes[0], goals.items(), strict=True):
        shown = [(row[0].strip("`"), number_in(row[2])) for row in rows if row[1] == name]
        constant = next(number_in(row[3]) for row in rows if row[1] == name)
        models, values = zip(*shown, strict=True)
        bars = axis.barh(models, values, color=["C1" if model == "evaluator" else "C0" for model in models])
        axis.bar_label(bars, fmt="%.3f", padding=3)
        axis.axvline(goal, color="0.3", ls="--", lw=1, label=f"goal, {goal:g}")
        axis.set(
            title=f"{name.replace('_', ' ')} (a constant: {constant:.2f} {unit})", xlabel=f"mean absolute error, {unit}"
        )
        axis.set_xlim(0, 1.25 * max(values))
        axis.invert_yaxis()
        axis.legend(loc="lower right")
    axes[0][1].set_yticklabels([])
    return figure


def hourly(folder: Path) -> Any:
    """Draw what each method finds per CPU-hour."""
    figure, axes = subplots(1, 2, (9.0, 2.2))
    titles = ("stable, unique, novel; no target", "the same, gap 1.5 ± 0.25 eV by the evaluator")
    for axis, title, number, column in zip(axes[0], titles, (0, 1), (4, 4), strict=True):
        rows = rows_of(folder, "designs.md", "*Version 0.3, 27 November*", number)
        names = ["element substitution", "matgen design", "matgen design --fast"]
        values = [number_in(row[column]) for row in rows]
        spans = [interval_in(row[column]) for row in rows]
        sides = [
            [value - low for value, (low, _) in zip(values, spans, strict=True)],
            [high - value for value, (_, high) in zip(values, spans, strict=True)],
        ]
        axis.barh(names, values, xerr=sides, color=["0.6", "C0", "C0"], error_kw={"lw": 1, "capsize": 3})
        axis.set(title=title, xlabel="found per CPU-hour (95 % interval)")
        axis.invert_yaxis()
    axes[0][1].set_yticklabels([])
    return figure


def lenient(folder: Path) -> Any:
    """Draw how often CHGNet's hull is right about stable and unstable phases, by the limit that is used."""
    rows = rows_of(folder, "stability.md", "<!-- hull -->", 2)
    limits, stable, unstable = zip(*[[number_in(cell) for cell in row] for row in rows], strict=True)
    figure, axes = subplots(1, 1, (4.6, 2.7))
    axis = axes[0][0]
    axis.plot(limits, stable, "o-", label="stable phases accepted")
    axis.plot(limits, unstable, "o-", label="unstable phases rejected")
    axis.set(xlabel="--max-ehull, eV/atom", ylabel="share, %", ylim=(60, 102))
    axis.legend(loc="lower left")
    return figure


def molecular(folder: Path) -> Any:
    """Draw stability and validity of molecules beside other models, and how far gaps miss their target."""
    free = rows_of(folder, "molecules.md", "<!-- molecules free -->")
    shown = {
        "matgen, unselected": free[0],
        "matgen, best third": free[2],
        **{row[0].split(" (")[0]: row for row in free[6:10]},
    }
    figure, axes = subplots(1, 2, (9.0, 2.6))
    axis = axes[0][0]
    values = [number_in(row[2]) for row in shown.values()]
    bars = axis.barh(list(shown), values, color=["C0" if "matgen" in name else "0.6" for name in shown])
    axis.bar_label(bars, fmt="%.1f", padding=3)
    axis.set(title="stable molecules, by EDM's rules", xlabel="%", xlim=(0, 115))
    axis.invert_yaxis()
    axis = axes[0][1]
    gaps = {row[0]: number_in(row[1]) for row in rows_of(folder, "molecules.md", "<!-- molecules gaps -->")}
    gaps = {name: value for name, value in gaps.items() if not name.endswith(("by the predictor", "a line"))}
    bars = axis.barh(list(gaps), list(gaps.values()), color=["C0" if "matgen" in name else "0.6" for name in gaps])
    axis.bar_label(bars, padding=3)
    axis.set(title="gap: mean distance from the target", xlabel="meV", xlim=(0, 760))
    axis.invert_yaxis()
    return figure


FIGURES: dict[str, Callable[[Path], Any]] = {
    "confirmed": confirmed,
    "errors": errors,
    "hourly": hourly,
    "lenient": lenient,
    "molecules": molecular,
}


def main() -> None:
    """Draw every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=Path, default=Path("docs/results"), help="folder of the tables")
    parser.add_argument("--out", type=Path, default=Path("docs/figures"), help="folder of the figures")
    options = parser.parse_args()
    style()
    for name, draw in FIGURES.items():
        save(draw(options.pages), options.out / f"results-{name}.png")


if __name__ == "__main__":
    main()
