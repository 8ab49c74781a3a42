"""Imaginary modes or none: potentials against published DFT phonons.

`python scripts/benchmarks/evaluate_phonons.py --labels df-summary-tol=0.01.csv.gz --crystals crystals/mp24_le20.parquet
--calculator chgnet` calculates; without `--calculator` it prints the figures. The labels are the summary of PhononDB
(PBEsol) in github.com/janosh/ffonons, data/phonon-db; the crystals are those of the Materials Project with the same
number.

Crystals: those with a label, at most 10 atoms in the primitive cell, and at most 160 atoms in all displaced supercells
together, in the order of their number, shuffled with seed 0. The first 30 are for choosing tolerances and settings,
the next 110 are for the figures. With `--further 150 --work 400` these are the 150 after them with at most 400 atoms in
all displaced supercells. Names are kept in `chosen.json`.

Each result is appended to a file of JSON lines at once, and not calculated again; forces and force constants are kept
beside it.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from pymatgen.core import Lattice, Structure

from matgen.phonons.calculation import PhononError, relaxed_tightly
from matgen.phonons.config import PhononConfig
from matgen.phonons.displacements import displaced, force_constants
from matgen.phonons.frequencies import at, bands, commensurate, lowest, mesh, told
from matgen.phonons.supercell import shortest
from matgen.relaxation.calculators import calculator_maker
from matgen.relaxation.symmetric import primitive
from shared.measurement import read_lines, single_thread
from shared.page import table

RULE = PhononConfig(length=10.0, max_atoms=120)
"""Of the displacements whose atoms are counted to choose crystals."""

SMALL, WORK = 10, 160
"""Most atoms of the primitive cell, and of all displaced supercells together."""

FOR_CHOOSING, FOR_FIGURES = 30, 110
TOLERANCES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
"""THz; the one that agrees best on the crystals for choosing is used."""

FLAG = 0.01
"""Tolerance of the published flag, THz."""

CONFUSION = ("both imaginary", "DFT alone", "potential alone", "none")

Line = dict[str, Any]


def main() -> None:
    """Calculate what is not yet calculated, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True, help="summary of DFT phonons")
    parser.add_argument("--crystals", type=Path, required=True, help="table of the Materials Project")
    parser.add_argument("--calculator", help="calculate by this one; without, print the figures of what there is")
    parser.add_argument("--out", type=Path, default=Path("results/phonons"))
    parser.add_argument("--displacement", type=float, default=PhononConfig().displacement, help="Å")
    parser.add_argument("--keep-cell", action="store_true", help="relax the atoms alone")
    parser.add_argument("--tolerance", type=float, help="THz; default: the one that agrees best on those for choosing")
    parser.add_argument("--further", type=int, default=0, metavar="N", help="N crystals after those for the figures")
    parser.add_argument(
        "--work", type=int, default=WORK, help="most atoms of all displaced supercells of those further"
    )
    parser.add_argument("--part", default="0:1", metavar="I:N", help="of N processes side by side, this is number I")
    asked = parser.parse_args()
    if asked.calculator is None:
        names = json.loads((asked.out / "chosen.json").read_text(encoding="utf-8"))
        found = {path.stem: {line["name"]: line for line in read_lines(path)} for path in asked.out.glob("*.jsonl")}
        results = {name: [lines[one] for one in names if one in lines] for name, lines in found.items()}
        print(figures(results, asked.labels, asked.tolerance, FOR_CHOOSING + (FOR_FIGURES if asked.further else 0)))
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    single_thread()
    name = asked.calculator.partition(":")[0] + ("-given-cell" if asked.keep_cell else "")
    path = asked.out / f"{name}.jsonl"
    done = {line["name"] for line in read_lines(path)}
    calculator = calculator_maker(asked.calculator)()
    config = PhononConfig(displacement=asked.displacement, keep_cell=asked.keep_cell)
    part, parts = map(int, asked.part.split(":"))
    with path.open("a", encoding="utf-8") as stream:
        for line, crystal in chosen(asked)[part::parts]:
            if line["name"] not in done:
                found = line | calculated(crystal, calculator, config, asked.out / name / line["name"])
                stream.write(json.dumps(found) + "\n")
                stream.flush()


