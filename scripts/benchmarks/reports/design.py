"""Figures, tables and plot of complete design runs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from matgen.checks.pair_distances import OF_RADII
from matgen.hull.hull import is_stable
from matgen.targets.properties import PROPERTIES
from shared.figure import save, subplots
from shared.page import percent, table

TARGETS = (0.5, 1.5, 3.0)  # eV

TOLERANCE = PROPERTIES["band_gap"].tolerance

MAX_EHULL = 0.1  # eV/atom


def shares(found: Mapping[str, Any], target: float | None) -> dict[str, Any]:
    """Return counts of one run; `requested` is the denominator of all."""
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
        "no_contact": sum(row["contact"] >= OF_RADII for row in candidates),
        "distinct": sum(row["distinct"] for row in candidates),
        "reads_back": sum(row["reads_back"] for row in candidates),
        "new_formula": sum(row["new"] for row in candidates),
        "novel": sum(row["novel"] for row in candidates),
        "on_hull": sum(is_stable(row["above_hull"], 0.0) for row in candidates),
        "is_minimum": sum(row["is_minimum"] for row in candidates),
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
    """Return how often designs without a target meet each target."""
    return {f"{t:g} eV": percent(sum(abs(row[kind] - t) <= TOLERANCE for row in rows), len(rows)) for t in TARGETS}


REQUESTED = {
    "found": "found",
    "predictor": "gap by predictor",
    "evaluator": "gap by evaluator",
    "sun": "S.U.N. ≤ 0.1",
    "on_hull": "on or below the hull",
    "is_minimum": "is a minimum",
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
    """Return tables of candidates, proposals and relaxations."""
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
    second = table(
        ("proposals of", "sampled", "gap by predictor", "gap by evaluator", "SMACT", "seconds of the run"), raw
    )
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


def plot(found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Plot histograms of predicted gaps: proposals and candidates, by predictor and evaluator."""
    figure, axes = subplots(2, 2, (9, 6), sharex=True)
    bins = [0.2 * i for i in range(31)]
    for column, (group, words) in enumerate((("proposals", "proposals, unselected"), ("candidates", "candidates"))):
        for row, kind in enumerate(("predictor", "evaluator")):
            for name, one in found.items():
                values = [min(x[kind], bins[-1]) for x in one[group]]
                weights = [1 / max(len(values), 1)] * len(values)
                style = {"color": "0.6", "fill": True, "alpha": 0.5} if name == "no target" else {"fill": False}
                axes[row][column].hist(values, bins, weights=weights, histtype="step", label=name, lw=1.6, **style)
            axes[row][column].set_title(f"{words}, by the {kind}", fontsize=10)
    for axis in axes[1]:
        axis.set_xlabel("predicted PBE gap / eV")
    for axis in axes[:, 0]:
        axis.set_ylabel("share")
    axes[0][0].legend(frameon=False)
    save(figure, path)


def soundness(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return shares of sound candidates over all runs."""
    total = sum(f["found"] for f in figures.values())
    kinds = {"reads_back": "read back", "smact": "SMACT-valid", "symmetric": "not P1", "no_contact": "no contact < 0.7"}
    parts = [f"{words} {percent(sum(f[k] for f in figures.values()), total)}" for k, words in kinds.items()]
    return f"of {total} candidates found: {', '.join(parts)}"
