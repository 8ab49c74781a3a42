"""Errors of the shipped property file on formula-split test rows, of the derived properties too, and of their labels.

`python scripts/benchmarks/evaluate_property_heads.py FOLDER cache/crystals.npz`: the median of the four members that
read structures, for every property that heads predict or that follows by a formula from those; how far AFLOW and the
Materials Project agree about moduli of the same formula at the same volume; and Slack's formula
(`matgen/targets/slack.py`) on the rows of AFLOW. With --write, the errors are kept in
`matgen/weights/property_errors.json`, where `matgen properties` reads them.
"""

import argparse
import json
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from pymatgen.core import Composition, Lattice
from torch import Tensor

from matgen.nn.ensemble import mixed
from matgen.targets.calibration import cdf
from matgen.targets.learned import BY_FILE, LEARNED
from matgen.targets.slack import slack_conductivity
from matgen.weights.property_errors import FILE
from matgen.weights.property_files import heads_of, read_property_file
from shared.page import fill_page, table
from shared.property_list import property_list

BUILD = Path(__file__).resolve().parents[1] / "build" / "build_property_heads.py"
READS = "structure_properties"
SAME_VOLUME = 0.03
"""Relative difference of the volumes per atom within which rows of one formula count as one crystal."""


def main() -> None:
    """Predict, compare, print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the training tables")
    parser.add_argument("table", type=Path, help="the prepared one")
    parser.add_argument("--cache", type=Path, help="file that keeps the embeddings")
    parser.add_argument("--write", action="store_true", help="keep the errors")
    parser.add_argument("--document", type=Path, help="page whose list of all properties is filled")
    asked = parser.parse_args()
    rows = runpy.run_path(str(BUILD))["labelled_rows"](asked.folder, asked.table, asked.cache)
    heads = ("property", "unit", "test rows", "MAE", "MAE of log10", "MAE of the mean, log10", "in 90 %")
    found = of_properties(rows)
    print(table(heads, (line_of(name, figures) for name, figures in found.items())))
    if asked.write:
        kept = json.loads(FILE.read_text(encoding="utf-8"))
        kept["heads"] = found
        FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if asked.document:
        fill_page(asked.document, {"all properties": property_list()})
    print(agreement(asked.folder / "crystals"))
    print(slack(asked.folder / "crystals"))


def of_properties(rows: Any) -> dict[str, dict[str, float]]:
    """Return the figures of each property."""
    heads = heads_of(read_property_file("shipped"), READS)[0]
    test, train = rows.split == 2, rows.split == 0
    found = mixed(heads(rows.embedded[READS][:, test]))
    labels = with_derived({name: rows.labels[:, place] for place, name in enumerate(LEARNED)})
    of: dict[str, dict[str, float]] = {}
    for name, label in labels.items():
        known = label[test].isfinite()
        y, distribution = label[test].float(), found[name]
        guess = distribution.quantile(torch.tensor(0.5))
        rank = cdf(distribution, y.nan_to_num(1.0))
        inside = ((rank >= 0.05) & (rank <= 0.95))[known].float().mean()
        mae = float((guess - y)[known].abs().mean())
        of[name] = {"n_test": int(known.sum()), "mae": float(f"{mae:.4g}"), "coverage_90": round(float(inside), 3)}
        if bool((label[label.isfinite()] > 0).all()):
            seen = label[train]
            mean = seen[seen.isfinite()].log10().mean()
            of[name]["mae_log10"] = round(float((guess.log10() - y.log10())[known].abs().mean()), 4)
            of[name]["mean_log10"] = round(float((mean - y.log10())[known].abs().mean()), 4)
    return of


def line_of(name: str, figures: Mapping[str, float]) -> tuple[str, ...]:
    """Return the line of a property in the table."""
    logs = [f"{figures[key]:.3f}" if key in figures else "" for key in ("mae_log10", "mean_log10")]
    known = f"{figures['n_test']:,}", f"{figures['mae']:.3g}"
    return name, BY_FILE[name].unit, *known, *logs, f"{figures['coverage_90']:.1%}"


def with_derived(labels: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return labels, and those that follow from them."""
    bulk, shear = labels["bulk_modulus"], labels["shear_modulus"]
    return labels | {
        "pugh_ratio": bulk / shear,
        "poisson_ratio": (3 * bulk - 2 * shear) / (6 * bulk + 2 * shear),
        "young_modulus": 9 * bulk * shear / (3 * bulk + shear),
        "vickers_hardness": 0.92 * (shear / bulk) ** 1.137 * shear**0.708,
        "dielectric_constant": labels["refractive_index"] ** 2,
    }


def agreement(folder: Path) -> str:
    """Return how AFLOW and the Materials Project agree about moduli."""
    cells = pq.read_table(
        folder / "mp24_le20.parquet", columns=["material_id", "formula", "n_atoms", "cell"]
    ).to_pylist()
    place = {row["material_id"]: row for row in cells}
    of_mp: dict[str, list[tuple[float, dict[str, float]]]] = {}
    for row in pq.read_table(folder / "mp_labels_2019.parquet").to_pylist():
        if row["bulk_modulus"] and row["shear_modulus"] and row["material_id"] in place:
            crystal = place[row["material_id"]]
            of_mp.setdefault(_formula(crystal), []).append((_volume(crystal), row))
    pairs: dict[str, list[float]] = {"bulk_modulus": [], "shear_modulus": []}
    for row in pq.read_table(folder / "aflow_elastic.parquet").to_pylist():
        volume = _volume(row)
        near = [own for own_volume, own in of_mp.get(_formula(row), []) if abs(own_volume / volume - 1) < SAME_VOLUME]
        if len(near) == 1:
            for name, found in pairs.items():
                if row[name] and row[name] > 0 and near[0][name] > 0:
                    found.append(float(np.log10(row[name] / near[0][name])))
    lines = [
        (name, f"{len(found):,}", f"{np.mean(np.abs(found)):.3f}", f"{np.median(np.abs(found)):.3f}")
        for name, found in pairs.items()
    ]
    return table(("AFLOW and Materials Project", "pairs", "mean difference of log10", "median"), lines)


def slack(folder: Path) -> str:
    """Return how Slack's formula agrees with AFLOW's conductivities."""
    apart = []
    for row in pq.read_table(folder / "aflow_elastic.parquet").to_pylist():
        names = ("bulk_modulus", "shear_modulus", "debye_temperature")
        given = {name: row[name] for name in names}
        if not all(value and value > 0 for value in (*given.values(), row["thermal_conductivity"])):
            continue
        mass = Composition(row["formula"]).weight / Composition(row["formula"]).num_atoms
        found = slack_conductivity(**given, mass=mass, volume=_volume(row), n_atoms=row["n_atoms"])
        apart.append(np.log10(found / row["thermal_conductivity"]))
    figures = f"{len(apart):,}", f"{np.median(apart):+.3f}", f"{np.mean(np.abs(apart - np.median(apart))):.3f}"
    return table(("Slack's formula on AFLOW", "median of the ratio, log10", "mean difference from it"), [figures])


def _formula(row: dict[str, Any]) -> str:
    return Composition(row["formula"]).reduced_formula


def _volume(row: dict[str, Any]) -> float:
    return float(Lattice.from_parameters(*row["cell"]).volume) / row["n_atoms"]


if __name__ == "__main__":
    main()