def chosen(asked: argparse.Namespace) -> Sequence[tuple[Line, Structure]]:
    """Return the crystals of the rule, with their labels; their names are read from a file if it exists."""
    found, kept = list(labelled(asked.labels, asked.crystals)), asked.out / "chosen.json"
    if not kept.exists():
        random.Random(0).shuffle(found)
        names = within(found, WORK, FOR_CHOOSING + FOR_FIGURES)
        names += within([one for one in found if one[0]["name"] not in names], asked.work, asked.further)
        kept.write_text(json.dumps(names) + "\n", encoding="utf-8")
    of = {line["name"]: (line, crystal) for line, crystal in found}
    return [of[name] for name in json.loads(kept.read_text(encoding="utf-8"))]


def within(found: Sequence[tuple[Line, Structure]], most: int, n: int) -> list[str]:
    """Return the names of the first `n` crystals with no more atoms in their displaced supercells than `most`."""
    return list(islice((line["name"] for line, crystal in found if work(crystal) <= most), n))


def labelled(labels: Path, crystals: Path) -> Iterator[tuple[Line, Structure]]:
    """Yield small crystals with labels, in the order of their number."""
    known = pd.read_csv(labels)
    known = known[known.model == "pbe"].set_index("material_id")
    columns = ["material_id", "n_atoms", "cell", "Z", "frac"]
    rows = pq.read_table(crystals, columns=columns, filters=[("n_atoms", "<=", SMALL)]).to_pylist()
    for row in sorted(rows, key=lambda one: one["material_id"]):
        if row["material_id"] in known.index:
            label = known.loc[row["material_id"]]
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


def calculated(crystal: Structure, calculator: Any, config: PhononConfig, kept: Path) -> Line:
    """Return the lowest frequencies in THz, or why there are none; keep forces and force constants in a file."""
    found: Line = {}
    started = time.process_time()
    try:
        cell, report = relaxed_tightly(crystal, calculator, config)
        found |= {"relaxed": report.reason, "max_force": report.max_force, "steps": report.steps}
        found["volume_ratio"] = cell.volume / len(cell) / (crystal.volume / len(crystal))
        found |= in_supercell(cell, calculator, config, kept)
        larger = replace(config, length=config.length_if_uncertain, max_atoms=config.max_atoms_if_uncertain)
        if uncertain(found):
            found["larger"] = in_supercell(cell, calculator, larger, kept.with_name(f"{kept.name}-larger"))
    except PhononError as error:
        found["error"] = str(error)
    return found | {"cpu_s": round(time.process_time() - started, 1)}


def in_supercell(cell: Structure, calculator: Any, config: PhononConfig, kept: Path) -> Line:
    """Return the lowest frequencies by one supercell."""
    constants = force_constants(cell, calculator, config)
    q, between = commensurate(constants), np.concatenate([bands(constants).q, mesh(constants, config.mesh)])
    far = told(constants, between)
    lows = {
        "commensurate": lowest(constants, q),
        "far": lowest(constants, between[far] if far.any() else q),
        "near": lowest(constants, between[~far]),
        "gamma": lowest(constants, q[:1]),
    }
    kept.parent.mkdir(parents=True, exist_ok=True)
    constants.save(kept.with_suffix(".yaml"), settings={"force_constants": True}, compression=True)
    return {
        "supercell": len(constants.supercell),
        "displacements": len(constants.supercells_with_displacements),
        "length": shortest(constants.supercell.cell),
        "at_gamma": at(constants, q[:1])[0].tolist(),
        "lowest": {name: low.thz for name, low in lows.items()},
        "q": {name: low.q.tolist() for name, low in lows.items()},
    }


# ---------------------------------------------------------------- figures


def uncertain(line: Line, tolerance: float = PhononConfig().tolerance) -> bool:
    """Return whether modes are imaginary at interpolated wave vectors alone."""
    return min(line["lowest"].values()) < -tolerance <= line["lowest"]["commensurate"]


def least(line: Line) -> float:
    """Return the lowest frequency that counts, THz, by the larger supercell where there is one; NaN without."""
    last = line.get("larger", line)
    return min(last["lowest"]["commensurate"], last["lowest"]["far"]) if "lowest" in last else math.nan


