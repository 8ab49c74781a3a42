"""Extreme cells, numbers that are none, and one seed at work in several ways.

    python scripts/reliability/odd_numbers.py --out numbers.jsonl --relax none --relax chgnet
    python scripts/reliability/odd_numbers.py --out numbers.jsonl --same-bits

Collapsed and huge cells, isolated atoms, 1 to 500 atoms, needles and plates (1:100) through `screen`, as given and
relaxed by CHGNet, each with the seconds of the processor and the reason in its row; and relaxations by potentials that
return NaN. `--same-bits` compares what `screen` and `design` write of one seed: alone, beside two other programs, and
by two processes. A line of JSON for each; a call goes on where the last one stopped.
"""

import argparse
import json
import math
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from pymatgen.core import Lattice, Structure

from fuzz.calls import called
from matgen.relaxation.symmetric import relax
from matgen.structures.cif import cif_text

LIMIT = 60.0
"""Seconds of the processor below 200 atoms."""

ROOT = Path(__file__).resolve().parents[2]


def rattled(structure: Structure) -> Structure:
    """Displace atoms by 0.02 Å, so that no smaller cell describes them."""
    moves = np.random.default_rng(0).normal(0.0, 0.02, (len(structure), 3))
    cell = structure.lattice
    coords = structure.frac_coords + moves @ np.linalg.inv(cell.matrix)
    return Structure(cell, [site.specie for site in structure], coords)


def cases() -> dict[str, Structure]:
    """Return extreme crystals by name."""
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    copper = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.61), ["Cu"], [[0, 0, 0]])
    two = [[0, 0, 0], [0.5, 0.5, 0.5]]
    return {
        "salt": salt,
        "collapsed to 1.2 Å": Structure(Lattice.cubic(1.2), salt.species, salt.frac_coords),
        "collapsed to a tenth": Structure(Lattice.cubic(0.564), salt.species, salt.frac_coords),
        "flat, 0.05 Å thick": Structure(Lattice.tetragonal(5.0, 0.05), ["Na", "Cl"], two),
        "angles of 179.9°": Structure(Lattice.from_parameters(5, 5, 5, 90, 90, 179.9), ["Na", "Cl"], two),
        "angles of 5°": Structure(Lattice.from_parameters(40, 40, 40, 5, 5, 5), ["Na", "Cl"], two),
        "one atom": Structure(Lattice.from_parameters(2.55, 2.55, 2.55, 60, 60, 60), ["Cu"], [[0, 0, 0]]),
        "an isolated atom, 30 Å": Structure(Lattice.cubic(30.0), ["Ar"], [[0, 0, 0]]),
        "isolated atoms, 1000 Å": Structure(Lattice.cubic(1000.0), ["Na", "Cl"], two),
        "a molecule in 40 Å": Structure(Lattice.cubic(40.0), ["H", "H"], [[0, 0, 0], [0, 0, 0.0185]]),
        "needle, 1:100": Structure(Lattice.tetragonal(4.0, 400.0), ["Na", "Cl"], two),
        "plate, 1:100": Structure(Lattice.tetragonal(400.0, 4.0), ["Na", "Cl"], two),
        "needle of 100 atoms": rattled(Structure(copper.lattice, copper.species, copper.frac_coords) * (1, 1, 25)),
        "plate of 100 atoms": rattled(copper * (5, 5, 1)),
        "180 atoms": rattled(copper * (5, 3, 3)),
        "500 atoms": rattled(copper * (5, 5, 5)),
        "504 atoms": rattled(salt * (7, 3, 3)),
        "two atoms on one place": Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0]]),
        "atoms 0.01 Å apart": Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.0025]]),
    }


