"""Imaginary modes or none: potentials against published DFT phonons.

`python scripts/benchmarks/evaluate_phonons.py --labels df-summary-tol=0.01.csv.gz --crystals crystals/mp24_le20.parquet
--calculator chgnet`: the labels are the summary of PhononDB (PBEsol) in github.com/janosh/ffonons, data/phonon-db; the
crystals are those of the Materials Project with the same number.

Crystals: those with a label, at most 10 atoms in the primitive cell, and at most 160 atoms in all displaced supercells
together, in the order of their number, shuffled with seed 0. The first 30 are for choosing tolerances and settings,
the next 110 are for the figures. Their names are kept in `chosen.json`.

Each result is appended to a file of JSON lines at once, and not calculated again; forces and force constants are kept
beside it.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from pymatgen.core import Lattice, Structure

from matgen.phonons.config import PhononConfig
from matgen.phonons.displacements import displaced, force_constants
from matgen.phonons.frequencies import at, bands, commensurate, lowest, mesh
from matgen.phonons.supercell import shortest
from matgen.relaxation.calculators import calculator_maker
from matgen.relaxation.symmetric import primitive, relax
from shared.measurement import read_lines, single_thread

RULE = PhononConfig(length=10.0, max_atoms=120)
"""Of the displacements whose atoms are counted to choose crystals."""

SMALL, WORK = 10, 160
"""Most atoms of the primitive cell, and of all displaced supercells together."""

FOR_CHOOSING, FOR_FIGURES = 30, 110
LOOSE = 0.02
"""Largest force, eV/Å, of a crystal that did not converge tightly and is calculated all the same."""

Line = dict[str, Any]


def main() -> None:
    """Calculate what is not yet calculated, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True, help="summary of DFT phonons")
    parser.add_argument("--crystals", type=Path, required=True, help="table of the Materials Project")
    parser.add_argument("--calculator", default="chgnet")
    parser.add_argument("--out", type=Path, default=Path("results/phonons"))
    usual = PhononConfig()
    parser.add_argument("--length", type=float, default=usual.length, help="of the supercell, Å")
    parser.add_argument("--max-atoms", type=int, default=usual.max_atoms, help="of the supercell")
    parser.add_argument("--displacement", type=float, default=usual.displacement, help="Å")
    parser.add_argument("-n", type=int, default=FOR_CHOOSING + FOR_FIGURES, help="crystals, of those of the rule")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    single_thread()
    name = asked.calculator.partition(":")[0]
    config = PhononConfig(length=asked.length, max_atoms=asked.max_atoms, displacement=asked.displacement)
    path = asked.out / f"{name}.jsonl"
    done = {line["name"] for line in read_lines(path)}
    calculator = calculator_maker(asked.calculator)()
    with path.open("a", encoding="utf-8") as stream:
        for line, crystal in chosen(asked.labels, asked.crystals, asked.out / "chosen.json")[: asked.n]:
            if line["name"] not in done:
                found = line | calculated(crystal, calculator, config, asked.out / name / line["name"])
                stream.write(json.dumps(found) + "\n")
                stream.flush()


def chosen(labels: Path, crystals: Path, kept: Path) -> Sequence[tuple[Line, Structure]]:
    """Return the crystals of the rule, with their labels; their names are read from a file if it exists."""
    found = list(labelled(labels, crystals))
    if not kept.exists():
        random.Random(0).shuffle(found)
        within = ((line, crystal) for line, crystal in found if work(crystal) <= WORK)
        names = [next(within)[0]["name"] for _ in range(FOR_CHOOSING + FOR_FIGURES)]
        kept.write_text(json.dumps(names) + "\n", encoding="utf-8")
    of = {line["name"]: (line, crystal) for line, crystal in found}
    return [of[name] for name in json.loads(kept.read_text(encoding="utf-8"))]


def labelled(labels: Path, crystals: Path) -> Iterator[tuple[Line, Structure]]:
    """Yield small crystals with labels, in the order of their number."""
    table = pd.read_csv(labels)
    table = table[table.model == "pbe"].set_index("material_id")
    columns = ["material_id", "n_atoms", "cell", "Z", "frac"]
    rows = pq.read_table(crystals, columns=columns, filters=[("n_atoms", "<=", SMALL)]).to_pylist()
    for row in sorted(rows, key=lambda one: one["material_id"]):
        if row["material_id"] in table.index:
            label = table.loc[row["material_id"]]
            crystal = Structure(Lattice.from_parameters(*row["cell"]), row["Z"], np.array(row["frac"]).reshape(-1, 3))
            line = {
                "name": row["material_id"],
                "formula": crystal.composition.reduced_formula,
                "dft_thz": float(label.min_freq_thz),
                "dft_imaginary": bool(label.has_imag_phonon_freq),
                "dft_at_gamma": bool(label.has_imaginary_gamma_phonon_freq),
            }
            yield line, primitive(crystal, RULE.symprec)


def work(crystal: Structure) -> int:
    """Atoms of all displaced supercells."""
    found = displaced(crystal, RULE)
    return len(found.supercell) * len(found.supercells_with_displacements)


def calculated(crystal: Structure, calculator: Any, config: PhononConfig, folder: Path) -> Line:
    """Return the lowest frequencies in THz, or why there are none; keep force constants in a folder."""
    started = time.process_time()
    relaxed, report = relax(crystal, calculator, config.relaxation)
    found: Line = {"relaxed": report.reason, "max_force": report.max_force, "steps": report.steps}
    if not report.converged and not report.max_force < LOOSE:
        return found | {"error": "not relaxed"}
    cell = primitive(relaxed, config.symprec)
    constants = force_constants(cell, calculator, config)
    seconds = time.process_time() - started
    q = commensurate(constants)
    lows = {
        "commensurate": lowest(constants, q),
        "path": lowest(constants, bands(constants).q),
        "mesh": lowest(constants, mesh(constants, config.mesh)),
        "gamma": lowest(constants, q[:1]),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    constants.save(folder.with_suffix(".yaml"), settings={"force_constants": True}, compression=True)
    return found | {
        "volume_ratio": relaxed.volume / len(relaxed) / (crystal.volume / len(crystal)),
        "supercell": len(constants.supercell),
        "displacements": len(constants.supercells_with_displacements),
        "length": shortest(constants.supercell.cell),
        "at_gamma": at(constants, q[:1])[0].tolist(),
        "lowest": {name: low.thz for name, low in lows.items()},
        "q": {name: low.q.tolist() for name, low in lows.items()},
        "cpu_s": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
