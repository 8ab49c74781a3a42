"""Figures and tables of molecules made by the shipped models."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from matgen.datasets.molecules import LABELS, MoleculeTable
from matgen.metrics.molecule_distributions import distribution_distances, histograms
from matgen.metrics.molecules import (
    AtomSets,
    assess_molecules,
    known_smiles,
    molecule_metrics,
    perceived_molecules,
)
from shared.page import table

OVERDRAWN = 3
"""Molecules sampled for each one that the energy keeps, the ratio of design."""

FEWEST = 300
"""Smallest number of values of a quantity whose distribution is compared."""

NOVELTY = {"known": 0.0, "novel": 1.0, "newer": 1.5}
"""Factors of the weight of novelty in the ranking."""

PUBLISHED = {
    "EDM": ("98.7", "82.0", "91.9"),
    "GeoLDM": ("98.9", "89.4", "93.8"),
    "GeoBFN-2k": ("99.3", "93.3", "96.9"),
    "SemlaFlow (predicts bonds)": ("99.9", "99.7", "99.4"),
    "QM9 itself": ("99.4", "95.3", "97.7"),
}

PUBLISHED_GAPS = {"EDM": 655, "GeoLDM": 587, "GeoBFN": 577}


@cache
def molecules(path: Path) -> MoleculeTable:
    """Return the prepared table, loaded once per process."""
    return MoleculeTable.load(path)


def figures(results: dict[str, Any], options: Any) -> dict[str, Any]:
    """Return all figures of the record."""
    sampled = [row for key, rows in results.items() if key.startswith("free") for row in rows]
    made = [row for key, rows in results.items() if key.startswith("shaped") for row in rows]
    designed = [row for key, rows in results.items() if key.startswith("gap") for row in rows]
    labelled = [rows for key, rows in results.items() if key.startswith("labels")]
    whole = molecules(options.table)
    known = known_smiles(assess_molecules(_split(whole, 0)))
    best = {name: _best(sampled, options.n, weight) for name, weight in NOVELTY.items()}
    shown = [row for row in best["novel"] if "after" in row]
    sets = {
        "raw": (sampled, "before", OVERDRAWN * options.n),
        **{name: (rows, "before", options.n) for name, rows in best.items()},
        "unrelaxed": (shown, "before", len(shown)),
        "relaxed": (shown, "after", len(shown)),
    }
    found: dict[str, Any] = {"free": {name: _edm(*one, known) for name, one in sets.items()}}
    found["distances"] = _distances(
        whole, {"one sample each": (sampled, "before"), "ranked": (best["novel"], "before")}
    )
    found["shaped"] = {"ours": _median([[row["rmsd"], row["drop"]] for row in made])}
    found["shaped"]["QM9"] = _median([row["qm9"] for row in made])
    found["shaped"]["ETKDG + MMFF94"] = _median([row["etkdg"] for row in made if row["etkdg"]])
    found["stereo"] = {
        f"{what}_{name}": [sum(row[f"{what}_{name}"] for row in made), sum(row[total] for row in made)]
        for name in ("before", "after")
        for what, total in (("right", "centres"), ("bonds", "bonds"))
    }
    found["gaps"] = {
        name: float(np.nanmean([abs(row[name] - row["target"]) for row in designed]))
        for name in ("predictor", "evaluator", "xtb", "xtb_levels")
    } | {
        "n": len(designed),
        "requested": 5 * sum(key.startswith("gap") for key in results),
        "targets": len({row["target"] for row in designed}),
        "without_xtb": sum(math.isnan(row["xtb"]) for row in designed),
    }
    models = labelled[0].keys()
    found["labels"] = {
        model: {label: float(np.mean(np.concatenate([part[model][label] for part in labelled]))) for label in LABELS}
        for model in models
    } | {"n": sum(len(part["evaluator"]["gap"]) for part in labelled)}
    return found


def _best(rows: list[dict[str, Any]], n: int, novelty: float) -> list[dict[str, Any]]:
    """Return the n best-ranked samples with distinct graphs that their geometries show, in the order of sampling.

    Args:
        rows: samples.
        n: how many to return.
        novelty: factor of the weight of novelty.
    """

    def total(row: dict[str, Any]) -> float:
        return float(sum(value * (novelty if name == "novelty" else 1.0) for name, value in row["terms"].items()))

    different: dict[str, dict[str, Any]] = {}
    for row in sorted((row for row in rows if row["shown"]), key=total):
        different.setdefault(row["smiles"], row)
    chosen = {id(row) for row in list(different.values())[:n]}
    return [row for row in rows if id(row) in chosen]


def _split(whole: MoleculeTable, number: int) -> AtomSets:
    chosen = whole.select((whole.split == number).nonzero().ravel())
    return AtomSets(
        chosen.templates.site_element.numpy(),
        chosen.geometry.coords.double().numpy(),
        chosen.templates.n_sites.numpy(),
    )


def _atoms(rows: list[dict[str, Any]], name: str) -> AtomSets:
    sizes = np.array([len(row["elements"]) for row in rows])
    elements = np.concatenate([row["elements"] for row in rows])
    return AtomSets(elements, np.concatenate([np.array(row[name]) for row in rows]), sizes)


def _distances(
    whole: MoleculeTable, sets: dict[str, tuple[list[dict[str, Any]], str]]
) -> dict[str, dict[str, list[float]]]:
    """Return Jensen–Shannon distance to QM9's test split and number of values, by quantity and set."""
    test = histograms(perceived_molecules(_split(whole, 2)))
    found: dict[str, dict[str, list[float]]] = {}
    for title, (rows, name) in sets.items():
        for one in distribution_distances(histograms(perceived_molecules(_atoms(rows, name))), test, FEWEST):
            if min(one.n, one.n_other) >= FEWEST:
                found.setdefault(one.name, {})[title] = [one.value, one.n]
    return found


