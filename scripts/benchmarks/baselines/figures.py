"""Figures of a comparison: counts, rates with intervals, tables and bars."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Any

import numpy as np

from baselines.proposals import GAP_TOLERANCE
from baselines.race import Record, cpu_seconds
from matgen.hull.hull import IMPLAUSIBLE
from shared.figure import save, subplots
from shared.page import percent, table

RESAMPLES = 2000
RULE_OF_THREE = 3.0
"""Upper end of the 95 % interval of a count of zero (−ln 0.05)."""

HOUR = 3600.0

WORDS = {
    "random": "(a) random symmetric crystals",
    "substitution": "(b) element substitution",
    "prior": "(c) template prior, random geometry",
    "ours": "(d) matgen design",
    "fast": "(d) matgen design, `--fast`",
}
"""Names of the methods, in the order of the tables."""


@dataclass(frozen=True)
class Rate:
    """A rate and its 95 % interval."""

    value: float
    low: float
    high: float

    def shown(self, factor: float = 1.0, digits: int = 0) -> str:
        """Return text such as `12 (9 to 15)`."""
        return "{:.{d}f} ({:.{d}f} to {:.{d}f})".format(
            *(factor * v for v in (self.value, self.low, self.high)), d=digits
        )


def found(record: Record, gap: float | None) -> bool:
    """Return whether a proposal is stable, unique, novel, and on target by the evaluator if there is a target gap."""
    if not record.get("sun"):
        return False
    return gap is None or abs(record["gap"] - gap) <= GAP_TOLERANCE


def spread_costs(records: Sequence[Record]) -> np.ndarray:
    """Return CPU seconds per proposal (n,), the generation of a round shared evenly among its proposals."""
    making = Counter[int]()
    for record in records:
        making[record["round"]] += record["generating"]
    size = Counter(record["round"] for record in records)
    rest = np.array([cpu_seconds(record) - record["generating"] for record in records])
    return rest + np.array([making[record["round"]] / size[record["round"]] for record in records])


def resampled(hits: np.ndarray, weights: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return bootstrap samples of Σ hits / Σ weights over proposals (RESAMPLES,)."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(hits), size=(RESAMPLES, len(hits)))
    return hits[rows].sum(1) / weights[rows].sum(1)


def rate(hits: np.ndarray, weights: np.ndarray) -> Rate:
    """Return Σ hits / Σ weights with its bootstrap interval over proposals."""
    if not hits.any():
        return Rate(0.0, 0.0, RULE_OF_THREE / float(weights.sum()))
    low, high = np.quantile(resampled(hits, weights), (0.025, 0.975))
    return Rate(float(hits.sum() / weights.sum()), float(low), float(high))


def counted(records: Sequence[Record], gap: float | None) -> dict[str, Any]:
    """Return counts of the records of one method, and its rates per proposal and per CPU-hour."""
    relaxed = [record for record in records if not record["objection"]]
    sun = np.array([found(record, None) for record in records], dtype=float)
    target = np.array([found(record, gap) for record in records], dtype=float)
    hours, ones = spread_costs(records) / HOUR, np.ones(len(records))
    above = [record["above_hull"] for record in relaxed if "above_hull" in record]
    return {
        "proposed": len(records),
        "rounds": len({record["round"] for record in records}),
        "objections": dict(Counter(record["objection"] for record in records if record["objection"])),
        "relaxed": len(relaxed),
        "converged": sum(record["converged"] for record in relaxed),
        "stable": sum(record["stable"] for record in relaxed),
        "implausible": sum(height < -IMPLAUSIBLE for height in above),
        "novel_and_stable": sum(bool(record.get("novel")) for record in relaxed),
        "sun": int(sun.sum()),
        "sun_of_new_formula": sum(record["new_formula"] for record in relaxed if record["sun"]),
        "on_target": None if gap is None else int(target.sum()),
        "median_above_hull": median(above) if above else None,
        "sun_per_proposed": vars(rate(sun, ones)),
        "sun_per_hour": vars(rate(sun, hours)),
        "on_target_per_hour": None if gap is None else vars(rate(target, hours)),
        "cpu_hours": float(hours.sum()),
        "shares": {
            part: sum(record.get(part, 0.0) for record in records) / HOUR / float(hours.sum())
            for part in ("generating", "screening", "relaxing", "evaluating")
        },
        "median_relaxation": median(record["relaxing"] for record in relaxed) if relaxed else None,
    }


def advantage(ours: Sequence[Record], other: Sequence[Record], gap: float | None) -> Rate:
    """Return the ratio of the hits per CPU-hour of two methods, with its bootstrap interval.

    Where the other method found nothing, three hits are assumed, the end of its interval, so that the value is a lower
    bound.
    """
    samples = []
    for seed, records in enumerate((ours, other)):
        hits = np.array([found(record, gap) for record in records], dtype=float)
        hours = spread_costs(records) / HOUR
        bound = RULE_OF_THREE / hours.sum()
        samples.append((rate(hits, hours).value or bound, resampled(hits, hours, seed) if hits.any() else bound))
    (mine, my_samples), (theirs, their_samples) = samples
    ratios = my_samples / np.maximum(their_samples, 1e-9)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return Rate(mine / theirs, float(low), float(high))


def markdown(figures: Mapping[str, Mapping[str, Any]], gap: float | None) -> str:
    """Return a table with one row per method."""
    rows = []
    for name, f in figures.items():
        away = ", ".join(f"{why} {n}" for why, n in sorted(f["objections"].items(), key=lambda pair: -pair[1]))
        row = [WORDS[name], f["proposed"], away or "–", f["relaxed"], percent(f["converged"], f["relaxed"])]
        row += [
            percent(f["stable"], f["relaxed"]),
            f["sun"],
            f["sun_of_new_formula"],
            Rate(**f["sun_per_proposed"]).shown(100, 1),
        ]
        row += [Rate(**f["sun_per_hour"]).shown()]
        if gap is not None:
            row += [f["on_target"], Rate(**f["on_target_per_hour"]).shown()]
        row += [_number(f["median_above_hull"], 3), _number(f["median_relaxation"], 1), f"{60 * f['cpu_hours']:.1f}"]
        rows.append(row)
    words = [
        "method",
        "proposed",
        "rejected before relaxation",
        "relaxed",
        "converged",
        "stable",
        "S.U.N.",
        "of a new formula",
    ]
    words += ["S.U.N. per 100 proposed", "S.U.N. per CPU-hour"]
    words += [] if gap is None else ["on target", "on target per CPU-hour"]
    words += ["median above hull, eV/atom", "median CPU-s of a relaxation", "CPU-minutes"]
    return table(words, rows)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def plot(races: Mapping[str, Mapping[str, Mapping[str, Any]]], path: Path) -> None:
    """Plot hits per CPU-hour with 95 % intervals, one panel per target.

    Args:
        races: figures by method, by title of the panel.
        path: file to write.
    """
    figure, axes = subplots(1, len(races), (5.2 * len(races), 3.2))
    for axis, (title, figures) in zip(axes[0], races.items(), strict=True):
        rates = {name: Rate(**f["on_target_per_hour"] or f["sun_per_hour"]) for name, f in figures.items()}
        values = [r.value for r in rates.values()]
        errors = [[r.value - r.low for r in rates.values()], [r.high - r.value for r in rates.values()]]
        colours = ["#c65d21" if name in {"ours", "fast"} else "0.65" for name in rates]
        bars = axis.barh([WORDS[name] for name in rates], values, xerr=errors, color=colours, capsize=3)
        axis.bar_label(bars, [f"{v:.0f}" for v in values], padding=4, fontsize=9)
        axis.invert_yaxis()
        axis.set_xlabel("per CPU-hour")
        axis.set_title(fill(title, 36), fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    save(figure, path)
