"""Thermal conductivity of designs by a Debye model of CHGNet's energies, which no design uses.

`python scripts/benchmarks/evaluate_thermal_conductivity.py --known 300 --labels crystals/aflow_elastic.parquet none
below1`: folders that `matgen design` wrote, of targets for the conductivity, and of none. Each candidate is relaxed by
CHGNet in its primitive cell and strained isotropically; Debye's temperature and Slack's formula follow from the
energies (`shared/debye.py`), as in the model of the training labels (AGL). The Grüneisen parameter is a third
derivative of the energy, for which CHGNet is too rough: with one parameter for all crystals the conductivity follows
the labels better, and this is what is counted.

With --known, crystals with labels of AFLOW are calculated too, and the median of the ratio of the calculated
conductivity to the label is divided out in a second row of figures.

Each result is appended to a file of JSON lines at once, and not calculated again.
"""

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from pymatgen.core import Lattice, Structure

from matgen.phonons.elastic_tensor import TIGHT, strained
from matgen.relaxation.symmetric import relax
from matgen.screening.crystals import primitive_cell
from matgen.targets.slack import conductivity_of, debye_temperature
from shared.debye import POISSON, EquationOfStateError, debye_crystal, fitted
from shared.designs import Line, designs, kept_results
from shared.measurement import single_thread
from shared.page import table

STRAINS = np.linspace(-0.03, 0.03, 9)
"""Of each edge."""

GAMMA = 2.0
"""Grüneisen parameter of all crystals, between those of covalent solids (1) and of soft ones (3)."""

SMALL = 10
"""Atoms of the largest known crystal that is calculated."""

KNOWN = "known"
LIMITS = {
    "below 1": lambda kappa: kappa < 1,
    "above 50": lambda kappa: kappa > 50,
    "above 100": lambda kappa: kappa > 100,
}


