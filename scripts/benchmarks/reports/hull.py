"""Figures and tables on energies above the hull by CHGNet against those of the Materials Project."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from pymatgen.core import Element

from matgen.hull.hull import MARGIN, ON_HULL, REFUTED
from matgen.hull.reference import elements_of
from shared.page import percent, table

FORMATION = {"mp20_2021", "mpts52_2022"}
"""Sources of formation energies with the MP2020 corrections, which CHGNet was trained on."""

LIMITS = (0.05, 0.06, 0.07, 0.08, 0.09, 0.1)  # eV/atom
BANDS = (0.02, 0.06, 0.1, 0.12, 0.15, 0.2, 0.3, 10.0)  # eV/atom
LARGEST = 12  # atoms per relaxed cell
NEWEST = "MP2020 scheme"

Row = dict[str, Any]
Figures = dict[str, Any]


def era(row: Row) -> str:
    """Return the scheme of corrections of a label."""
    if row["ehull_src"] in FORMATION:
        return NEWEST
    return "MP of 2018, older scheme" if row["ehull_src"] == "automatminer2018" else "other"


def chemistry(formula: str) -> str:
    """Return the class of a compound by its most electronegative elements."""
    symbols = set(elements_of(formula))
    anions = (("oxides", {"O"}), ("halides", {"F", "Cl", "Br", "I"}), ("chalcogenides", {"S", "Se", "Te"}))
    anions += (("nitrides", {"N"}), ("phosphides to bismuthides", {"P", "As", "Sb", "Bi"}), ("hydrides", {"H"}))
    anions += (("borides, carbides, silicides, germanides", {"B", "C", "Si", "Ge"}),)
    for name, members in anions:
        if symbols & members and not symbols <= members:
            return name
    return "intermetallics" if all(Element(symbol).is_metal for symbol in symbols) else "others"


def errors(labels: np.ndarray, heights: np.ndarray) -> dict[str, float]:
    """Return the errors of heights against labels (n,), eV/atom; heights below the hull count as zero."""
    apart = np.abs(np.maximum(heights, 0.0) - labels)
    return {
        "rows": len(labels),
        "mae": float(apart.mean()),
        "mae_of_zero": float(np.abs(labels).mean()),
        "bias": float((np.maximum(heights, 0.0) - labels).mean()),
        "within_25_meV": float((apart <= 0.025).mean()),
        "same_verdict": float(((labels <= MARGIN) == (heights <= MARGIN)).mean()),
    }


def sorted_out(labels: np.ndarray, heights: np.ndarray) -> dict[str, float]:
    """Counts at 0.1 eV/atom: stable and unstable by label, and how many of each the hull calls the same."""
    stable, called = labels <= MARGIN, heights <= MARGIN
    return {
        "stable": int(stable.sum()),
        "stable_found": int((stable & called).sum()),
        "unstable": int((~stable).sum()),
        "unstable_found": int((~stable & ~called).sum()),
        "mae": float(np.abs(np.maximum(heights, 0.0) - labels).mean()),
        "rank_correlation": _rank_correlation(labels, heights),
    }


def grouped(names: Sequence[str], key: Callable[[str], str]) -> dict[str, list[int]]:
    """Places of names by a key, the largest group first."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        found[key(name)].append(index)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def meV(value: float) -> str:  # noqa: N802 (the unit)
    """Return an energy in eV/atom as text in meV/atom."""
    return f"{1000 * value:.1f}"


def agreement_figures(names: Sequence[str], found: Sequence[Mapping[str, float]], known: Mapping[str, Row]) -> Figures:
    """Return errors on MP-20 test: by chemistry, and with each row left out of its own hull."""
    inside, outside = (np.array([heights[side] for heights in found]) for side in ("inside", "outside"))
    labels = np.array([known[name]["ehull"] for name in names])
    kinds = {"all": list(range(len(names)))} | grouped(names, lambda name: chemistry(known[name]["formula"]))
    below = outside < -ON_HULL
    left_out = errors(labels, outside) | {"below": int(below.sum()), "median_depth": float(np.median(-outside[below]))}
    return {"agreement": {name: errors(labels[at], inside[at]) for name, at in kinds.items()}, "left_out": left_out}


