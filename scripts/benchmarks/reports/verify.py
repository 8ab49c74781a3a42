"""Figures, tables and plot of gaps by the models and by GPAW."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from scipy.stats import spearmanr

from shared.page import percent, table

NEAR = (0.25, 0.4)  # eV


KINDS = {"predictor": "predictor", "evaluator": "evaluator", "label": "PBE label of the table"}


def compared(rows: Sequence[Mapping[str, Any]], kind: str, other: str = "gpaw") -> dict[str, Any]:
    """How far two columns agree, over the rows that have both."""
    pairs = [(row[kind], row[other]) for row in rows if row.get(kind) is not None and row[other] is not None]
    away = [one - two for one, two in pairs]
    near = {f"within_{limit:g}": sum(abs(a) <= limit for a in away) for limit in NEAR}
    found: dict[str, Any] = {"rows": len(pairs), **near}
    if away:
        found |= {"mae": fmean(map(abs, away)), "median_error": median(map(abs, away)), "bias": fmean(away)}
    if len(pairs) > 2:
        found["spearman"] = float(spearmanr(*zip(*pairs, strict=True)).statistic)
    return found


def on_target(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many designs have the gap that was wished for, by each; the denominator is all that were looked at."""
    found: dict[str, Any] = {"rows": len(rows)}
    for kind in ("predictor", "evaluator", "gpaw"):
        away = [_away(row[kind], row) for row in rows if row[kind] is not None]
        found[kind] = {f"within_{limit:g}": sum(a <= limit for a in away) for limit in NEAR}
    return found


def _away(value: float, row: Mapping[str, Any]) -> float:
    return max(row["low"] - value, value - row["high"], 0.0)


def outcome(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What became of the calculations."""
    seconds = [row["seconds"] for row in rows if row["gpaw"] is not None]
    return {
        "asked": len(rows),
        "converged": len(seconds),
        "metals": sum(row["gpaw"] == 0 for row in rows),
        "median_seconds": median(seconds) if seconds else math.nan,
        "longest_seconds": max(seconds, default=math.nan),
        "failures": dict(Counter(row["reason"] for row in rows if row["gpaw"] is None)),
    }


def markdown(figures: Mapping[str, Any]) -> str:
    """What became of the calculations, the agreement of each column with GPAW, and targets met."""
    lines = []
    for name, words in (("known", "known semiconductors"), ("designs", "designs")):
        if not (told := figures.get(name)):
            continue
        done = told["outcome"]
        failed = "; ".join(f"{n} × {reason}" for reason, n in done["failures"].items()) or "none"
        lines.append(
            f"GPAW answered for {done['converged']} of {done['asked']} {words} (median {done['median_seconds']:.0f} s, "
            f"longest {done['longest_seconds']:.0f} s on one core beside another); not: {failed}. By GPAW "
            f"{done['metals']} of them are metals."
        )
    head = ("crystals", "column", "against", "rows", "MAE, eV", "median", "bias", "within 0.25 / 0.4 eV", "Spearman")
    body = [
        (words, column, against, told["rows"], *_numbers(told))
        for words, column, against, told in _comparisons(figures)
    ]
    lines.append(table(head, body))
    if designs := figures.get("designs"):
        lines += _targets(designs)
    return "\n\n".join(lines)


def _targets(designs: Mapping[str, Any]) -> list[str]:
    """How many designs have the gap that was wished for; of all asked about, and for GPAW also of those answered."""
    hits, answered = designs["on_target"], designs["outcome"]["converged"]
    n = hits["rows"]
    passed = "; ".join(f"{number} with {cause}" for cause, number in designs["passed_over"].items()) or "none"
    rows = [
        (words, kind, n) for words, kind in (("predictor", "predictor"), ("evaluator", "evaluator"), ("GPAW", "gpaw"))
    ]
    rows.append(("GPAW, of those it answered for", "gpaw", answered))
    body = [(words, of, *(percent(hits[kind][f"within_{limit:g}"], of) for limit in NEAR)) for words, kind, of in rows]
    return [
        f"Candidates passed over before the last of these {n}: {passed}. How near to the wish the gap lies:",
        table(("by", "of", *(f"± {limit:g} eV" for limit in NEAR)), body),
    ]


def _comparisons(figures: Mapping[str, Any]) -> Iterable[tuple[str, str, str, Mapping[str, Any]]]:
    for name in ("known", "designs"):
        if told := figures.get(name):
            for kind, found in told["against_gpaw"].items():
                yield name, KINDS[kind], "GPAW", found
            for kind, found in told.get("against_label", {}).items():
                yield name, KINDS[kind], "PBE label", found


def _numbers(told: Mapping[str, Any]) -> tuple[str, ...]:
    if not told["rows"]:
        return ("–",) * 5
    near = " / ".join(percent(told[f"within_{limit:g}"], told["rows"]) for limit in NEAR)
    rank = f"{told['spearman']:.2f}" if "spearman" in told else "–"
    return (f"{told['mae']:.3f}", f"{told['median_error']:.3f}", f"{told['bias']:+.3f}", near, rank)


def bar(figures: Mapping[str, Any]) -> str:
    """The error of guide and judge against GPAW, and the share of designs on target, in one line."""
    words = []
    if told := figures.get("known"):
        errors = [f"{kind} {found['mae']:.2f} eV" for kind, found in told["against_gpaw"].items() if "mae" in found]
        words.append(f"against GPAW on {told['against_gpaw']['guide']['rows']} known: {', '.join(errors)}")
    if told := figures.get("designs"):
        share = percent(told["on_target"]["gpaw"]["within_0.4"], told["on_target"]["rows"])
        words.append(f"{share} of {told['on_target']['rows']} designs within ±0.4 eV of the target by GPAW")
    return "; ".join(words)


def sample(parts: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Gap by guide, judge and label over that by GPAW."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = {name: rows for name, rows in parts.items() if any(row["gpaw"] is not None for row in rows)}
    size = (4.6 * max(len(shown), 1), 4.4)
    figure, axes = plt.subplots(1, max(len(shown), 1), figsize=size, squeeze=False, constrained_layout=True)
    for axis, (name, rows) in zip(axes[0], shown.items(), strict=False):
        done = [row for row in rows if row["gpaw"] is not None]
        for kind, marker in (("predictor", "o"), ("evaluator", "^"), ("label", "+")):
            some = [row for row in done if row.get(kind) is not None]
            if some:
                x, y = [row["gpaw"] for row in some], [row[kind] for row in some]
                axis.scatter(x, y, s=26, marker=marker, alpha=0.75, label=KINDS[kind])
        if "low" in done[0]:
            for target in sorted(
                {(row["low"] + row["high"]) / 2 for row in done if math.isfinite(row["low"] + row["high"])}
            ):
                axis.axvspan(target - NEAR[1], target + NEAR[1], color="0.9", zorder=0)
                axis.axhline(target, color="0.7", lw=0.8, ls=":", zorder=0)
        top = 1.05 * max(row[kind] for row in done for kind in ("gpaw", "predictor", "evaluator"))
        axis.plot([0, top], [0, top], color="0.5", lw=0.8)
        axis.set(
            xlabel="PBE gap by GPAW / eV", ylabel="predicted or tabulated PBE gap / eV", title=f"{len(done)} {name}"
        )
        axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
