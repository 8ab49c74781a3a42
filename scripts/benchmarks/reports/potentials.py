"""Figures and tables of stability by two potentials."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from matgen.hull.hull import IMPLAUSIBLE, MARGIN
from shared.page import table

NARROW = 0.3
"""Labels up to here are called near the limit, eV/atom."""

LIMITS = (0.05, 0.06, 0.07, 0.08, 0.09, 0.1)
REQUIRED = 0.9
"""Specificity that a chosen limit must have on the rows on which it is chosen."""

METHODS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "CHGNet": lambda first, second: first,  # noqa: ARG005
    "SevenNet-l3i5": lambda first, second: second,  # noqa: ARG005
    "mean of both energies": lambda first, second: (first + second) / 2,
    "both (consensus)": np.maximum,
}
"""Height that is compared with the limit, by method."""


def share(part: int, whole: int) -> str:
    """Return a share with its interval and its denominator."""
    if not whole:
        return "none"
    interval = binomtest(part, whole).proportion_ci(method="wilson")
    return f"{100 * part / whole:.1f} % ({100 * interval.low:.0f}–{100 * interval.high:.0f}) of {whole}"


def sorted_out(label: np.ndarray, height: np.ndarray, limit: float = MARGIN) -> dict[str, Any]:
    """Count rows that a method calls as the label does, and the error of its heights."""
    stable, called = label <= MARGIN, (height <= limit) & (height >= -IMPLAUSIBLE)
    near = ~stable & (label <= NARROW)
    return {
        "stable": int(stable.sum()),
        "stable_found": int((stable & called).sum()),
        "unstable": int((~stable).sum()),
        "unstable_found": int((~stable & ~called).sum()),
        "near": int(near.sum()),
        "near_found": int((near & ~called).sum()),
        "mae": float(np.abs(np.maximum(height, 0.0) - label).mean()),
        "median": float(np.median(height - label)),
    }


def figures_of(parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return counts of both parts, by method and limit, and how the potentials agree."""
    figures: dict[str, Any] = {}
    for part, lines in parts.items():
        assessed = [line for line in lines if line["second"] is not None]
        label, first, second = (np.array([line[key] for line in assessed]) for key in ("label", "first", "second"))
        found = {name: height(first, second) for name, height in METHODS.items()}
        figures[part] = {
            "rows": len(lines),
            "assessed": len(assessed),
            "methods": {name: sorted_out(label, height) for name, height in found.items()},
            "limits": {
                name: {str(limit): sorted_out(label, height, limit) for limit in LIMITS}
                for name, height in found.items()
            },
            "agreement": _agreement(label, first <= MARGIN, second <= MARGIN),
        }
    return figures


def _agreement(label: np.ndarray, first: np.ndarray, second: np.ndarray) -> dict[str, dict[str, int]]:
    groups = {
        "both at most 0.1": first & second,
        "only CHGNet": first & ~second,
        "only SevenNet": ~first & second,
        "both above 0.1": ~first & ~second,
    }
    return {
        name: {"rows": int(mask.sum()), "stable": int((mask & (label <= MARGIN)).sum())}
        for name, mask in groups.items()
    }


def verdict_table(figures: Mapping[str, Any]) -> str:
    """Return sensitivity, specificity and error of each method."""
    header = (
        "at 0.1 eV/atom",
        "stable called so (sensitivity)",
        "unstable called so (specificity)",
        f"of labels from 0.1 to {NARROW:g}",
        "MAE, meV/atom",
        "less label, median",
    )
    rows = [
        (
            name,
            share(one["stable_found"], one["stable"]),
            share(one["unstable_found"], one["unstable"]),
            share(one["near_found"], one["near"]),
            f"{1000 * one['mae']:.1f}",
            f"{1000 * one['median']:.1f}",
        )
        for name, one in figures["reported"]["methods"].items()
    ]
    return table(header, rows)


def agreement_table(figures: Mapping[str, Any]) -> str:
    """Return how many rows each combination of verdicts holds, and how many of them are stable."""
    rows = [
        (name, one["rows"], share(one["stable"], one["rows"])) for name, one in figures["reported"]["agreement"].items()
    ]
    return table(("verdicts", "rows", "stable by first principles"), rows)


def chosen_limit(figures: Mapping[str, Any], method: str) -> float:
    """Return the highest limit whose specificity is high enough on the rows to choose on; the lowest if none is."""
    counts = figures["chosen on"]["limits"][method]
    good = [
        limit for limit in LIMITS if counts[str(limit)]["unstable_found"] >= REQUIRED * counts[str(limit)]["unstable"]
    ]
    return max(good, default=min(LIMITS))


def limit_table(figures: Mapping[str, Any]) -> str:
    """Return what a limit chosen on other rows gives."""
    rows = []
    for method in METHODS:
        limit = chosen_limit(figures, method)
        other, own = (figures[part]["limits"][method][str(limit)] for part in ("chosen on", "reported"))
        rows.append(
            (
                method,
                f"{limit:g}",
                share(other["unstable_found"], other["unstable"]),
                share(own["stable_found"], own["stable"]),
                share(own["unstable_found"], own["unstable"]),
            )
        )
    header = ("method", "limit, eV/atom", "specificity where chosen", "sensitivity", "specificity")
    return table(header, rows)


def in_words(figures: Mapping[str, Any]) -> str:
    """Return what was left out, in a sentence."""
    lacking = {part: one["rows"] - one["assessed"] for part, one in figures.items()}
    return (
        f"Of {figures['reported']['rows']} rows to report on, {lacking['reported']} lie in chemical systems of which "
        f"SevenNet's hull lacks phases, and were left out; of {figures['chosen on']['rows']} to choose limits on, "
        f"{lacking['chosen on']}. A chosen limit is the highest with a specificity of {100 * REQUIRED:.0f} % on the "
        "latter."
    )