def signed_figures(pairs: Sequence[Mapping[str, float]]) -> Figures:
    """Return errors on MP-20 test in hulls of labelled rows only."""
    label, height = (np.array([pair[side] for pair in pairs]) for side in ("label", "height"))
    return {
        "rows": len(pairs),
        "mae": float(np.abs(height - label).mean()),
        "median": float(np.median(np.abs(height - label))),
        "bias": float((height - label).mean()),
        "same_sign": float(((height <= 0) == (label <= 0)).mean()),
        "same_verdict": float(((height <= MARGIN) == (label <= MARGIN)).mean()),
        "correlation": float(np.corrcoef(height, label)[0, 1]),
    }


def verdict_figures(names: Sequence[str], static: np.ndarray, known: Mapping[str, Row]) -> Figures:
    """Return counts of verdicts on all labelled rows: by source, and by chemistry for the MP2020 scheme."""
    labels = np.array([known[name]["ehull"] for name in names])
    eras = grouped(names, lambda name: era(known[name]))
    best = eras[NEWEST]
    kinds = grouped([names[i] for i in best], lambda name: chemistry(known[name]["formula"]))
    groups = {NEWEST: best} | eras | {f"{NEWEST}, {name}": [best[i] for i in at] for name, at in kinds.items()}
    label, height = labels[best], static[best]
    return {
        "verdicts": {name: sorted_out(labels[at], static[at]) for name, at in groups.items()},
        "limits": {
            str(limit): {
                "sensitivity": float((height[label <= MARGIN] <= limit).mean()),
                "specificity": float((height[label > MARGIN] > limit).mean()),
            }
            for limit in LIMITS
        },
        "bands": {
            f"{low:g} to {high:g}": {
                "rows": int(((label > low) & (label <= high)).sum()),
                "unstable_found": int(((label > low) & (label <= high) & (height > MARGIN)).sum()),
                "median": float(np.median((height - label)[(label > low) & (label <= high)])),
            }
            for low, high in pairwise(BANDS)
        },
        "holes": {
            "on_hull": int((height <= ON_HULL).sum()),
            "of_these_unstable": int(((height <= ON_HULL) & (label > MARGIN)).sum()),
            "refuted": int(((height <= MARGIN) & (label - height > REFUTED)).sum()),
        },
    }


def relaxation_figures(found: Sequence[Mapping[str, Any]], static: np.ndarray) -> Figures:
    """Return energies gained by relaxation, and the share of rows that lie less than that above 0.1 eV/atom."""
    gains = np.array([line["lowered"] for line in found])
    return {
        "rows": len(gains),
        "converged": sum(line["converged"] for line in found),
        "mean": float(gains.mean()),
        "median": float(np.median(gains)),
        "quantile_95": float(np.quantile(gains, 0.95)),
        "largest": float(gains.max()),
        "static_differs": float(max(abs(line["static"]) for line in found)),
        "within_mean_of_limit": float(((static > MARGIN) & (static <= MARGIN + gains.mean())).mean()),
    }


def agreement_table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Return a table of errors by chemistry."""
    header = (
        "rows of MP-20 test",
        "n",
        "MAE, meV/atom",
        "MAE of 0 for all",
        "bias",
        "within 25 meV",
        "same side of 0.1",
    )
    lines = []
    for name, f in figures.items():
        energies = map(meV, (f["mae"], f["mae_of_zero"], f["bias"]))
        shares = (percent(f[share], 1) for share in ("within_25_meV", "same_verdict"))
        lines.append((name, f"{f['rows']:,}", *energies, *shares))
    return table(header, lines)


def verdict_table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Return a table of sensitivity and specificity by source and chemistry."""
    header = (
        "labels",
        "≤ 0.1",
        "found (sensitivity)",
        "> 0.1",
        "found (specificity)",
        "MAE",
        "rank correlation",
    )
    lines = []
    for name, f in figures.items():
        found = [(f"{f[side]:,}", percent(f[f"{side}_found"], f[side])) for side in ("stable", "unstable")]
        lines.append((name, *found[0], *found[1], meV(f["mae"]), f"{f['rank_correlation']:.2f}"))
    return table(header, lines)