class OddCalculator(Calculator):
    """A potential that returns odd numbers.

    Args:
        energy, force, stress: what it returns.
    """

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, energy: float, force: float, stress: float) -> None:
        super().__init__()
        self._values = energy, force, stress

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Return the same numbers for any atoms."""
        super().calculate(atoms, properties, system_changes)
        energy, force, stress = self._values
        self.results = {"energy": energy, "forces": np.full((len(atoms), 3), force), "stress": np.full(6, stress)}


def screened(relaxing: str, done: Collection[str]) -> Iterator[dict[str, Any]]:
    """Screen each case by itself."""
    with TemporaryDirectory() as scratch:
        for number, (name, structure) in enumerate(cases().items()):
            if f"{relaxing}: {name}" in done:
                continue
            file, out = Path(scratch) / f"{number}.cif", Path(scratch) / f"{relaxing}{number}"
            file.write_text(cif_text(structure), encoding="utf-8")
            words = ["screen", str(file), "--relax", relaxing, "--jobs", "1", "--out", str(out), "--json"]
            answer = called(words, cpu=600)
            rows = [json.loads(line) for line in answer.out.splitlines() if line.startswith("{")]
            verdicts = ((rows[0]["candidate"] or {}).get("verdicts") or {}) if rows else {}
            failed = {k: v["reason"] for k, v in verdicts.items() if not v["passed"]} if rows else {}
            reason = rows[0]["error"] or "; ".join(f"{k}: {v}" for k, v in failed.items()) if rows else "no row"
            slow = len(structure) < 200 and answer.seconds > LIMIT
            fault = answer.fault or (f"{answer.seconds:.0f} s" if slow else "" if rows else "no row")
            record = {"case": f"{relaxing}: {name}", "atoms": len(structure), "seconds": round(answer.seconds, 2)}
            yield record | {"fault": fault, "reason": reason[:300]}


def odd_potentials() -> Iterator[dict[str, Any]]:
    """Relax by potentials that return no numbers, or huge ones."""
    structure = cases()["salt"]
    nan, huge = math.nan, 1e30
    for values in ((nan, 0.0, 0.0), (0.0, nan, 0.0), (0.0, 0.0, nan), (math.inf, 0.0, 0.0), (-huge, huge, huge)):
        started = time.process_time()
        _, report = relax(structure, OddCalculator(*values))
        fault = "converged" if report.converged else ""
        record = {"case": f"potential: energy {values[0]:g}, forces {values[1]:g}, stress {values[2]:g}", "atoms": 8}
        yield record | {"seconds": round(time.process_time() - started, 2), "fault": fault, "reason": report.reason}


# ---------------------------------------------------------------- one seed, same bits

WORDS: dict[str, tuple[str, ...]] = {
    "screen": ("screen", "data/textbook", "--reference", "none", "--bandgap", "1.5"),
    "design": ("design", "-n", "2", "--bandgap", "1.5", "--max-atoms", "6", "--relax", "none", "--seed", "5"),
}
CLOCK = frozenset({"seconds", "path", "started", "ended"})
"""Fields that hang on the machine."""


def busy() -> None:
    """Keep one core at work."""
    while True:
        np.linalg.eigvalsh(np.random.default_rng(0).normal(size=(300, 300)))


def written(words: tuple[str, ...], folder: Path) -> list[Any]:
    """Return what a command prints as JSON, sorted by name, without what hangs on the clock."""
    program = [sys.executable, "-m", "matgen", *words, "--json", "--out", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(program, capture_output=True, text=True, check=True, env=environment, cwd=ROOT)  # noqa: S603
    lines = [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("{")]
    return sorted((without_clock(line) for line in lines if "name" in line), key=lambda one: one["name"])


def without_clock(value: Any) -> Any:
    """Return a JSON value without fields that hang on the machine."""
    if isinstance(value, dict):
        return {name: without_clock(one) for name, one in value.items() if name not in CLOCK}
    return [without_clock(one) for one in value] if isinstance(value, list) else value


def same_bits() -> Iterator[dict[str, Any]]:
    """Compare what commands write, with all digits."""
    for name, words in WORDS.items():
        option = "--jobs" if name == "screen" else "--processes"
        ways: dict[str, Callable[[Path], list[Any]]] = {
            "one process": lambda folder: written((*words, option, "1"), folder),  # noqa: B023
            "two processes": lambda folder: written((*words, option, "2"), folder),  # noqa: B023
            "beside two programs": lambda folder: beside((*words, option, "1"), folder),  # noqa: B023
        }
        first: list[Any] = []
        for way, run in ways.items():
            with TemporaryDirectory() as scratch:
                started = time.perf_counter()
                found = run(Path(scratch) / "run")
            first = first or found
            fault = "" if found and found == first else "other results"
            record = {"case": f"{name}: {way}", "atoms": len(found), "seconds": round(time.perf_counter() - started, 1)}
            yield record | {"fault": fault, "reason": f"{len(found)} results, compared in all digits"}


def beside(words: tuple[str, ...], folder: Path) -> list[Any]:
    """Run a command beside two other programs."""
    others = [multiprocessing.get_context("spawn").Process(target=busy, daemon=True) for _ in range(2)]
    for one in others:
        one.start()
    try:
        return written(words, folder)
    finally:
        for one in others:
            one.terminate()


def main() -> None:
    """Try all, append, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="lines of JSON, appended")
    parser.add_argument("--relax", choices=("none", "chgnet"), action="append", help="screen the extreme crystals")
    parser.add_argument("--same-bits", action="store_true", help="compare results of one seed")
    asked = parser.parse_args()
    lines = asked.out.read_text(encoding="utf-8").splitlines() if asked.out.exists() else []
    for line in lines:
        print(line)
    done = {json.loads(line)["case"] for line in lines}
    parts = [*(screened(one, done) for one in asked.relax or ()), *([odd_potentials()] if asked.relax else [])]
    with asked.out.open("a", encoding="utf-8") as stream:
        for part in [*parts, *([same_bits()] if asked.same_bits else [])]:
            for record in part:
                if record["case"] not in done:
                    stream.write(json.dumps(record) + "\n")
                    stream.flush()
                print(f"{record['seconds']:8.2f} s  {record['case']}: {record['fault'] or record['reason']}")


if __name__ == "__main__":
    main()
