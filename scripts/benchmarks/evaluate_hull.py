"""How well the hull of CHGNet's energies agrees with the Materials Project's energies above the hull.

`python scripts/benchmarks/evaluate_hull.py --data FOLDER`: four measurements.

* agreement: rows of MP-20 test with labels of the MP2020 scheme, at CHGNet's static energy, in the hull that ships;
  then each with its own row left out of the hull.
* signed: the same rows against hulls made of labelled rows only, their own row left out: once of the labels, once of
  CHGNet's energies. A row may lie below its hull, so that agreement shows on both sides of zero.
* verdicts: all labelled rows, the unstable ones among them, at 0.1 eV/atom.
* relaxation: what a relaxation by CHGNet takes off the static energy, of a sample near the hull with up to 12 atoms.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from pymatgen.core import Composition, Element, Structure

from matgen.datasets.crystals import cell_from_parameters
from matgen.hull.hull import MARGIN, ON_HULL, REFUTED, ReferenceHull
from matgen.hull.reference import Reference, elements_of
from matgen.relaxation.calculators import chgnet_calculator
from matgen.relaxation.symmetric import relax
from matgen.workflows.data import data_folder
from shared.measurement import Measurement, Task
from shared.options import parser
from shared.page import percent, table

FORMATION = {"mp20_2021", "mpts52_2022"}
"""Sources whose formation energies are of the MP2020 scheme of corrections, which CHGNet was trained on."""

TABLES = ("mp24_le20.parquet", "mp24_gt20_on_hull.parquet")
COLUMNS = ["material_id", "formula", "n_atoms", "e_form", "e_form_src", "ehull", "ehull_src"]
LIMITS = (0.05, 0.06, 0.07, 0.08, 0.09, 0.1)  # eV/atom
BANDS = (0.02, 0.06, 0.1, 0.12, 0.15, 0.2, 0.3, 10.0)  # eV/atom
LARGEST = 12  # atoms in the crystals that are relaxed
CHUNK = 400
LABELS = "labels"

NEWEST = "MP2020 scheme"

Row = dict[str, Any]
Figures = dict[str, Any]


# ---------------------------------------------------------------- the rows


@cache
def rows(data: Path) -> dict[str, Row]:
    """All phases with CHGNet's energy, by name."""
    crystals = data / "crystals"
    energy = dict(zip(*pq.read_table(crystals / "chgnet_energies.parquet").to_pydict().values(), strict=True))
    found = pq.read_table(crystals / TABLES[0], columns=[*COLUMNS, "split", "mp20_split"]).to_pylist()
    found += pq.read_table(crystals / TABLES[1], columns=COLUMNS).to_pylist()
    return {
        row["material_id"]: {**row, "energy": energy[row["material_id"]]}
        for row in found
        if row["material_id"] in energy
    }


def test_rows(data: Path) -> list[str]:
    """Rows of MP-20 test whose formation energies are of the MP2020 scheme, in the order of their chemical systems."""
    wanted = (
        name
        for name, row in rows(data).items()
        if row.get("mp20_split") == "test" and row["e_form_src"] in FORMATION and row["ehull"] is not None
    )
    return in_order(data, wanted)


def in_order(data: Path, names: Iterable[str]) -> list[str]:
    """Rows so ordered that those of one chemical system follow each other."""
    return sorted(names, key=lambda name: (elements_of(rows(data)[name]["formula"]), name))


def era(row: Row) -> str:
    """What the label of a row is worth."""
    if row["ehull_src"] in FORMATION:
        return NEWEST
    return "MP of 2018, older scheme" if row["ehull_src"] == "automatminer2018" else "other"


def chemistry(formula: str) -> str:
    """The kind of compound by its most electronegative elements."""
    symbols = set(elements_of(formula))
    anions = (("oxides", {"O"}), ("halides", {"F", "Cl", "Br", "I"}), ("chalcogenides", {"S", "Se", "Te"}))
    anions += (("nitrides", {"N"}), ("phosphides to bismuthides", {"P", "As", "Sb", "Bi"}), ("hydrides", {"H"}))
    anions += (("borides, carbides, silicides, germanides", {"B", "C", "Si", "Ge"}),)
    for name, members in anions:
        if symbols & members and not symbols <= members:
            return name
    return "intermetallics" if all(Element(symbol).is_metal for symbol in symbols) else "others"


# ---------------------------------------------------------------- the work


@cache
def shipped() -> ReferenceHull:
    """The hull that ships."""
    return ReferenceHull.load()