def _edm(rows: list[dict[str, Any]], name: str, requested: int, known: frozenset[str]) -> dict[str, float]:
    found = molecule_metrics(assess_molecules(_atoms(rows, name)), known, requested)
    names = ("atom_stability", "molecule_stability", "validity", "uniqueness", "valid_and_unique", "novelty")
    return {one: float(getattr(found, one)) for one in names} | {"requested": requested}


def _median(pairs: list[list[float]]) -> dict[str, float]:
    """Return medians of RMSD and energy drop; a molecule that xTB cannot relax counts as infinitely far."""
    both = np.array(pairs)
    both[np.isnan(both[:, 1])] = math.inf
    moved, drop = both.T
    return {
        "rmsd": float(np.median(moved)),
        "drop": float(np.median(drop)),
        "rmsd_90": float(np.quantile(moved, 0.9, method="higher")),
        "drop_90": float(np.quantile(drop, 0.9, method="higher")),
        "n": len(moved),
        "failed": int(np.isinf(drop).sum()),
    }


def pages(found: dict[str, Any]) -> dict[str, str]:
    """Return the Markdown by place."""

    def share(value: float) -> str:
        return f"{100 * value:.1f}"

    titles = {
        "raw": "one sample each, unselected",
        "known": "the best third by the energy, novelty not weighted",
        "novel": "the best third by the energy",
        "newer": "the best third by the energy, novelty weighted 1.5 times",
        "unrelaxed": "of the best third, those that were relaxed, before",
        "relaxed": "the same, relaxed by GFN2-xTB",
    }
    free_rows = []
    for name, title in titles.items():
        values = [share(found["free"][name][key]) for key in KEYS]
        free_rows.append([f"matgen, {title}, {found['free'][name]['requested']:,}", *values])
    free_rows += [[name, *values, "", ""] for name, values in PUBLISHED.items()]
    heads = ["", "atoms stable, %", "molecules stable, %", "valid, %", "unique of valid, %", "novel of unique, %"]
    geometry = [
        [
            name,
            f"{row['rmsd']:.3f}",
            f"{row['drop']:.3f}",
            f"{row['rmsd_90']:.3f}",
            f"{row['drop_90']:.3f}",
            str(row["n"]),
            str(row["failed"]),
        ]
        for name, row in found["shaped"].items()
    ]
    gaps = [[f"matgen, by {name}", f"{1000 * found['gaps'][key]:.0f}"] for name, key in READERS.items()]
    gaps += [[name, str(value)] for name, value in PUBLISHED_GAPS.items()]
    errors = [
        [model, *(f"{found['labels'][model][label]:.3f}" for label in LABELS)]
        for model in found["labels"]
        if model != "n"
    ]
    return bars(found) | {
        "molecules free": table(heads, free_rows),
        "molecules shaped": table(
            ["", "median RMSD, Å", "median drop, eV", "90 % RMSD", "90 % drop", "of", "not relaxed"], geometry
        ),
        "molecules gaps": table(
            [f"{found['gaps']['n']} molecules for {found['gaps']['targets']} gaps", "MAE, meV"], gaps
        ),
        "molecules distances": table(
            ["quantity", "one sample each (values)", "the best third (values)"],
            [
                [name, *(_distance(row.get(title)) for title in ("one sample each", "ranked"))]
                for name, row in found["distances"].items()
            ],
        ),
        "molecules stereo": _stereo(found["stereo"]),
        "molecules labels": table([f"MAE on {found['labels']['n']} test rows", *LABELS], errors),
    }