def limit_tables(figures: Figures) -> list[str]:
    """Return tables of the verdicts by limit, and of the errors by label."""
    header = (f"limit for CHGNet, eV/atom ({NEWEST}, label at 0.1)", "sensitivity", "specificity")
    limits = [
        (limit, percent(f["sensitivity"], 1), percent(f["specificity"], 1)) for limit, f in figures["limits"].items()
    ]
    other = (f"label, eV/atom ({NEWEST})", "rows", "CHGNet says > 0.1", "CHGNet less label, meV/atom (median)")
    bands = [
        (band, f["rows"], percent(f["unstable_found"], f["rows"]), meV(f["median"]))
        for band, f in figures["bands"].items()
    ]
    return [table(header, limits), table(other, bands)]


def in_words(figures: Figures) -> list[str]:
    """Return the figures that are not in the tables, as sentences."""
    out, both, gain, holes = (figures[name] for name in ("left_out", "signed", "relaxation", "holes"))
    left_out = (
        f"With its own row left out of the hull: MAE {meV(out['mae'])} meV/atom; {out['below']:,} of {out['rows']:,} "
        f"rows then lie below the hull of all others, by {meV(out['median_depth'])} meV/atom (median)."
    )
    with_sign = (
        f"Against hulls of labelled rows alone, each left out of its own, with sign ({both['rows']:,} rows): MAE "
        f"{meV(both['mae'])} meV/atom (median {meV(both['median'])}, bias {meV(both['bias'])}), correlation "
        f"{both['correlation']:.3f}; on the same side of 0 in {percent(both['same_sign'], 1)}, of 0.1 in "
        f"{percent(both['same_verdict'], 1)}."
    )
    lowered = (
        f"A relaxation by CHGNet takes {meV(gain['mean'])} meV/atom off the static energy on average (median "
        f"{meV(gain['median'])}, 95 % below {meV(gain['quantile_95'])}, at most {meV(gain['largest'])}; "
        f"{gain['rows']} phases near the hull with up to {LARGEST} atoms). Of the labelled rows, "
        f"{percent(gain['within_mean_of_limit'], 1)} lie so little above 0.1 eV/atom that it would change the verdict."
    )
    too_low = (
        f"Holes of the potential: of {holes['on_hull']:,} rows of the {NEWEST} that lie on CHGNet's hull, "
        f"{holes['of_these_unstable']} are more than 0.1 eV/atom above that of the Materials Project; "
        f"{holes['refuted']} within 0.1 of the hull are refuted by more than {REFUTED} eV/atom."
    )
    return [left_out, with_sign, lowered, too_low]


def bar(figures: Figures) -> str:
    """Return the line of the summary."""
    whole, out, first = figures["agreement"]["all"], figures["left_out"], figures["verdicts"][NEWEST]
    found = [f"{percent(first[f'{side}_found'], first[side])} of {first[side]:,}" for side in ("stable", "unstable")]
    return (
        f"MAE {whole['mae']:.4f} eV/atom over {whole['rows']:,} (0 for all: {whole['mae_of_zero']:.4f}), own row left "
        f"out {out['mae']:.4f}; at 0.1 eV/atom: sensitivity {found[0]}, specificity {found[1]}"
    )


def _rank_correlation(labels: np.ndarray, heights: np.ndarray) -> float:
    unstable = labels > ON_HULL
    ranks = [np.argsort(np.argsort(values[unstable])) for values in (labels, heights)]
    return float(np.corrcoef(*ranks)[0, 1])