@cache
def labelled(data: Path, energies: str) -> ReferenceHull:
    """A hull of the rows with formation energies of the MP2020 scheme: by their labels, or by CHGNet."""
    known = {name: row for name, row in rows(data).items() if row["e_form_src"] in FORMATION}
    elements = sorted(shipped().elements)
    if energies == LABELS:
        zero = [0.0] * len(elements)
        values = [row["e_form"] for row in known.values()]
    else:
        zero = [lowest(element) for element in elements]
        values = [row["energy"] for row in known.values()]
    n = len(elements) + len(known)
    formulas = (*elements, *(row["formula"] for row in known.values()))
    energy = np.array([*zero, *values])
    reference = Reference(energies, (*elements, *known), formulas, energy, np.zeros(n), np.zeros(n, dtype=bool))
    return ReferenceHull(reference)


def lowest(element: str) -> float:
    """The reference energy of an element by CHGNet, eV/atom."""
    found = shipped().above_hull(Composition(element), 0.0, shipped().potential)
    return -found.above_hull


def agreement(task: Task) -> list[dict[str, float]]:
    """Static heights of some rows, with and without their own entry."""
    hull, found = shipped(), []
    for name in task.how["names"]:
        row = rows(task.how["data"])[name]
        asked = (Composition(row["formula"]), row["energy"], hull.potential)
        inside, outside = (hull.above_hull(*asked, without=left_out).above_hull for left_out in ((), (name,)))
        found.append({"inside": inside, "outside": outside})
    return found


def signed(task: Task) -> list[dict[str, float]]:
    """Heights above hulls of labelled rows, without their own entry: by labels, and by CHGNet."""
    by_label, by_potential = (labelled(task.how["data"], energies) for energies in (LABELS, shipped().potential))
    found = []
    for name in task.how["names"]:
        row = rows(task.how["data"])[name]
        composition = Composition(row["formula"])
        label = by_label.above_hull(composition, row["e_form"], LABELS, without=(name,)).above_hull
        height = by_potential.above_hull(composition, row["energy"], by_potential.potential, without=(name,)).above_hull
        found.append({"label": label, "height": height})
    return found


def verdicts(task: Task) -> list[float]:
    """Static heights of some rows."""
    hull = shipped()
    some = (rows(task.how["data"])[name] for name in task.how["names"])
    return [hull.above_hull(Composition(row["formula"]), row["energy"], hull.potential).above_hull for row in some]


def relaxation(task: Task) -> list[dict[str, Any]]:
    """What a relaxation takes off the static energy."""
    calculator, found = chgnet_calculator(), []
    path = task.how["data"] / "crystals" / TABLES[0]
    some = pq.read_table(
        path, columns=["material_id", "cell", "Z", "frac"], filters=[("material_id", "in", list(task.how["names"]))]
    ).to_pylist()
    for row in some:
        structure = Structure(cell_from_parameters(row["cell"]), row["Z"], np.reshape(row["frac"], (-1, 3)))
        report = relax(structure, calculator)[1]
        found.append(
            {
                "name": row["material_id"],
                "static": report.energy_before - rows(task.how["data"])[row["material_id"]]["energy"],
                "lowered": report.energy_before - report.energy,
                "converged": report.converged,
            }
        )
    return found


# ---------------------------------------------------------------- the figures


def errors(labels: np.ndarray, heights: np.ndarray) -> dict[str, float]:
    """Agreement of heights with labels (n,), eV/atom; heights below the hull count as on it."""
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


def _rank_correlation(labels: np.ndarray, heights: np.ndarray) -> float:
    unstable = labels > ON_HULL
    ranks = [np.argsort(np.argsort(values[unstable])) for values in (labels, heights)]
    return float(np.corrcoef(*ranks)[0, 1])


