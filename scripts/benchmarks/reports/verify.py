"""Figures, tables and plot of gaps by the models and by GPAW."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from scipy.stats import spearmanr

from shared.figure import save, subplots
from shared.page import percent, table

NEAR = (0.25, 0.4)  # eV

KINDS = {"predictor": "predictor", "evaluator": "evaluator", "label": "PBE label of the table"}


def compared(rows: Sequence[Mapping[str, Any]], kind: str, other: str = "gpaw") -> dict[str, Any]:
    """Return the agreement of two columns over the rows that have both."""
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
    """Return how many designs meet the target by each method; the denominator is all designs."""
    found: dict[str, Any] = {"rows": len(rows)}
    for kind in ("predictor", "evaluator", "gpaw"):
        away = [_away(row[kind], row) for row in rows if row[kind] is not None]
        found[kind] = {f"within_{limit:g}": sum(a <= limit for a in away) for limit in NEAR}
    return found


def _away(value: float, row: Mapping[str, Any]) -> float:
    return max(row["low"] - value, value - row["high"], 0.0)


def outcome(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how the calculations ended."""
    seconds = [row["seconds"] for row in rows if row["gpaw"] is not None]
    return {
        "calculated": len(rows),
        "converged": len(seconds),
        "metals": sum(row["gpaw"] == 0 for row in rows),
        "median_seconds": median(seconds) if seconds else math.nan,
        "longest_seconds": max(seconds, default=math.nan),
        "failures": dict(Counter(row["reason"] for row in rows if row["gpaw"] is None)),
    }


def markdown(figures: Mapping[str, Any]) -> str:
    """Return how the calculations ended, the agreement of each column with GPAW, and the targets met."""
    lines = []
    for name, words in (("known", "known semiconductors"), ("designs", "designs")):
        if not (part := figures.get(name)):
            continue
        done = part["outcome"]
        failed = "; ".join(f"{n} × {reason}" for reason, n in done["failures"].items()) or "none"
        lines.append(
            f"GPAW converged for {done['converged']} of {done['calculated']} {words} (median "
            f"{done['median_seconds']:.0f} s, longest {done['longest_seconds']:.0f} s on one core beside another); "
            f"not: {failed}. By GPAW {done['metals']} of them are metals."
        )
    head = ("crystals", "column", "against", "rows", "MAE, eV", "median", "bias", "within 0.25 / 0.4 eV", "Spearman")
    body = [
        (words, column, against, part["rows"], *_numbers(part))
        for words, column, against, part in _comparisons(figures)
    ]
    lines.append(table(head, body))
    if designs := figures.get("designs"):
        lines += _targets(designs)
    return "\n\n".join(lines)


def _targets(designs: Mapping[str, Any]) -> list[str]:
    """Return how many designs meet the target: of all, and for GPAW also of the converged calculations."""
    hits, answered = designs["on_target"], designs["outcome"]["converged"]
    n = hits["rows"]
    passed = "; ".join(f"{number} with {cause}" for cause, number in designs["passed_over"].items()) or "none"
    rows = [
        (words, kind, n) for words, kind in (("predictor", "predictor"), ("evaluator", "evaluator"), ("GPAW", "gpaw"))
    ]
    rows.append(("GPAW, of converged calculations", "gpaw", answered))
    body = [(words, of, *(percent(hits[kind][f"within_{limit:g}"], of) for limit in NEAR)) for words, kind, of in rows]
    return [
        f"Candidates passed over before the last of these {n}: {passed}. Distance of the gap from the target:",
        table(("by", "of", *(f"± {limit:g} eV" for limit in NEAR)), body),
    ]


def _comparisons(figures: Mapping[str, Any]) -> Iterable[tuple[str, str, str, Mapping[str, Any]]]:
    for name in ("known", "designs"):
        if part := figures.get(name):
            for kind, found in part["against_gpaw"].items():
                yield name, KINDS[kind], "GPAW", found
            for kind, found in part.get("against_label", {}).items():
                yield name, KINDS[kind], "PBE label", found


def _numbers(part: Mapping[str, Any]) -> tuple[str, ...]:
    if not part["rows"]:
        return ("–",) * 5
    near = " / ".join(percent(part[f"within_{limit:g}"], part["rows"]) for limit in NEAR)
    rank = f"{part['spearman']:.2f}" if "spearman" in part else "–"
    return (f"{part['mae']:.3f}", f"{part['median_error']:.3f}", f"{part['bias']:+.3f}", near, rank)


def bar(figures: Mapping[str, Any]) -> str:
    """Return the line of the summary: errors of predictor and evaluator, and the share of designs on target."""
    words = []
    if part := figures.get("known"):
        errors = [f"{kind} {found['mae']:.2f} eV" for kind, found in part["against_gpaw"].items() if "mae" in found]
        words.append(f"against GPAW on {part['against_gpaw']['predictor']['rows']} known: {', '.join(errors)}")
    if part := figures.get("designs"):
        share = percent(part["on_target"]["gpaw"]["within_0.4"], part["on_target"]["rows"])
        words.append(f"{share} of {part['on_target']['rows']} designs within ±0.4 eV of the target by GPAW")
    return "; ".join(words)


def plot(parts: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Plot gaps by predictor, evaluator and label against gaps by GPAW."""
    shown = {name: rows for name, rows in parts.items() if any(row["gpaw"] is not None for row in rows)}
    size = (4.6 * max(len(shown), 1), 4.4)
    figure, axes = subplots(1, max(len(shown), 1), size)
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
    save(figure, path)