def bars(found: dict[str, Any]) -> dict[str, str]:
    """Return the lines of the summary."""
    made, gaps = found["shaped"]["ours"], found["gaps"]
    errors = {
        model: ", ".join(
            (f"{1000 * row['gap']:.0f} meV", f"{1000 * row['atomization_energy']:.0f} meV", f"{row['dipole']:.2f} D")
        )
        for model, row in found["labels"].items()
        if model != "n"
    }
    (right, centres), (after, _) = found["stereo"]["right_before"], found["stereo"]["right_after"]
    return {
        "bar molecules free": "; ".join(
            f"{title} {_shares(found['free'][name])}"
            for name, title in {
                "novel": "the best third by the energy:",
                "newer": "with novelty weighted 1.5 times:",
                "known": "with novelty not weighted:",
                "raw": "unselected:",
            }.items()
        ),
        "bar molecules shaped": f"{made['rmsd']:.3f} Å, {made['drop']:.3f} eV (of {made['n']})",
        "bar molecules gaps": f"{1000 * gaps['evaluator']:.0f} meV, {1000 * gaps['xtb']:.0f} meV by the line and "
        f"{1000 * gaps['xtb_levels']:.0f} by the levels ({_counts(gaps)})",
        "bar molecules labels": "; ".join(f"{model} {text}" for model, text in errors.items()),
        "bar molecules stereo": f"{100 * right / centres:.1f} % as sampled, {100 * after / centres:.1f} % after "
        f"relaxation, of {centres}",
    }


def _shares(found: dict[str, float]) -> str:
    share = [f"{100 * found[key]:.1f}" for key in KEYS]
    return f"{' / '.join(share[:3])} %, unique {share[3]}, novel {share[4]} (of {found['requested']:,})"


def _distance(found: list[float] | None) -> str:
    return f"{found[0]:.3f} ({found[1]:,})" if found else ""


def _counts(found: dict[str, Any]) -> str:
    missing = f", {found['without_xtb']} of them without a result of xTB" if found["without_xtb"] else ""
    return f"{found['n']} molecules of {found['requested']} requested, for {found['targets']} gaps{missing}"


def _stereo(found: dict[str, list[int]]) -> str:
    (right, centres), (after, _) = found["right_before"], found["right_after"]
    (sides, bonds), (later, _) = found["bonds_before"], found["bonds_after"]
    return (
        f"Of {centres} centres, {right} have the requested chirality as sampled and {after} after relaxation; of "
        f"{bonds} double bonds, {sides} and {later} have the requested configuration."
    )


KEYS = ("atom_stability", "molecule_stability", "validity", "uniqueness", "novelty")


READERS = {
    "the predictor": "predictor",
    "the evaluator": "evaluator",
    "xTB, a line": "xtb",
    "xTB, levels": "xtb_levels",
}