def grouped(names: Sequence[str], key: Callable[[str], str]) -> dict[str, list[int]]:
    """Places of names by a key, the largest group first."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        found[key(name)].append(index)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def meV(value: float) -> str:  # noqa: N802 (the unit)
    """Energy in meV/atom."""
    return f"{1000 * value:.1f}"


def agreement_figures(names: Sequence[str], found: Sequence[Mapping[str, float]], known: Mapping[str, Row]) -> Figures:
    """Of MP-20 test: by chemistry, and with each row left out of its own hull."""
    inside, outside = (np.array([heights[side] for heights in found]) for side in ("inside", "outside"))
    labels = np.array([known[name]["ehull"] for name in names])
    kinds = {"all": list(range(len(names)))} | grouped(names, lambda name: chemistry(known[name]["formula"]))
    below = outside < -ON_HULL
    left_out = errors(labels, outside) | {"below": int(below.sum()), "median_depth": float(np.median(-outside[below]))}
    return {"agreement": {name: errors(labels[at], inside[at]) for name, at in kinds.items()}, "left_out": left_out}


def signed_figures(pairs: Sequence[Mapping[str, float]]) -> Figures:
    """Of MP-20 test, in hulls of labelled rows only."""
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
    """Of all labelled rows: by source, and by chemistry for those of the MP2020 scheme."""
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
    """What relaxing takes off, and how many labelled rows lie so little above 0.1 eV/atom."""
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
    """MAE and the like by chemistry."""
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
    """Sensitivity and specificity by source and chemistry."""
    header = (
        "labels",
        "≤ 0.1",
        "called so (sensitivity)",
        "> 0.1",
        "called so (specificity)",
        "MAE",
        "rank correlation",
    )
    lines = []
    for name, f in figures.items():
        found = [(f"{f[side]:,}", percent(f[f"{side}_found"], f[side])) for side in ("stable", "unstable")]
        lines.append((name, *found[0], *found[1], meV(f["mae"]), f"{f['rank_correlation']:.2f}"))
    return table(header, lines)


def limit_tables(figures: Figures) -> list[str]:
    """What another limit would do, and where the mistakes lie."""
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
    """What the tables do not hold."""
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
        f"{percent(gain['within_mean_of_limit'], 1)} lie so little above 0.1 eV/atom that it would turn the verdict."
    )
    too_low = (
        f"Holes of the potential: of {holes['on_hull']:,} rows of the {NEWEST} that lie on CHGNet's hull, "
        f"{holes['of_these_unstable']} are more than 0.1 eV/atom above that of the Materials Project; "
        f"{holes['refuted']} within 0.1 of the hull are refuted by more than {REFUTED} eV/atom."
    )
    return [left_out, with_sign, lowered, too_low]


def bar(figures: Figures) -> str:
    """The line for the summary."""
    whole, out, first = figures["agreement"]["all"], figures["left_out"], figures["verdicts"][NEWEST]
    found = [f"{percent(first[f'{side}_found'], first[side])} of {first[side]:,}" for side in ("stable", "unstable")]
    return (
        f"MAE {whole['mae']:.4f} eV/atom over {whole['rows']:,} (0 for all: {whole['mae_of_zero']:.4f}), own row left "
        f"out {out['mae']:.4f}; at 0.1 eV/atom: sensitivity {found[0]}, specificity {found[1]}"
    )


def chunked(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Names in parts."""
    return [tuple(names[i : i + CHUNK]) for i in range(0, len(names), CHUNK)]


def near_sample(known: Mapping[str, Row], n: int) -> list[str]:
    """Compounds near the hull with few atoms, drawn at random."""
    small = [
        name
        for name in shipped().reference.names
        if name in known and known[name]["n_atoms"] <= LARGEST and len(elements_of(known[name]["formula"])) > 1
    ]
    return sorted(np.random.default_rng(0).choice(small, n, replace=False).tolist())


def main() -> None:
    """Measure, print, record."""
    options = parser(__doc__, "hull", 7065).parse_args()
    data = data_folder(options.data)
    known = rows(data)
    tested = test_rows(data)[: options.n]
    with_label = in_order(data, (name for name, row in known.items() if row["ehull"] is not None))
    energies = shipped().reference.energies
    measurement = Measurement(options, {"reference": hashlib.sha256(energies.tobytes()).hexdigest()})

    def measured(work: Callable[[Task], list[Any]], names: Sequence[str]) -> list[Any]:
        tasks = [
            Task(f"{work.__name__} {i}", options.table, 0, how={"data": data, "names": part})
            for i, part in enumerate(chunked(names))
        ]
        return [value for part in measurement.run(work, tasks).values() for value in part]

    static = np.array(measured(verdicts, with_label))
    figures = agreement_figures(tested, measured(agreement, tested), known)
    figures["signed"] = signed_figures(measured(signed, tested))
    figures |= verdict_figures(with_label, static, known)
    figures["relaxation"] = relaxation_figures(measured(relaxation, near_sample(known, 60)), static)
    tables = [agreement_table(figures["agreement"]), verdict_table(figures["verdicts"]), *limit_tables(figures)]
    measurement.finish(figures, {"hull": "\n\n".join([*tables, *in_words(figures)]), "bar hull": bar(figures)})


if __name__ == "__main__":
    main()