def main() -> None:
    """Calculate what is not yet calculated, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", help="of designs; one may be without a target")
    parser.add_argument("--out", type=Path, default=Path("results/thermal_conductivity.jsonl"))
    parser.add_argument("--known", type=int, default=0, metavar="N", help="labelled crystals")
    parser.add_argument("--labels", type=Path, help="of the training data: crystals/aflow_elastic.parquet")
    asked = parser.parse_args()
    if asked.known and asked.labels is None:
        parser.error("expected --labels beside --known: the table of the labelled crystals")
    single_thread()
    wanted = [*labelled(asked.labels, asked.known), *(one for folder in asked.folders for one in designs(folder))]
    print(figures(kept_results(asked.out, wanted, calculated)))


def labelled(path: Path, n: int) -> Iterator[tuple[Line, Structure]]:
    """Yield small crystals at random, with their labels by AFLOW."""
    if not n:
        return
    rows = [row for row in pq.read_table(path).to_pylist() if row["n_atoms"] <= SMALL and row["thermal_conductivity"]]
    for place in torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:n].tolist():
        row = rows[place]
        crystal = Structure(Lattice.from_parameters(*row["cell"]), row["Z"], np.array(row["frac"]).reshape(-1, 3))
        name = f"{row['material_id']}-{crystal.composition.reduced_formula}"
        yield {"folder": KNOWN, "name": name, "label": row["thermal_conductivity"]}, crystal


def calculated(crystal: Structure, calculator: Any) -> Line:
    """Return bulk modulus in GPa and conductivities in W/m/K, or why there are none."""
    started = time.process_time()
    relaxed, report = relax(primitive_cell(crystal), calculator, TIGHT)
    if not report.converged:
        return {"error": "not relaxed"}
    n = len(relaxed)
    cells = [strained(relaxed, strain * np.eye(3)) for strain in STRAINS]
    energies = [float(one["e"]) for one in calculator.model.predict_structure(cells, task="e", batch_size=len(cells))]
    try:
        found = debye(relaxed, [cell.volume / n for cell in cells], energies)
    except EquationOfStateError as error:
        found = {"error": str(error)}
    return found | {"n_atoms": n, "cpu_s": round(time.process_time() - started, 1)}


def debye(crystal: Structure, volumes: Sequence[float], energies: Sequence[float]) -> Line:
    """Return moduli and conductivities from energies per atom at volumes per atom.

    Raises:
        EquationOfStateError: the crystal is unstable against a change of volume.
    """
    n, volume = len(crystal), crystal.volume / len(crystal)
    mass = sum(float(site.specie.atomic_mass) for site in crystal) / n
    state = fitted(volumes, energies)
    bulk = state.bulk_modulus(volume)
    if bulk <= 0:
        raise EquationOfStateError(f"bulk modulus {bulk:.1f} GPa")
    theta = debye_temperature(bulk, bulk * 1.5 * (1 - 2 * POISSON) / (1 + POISSON), mass, volume)
    kappa = conductivity_of(gamma=GAMMA, debye_temperature=theta, mass=mass, volume=volume, n_atoms=n)
    found: Line = {"bulk_modulus": bulk, "theta": theta, "kappa": kappa, "residual": state.residual}
    try:
        whole = debye_crystal(state, mass, n)
    except EquationOfStateError as error:
        return found | {"no_grueneisen": str(error)}
    return found | {"grueneisen": whole.grueneisen, "kappa_of_grueneisen": whole.conductivity}


def figures(lines: Sequence[Line]) -> str:
    """Return the tables as Markdown."""
    known = [line for line in lines if line["folder"] == KNOWN]
    parts = [_known_table(known)] if known else []
    folders: dict[str, list[Line]] = {}
    for line in lines:
        if line["folder"] != KNOWN:
            folders.setdefault(line["folder"], []).append(line)
    ratios = [line["kappa"] / line["label"] for line in known if "kappa" in line]
    for factor in (1.0, *([median(ratios)] if ratios else [])):
        parts += [_shares(folders, factor)] if folders else []
    return "\n\n".join(parts)


def _known_table(known: Sequence[Line]) -> str:
    rows = []
    for key, name in (("kappa", f"γ = {GAMMA:g}"), ("kappa_of_grueneisen", "γ of the energies")):
        pairs = [(math.log10(line[key]), math.log10(line["label"])) for line in known if key in line]
        if len(pairs) > 2:
            own, label = np.array(pairs).T
            apart = own - label
            scatter = float(np.median(np.abs(apart - np.median(apart))))
            factor, r = 10 ** float(np.median(apart)), float(np.corrcoef(own, label)[0, 1])
            rows.append((name, f"{len(pairs)} of {len(known)}", f"{factor:.2f}", f"{r:.2f}", f"{scatter:.2f}"))
    heads = (
        "",
        "calculated",
        "median ratio to the label",
        "r of log10",
        "median difference of log10, ratio divided out",
    )
    return table(heads, rows)


def _shares(folders: dict[str, list[Line]], factor: float) -> str:
    """Return how often a conductivity is beyond each limit, and how much oftener than without a target."""
    plain = [line for lines in folders.values() for line in lines if not line["targets"]]
    rows = []
    for folder, lines in folders.items():
        kappas = [line["kappa"] / factor for line in lines if "kappa" in line]
        cells = [folder, f"{len(kappas)} of {len(lines)}", f"{median(kappas):.3g}" if kappas else ""]
        for is_met in LIMITS.values():
            met, usual = (sum(is_met(one.get("kappa", math.nan) / factor) for one in some) for some in (lines, plain))
            cells.append(f"{met} of {len(lines)}")
            cells.append(f"{met / len(lines) / (usual / len(plain)):.1f}" if lines[0]["targets"] and usual else "")
        rows.append(cells)
    heads = [head for limit in LIMITS for head in (limit, "times as often as without a target")]
    return table(("designs", "calculated", f"median κ / {factor:.2f}, W/m/K", *heads), rows)


if __name__ == "__main__":
    main()