def figures(results: dict[str, list[Line]], labels: Path, fixed: float | None, start: int) -> str:
    """Return the tables of the crystals from number `start` on, at a fixed tolerance or the best one for choosing."""
    choosing = {name: lines[:FOR_CHOOSING] for name, lines in results.items()}
    rows = [
        (name, *(f"{sum(agreeing(lines, t))} of {len(agreeing(lines, t))}" for t in TOLERANCES))
        for name, lines in choosing.items()
    ]
    tolerance = fixed or max(TOLERANCES, key=lambda t: sum(sum(agreeing(lines, t)) for lines in choosing.values()))
    parts = [table(("for choosing", *(f"{t:g} THz" for t in TOLERANCES)), rows), f"Tolerance: {tolerance:g} THz."]
    tested = {name: lines[start:] for name, lines in results.items()}
    heads = ("potential", "agrees", "by the published flag", *CONFUSION, "median CPU s per crystal")
    parts.append(table(heads, [(name, *_cells(lines, tolerance)) for name, lines in tested.items()]))
    parts += [f"{a}, {b}: {_both(tested[a], tested[b], tolerance)}" for a, b in combinations(tested, 2)]
    parts.append(table(("other crystals", "agrees", "by the published flag"), peers(labels, tolerance)))
    return "\n\n".join(parts)


def agreeing(lines: Sequence[Line], tolerance: float, *, flag: bool = False) -> list[bool]:
    """Return for each crystal whether potential and DFT agree; one without phonons does not."""
    return [
        (least(line) < -tolerance) == _imaginary(line, tolerance, flag=flag) and not math.isnan(least(line))
        for line in lines
    ]


def _imaginary(line: Line, tolerance: float, *, flag: bool) -> bool:
    return bool(line["dft_imaginary"]) if flag else line["dft_thz"] < -tolerance


def _cells(lines: Sequence[Line], tolerance: float) -> Sequence[str]:
    pairs = [(line["dft_thz"] < -tolerance, least(line) < -tolerance) for line in lines if not math.isnan(least(line))]
    counts = [pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))]
    seconds = [line["cpu_s"] for line in lines if "cpu_s" in line]
    return (
        share(agreeing(lines, tolerance)),
        share(agreeing(lines, tolerance, flag=True)),
        *map(str, counts),
        f"{median(seconds):.0f}" if seconds else "",
    )


def _both(one: Sequence[Line], other: Sequence[Line], tolerance: float) -> str:
    """Return how often two potentials say the same, and how often that is right."""
    of = {line["name"]: line for line in other}
    pairs = [(line, of[line["name"]]) for line in one if line["name"] in of]
    same = [(a, b) for a, b in pairs if (least(a) < -tolerance) == (least(b) < -tolerance)]
    right = agreeing([a for a, _ in same], tolerance)
    return f"both say the same of {len(same)} of {len(pairs)} crystals, and are right in {share(right)} of these."


def peers(labels: Path, tolerance: float) -> Iterator[Sequence[str]]:
    """Yield the agreement of the potentials of the summary itself, on the crystals that it has."""
    lowest_of = pd.read_csv(labels).pivot_table(index="material_id", columns="model", values="min_freq_thz")
    for name in lowest_of.columns.drop("pbe"):
        own = lowest_of[[name, "pbe"]].dropna() < -tolerance
        flags = lowest_of[[name, "pbe"]].dropna() < -FLAG
        yield name, share((own[name] == own.pbe).tolist()), share((flags[name] == flags.pbe).tolist())


def share(passed: Sequence[bool]) -> str:
    """Return a share with its 95 % interval: Wilson, J. Am. Stat. Assoc. 22, 209 (1927)."""
    n, k, z = len(passed), sum(passed), 1.96
    if not n:
        return "none"
    middle, half = k / n + z * z / 2 / n, z * math.sqrt(k / n * (1 - k / n) / n + z * z / 4 / n / n)
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return f"{k} of {n}, {k / n:.0%} ({low:.0%} to {high:.0%})"


if __name__ == "__main__":
    main()
