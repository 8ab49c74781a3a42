"""Default against thorough settings of `matgen verify`: time, gap, and metal or not.

`python scripts/benchmarks/compare_gpaw_settings.py --data FOLDER`: random crystals of the table (seed 0) without
elements that need spin polarisation: halides A2BB'X6 and A2BX6 and chalcogenides of K, Rb and Cs with 6 to 10 atoms,
metals of MP-20 test with up to 4 atoms, and the first of the known semiconductors of `evaluate_verify.py`. Both
calculations of a crystal run in turn, on one core. A rerun continues after an interrupt.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.parquet as pq
import torch
from pymatgen.core import Structure

from evaluate_verify import F_BLOCK, known, structure_of
from matgen.first_principles.calculations import CalculationFile, Plan, calculated
from matgen.first_principles.gpaw import FirstPrinciples, FirstPrinciplesConfig, thorough
from matgen.first_principles.gpaw_interpreter import find_interpreter
from matgen.first_principles.gpaw_worker import MOMENTS
from matgen.workflows.data import data_folder
from shared.page import table

HALOGENS, CHALCOGENS, ALKALI = frozenset((9, 17, 35, 53)), frozenset((16, 34, 52)), frozenset((11, 19, 37, 55))


def halide(row: Mapping[str, Any]) -> bool:
    """Return whether a row is A2BB'X6 or A2BX6 with a gap."""
    elements = set(row["Z"])
    six = sum(z in HALOGENS for z in row["Z"]) == 6 and len(elements & HALOGENS) == 1
    return row["n_atoms"] in (9, 10) and six and bool(elements & ALKALI) and row["band_gap"] > 0.3


def chalcogenide(row: Mapping[str, Any]) -> bool:
    """Return whether a row is a chalcogenide of K, Rb or Cs with a gap."""
    elements = set(row["Z"])
    heavy = bool(elements & (ALKALI - {11})) and len(elements & CHALCOGENS) == 1 and len(elements) <= 4
    return 6 <= row["n_atoms"] <= 10 and heavy and row["band_gap"] > 0.2


def metal(row: Mapping[str, Any]) -> bool:
    """Return whether a row is a small crystal of MP-20 test without a gap."""
    return bool(row["mp20_split"] == "test" and row["n_atoms"] <= 4 and row["band_gap"] == 0)


KINDS: dict[str, Callable[[Mapping[str, Any]], bool]] = {"halide": halide, "metal": metal, "chalcogenide": chalcogenide}


def sampled(folder: Path, numbers: Mapping[str, int], seed: int) -> Iterator[tuple[str, str, Structure]]:
    """Yield kind, material and crystal."""
    columns = ["material_id", "n_atoms", "cell", "Z", "frac", "band_gap", "mp20_split"]
    rows = pq.read_table(folder / "crystals" / "mp24_le20.parquet", columns=columns).to_pylist()
    rows = [row for row in rows if row["band_gap"] is not None and not F_BLOCK.intersection(row["Z"])]
    for kind, fit in KINDS.items():
        some = [row for row in rows if fit(row)]
        left = numbers[kind]
        for i in torch.randperm(len(some), generator=torch.Generator().manual_seed(seed)).tolist():
            crystal = structure_of(some[i])
            if left and not set(MOMENTS).intersection(element.symbol for element in crystal.elements):
                left -= 1
                yield kind, some[i]["material_id"], crystal
    for name, crystal, _ in known(folder, numbers["known"], seed):
        yield "known", name, crystal


Pair = tuple[FirstPrinciples, FirstPrinciples]


def line(kind: str, pairs: list[Pair]) -> tuple[str, ...]:
    """Return the line of one kind; crystals that did not converge by both settings are only counted."""
    both = [(slow, quick) for slow, quick in pairs if slow.converged and quick.converged]
    same = sum((slow.gap > 0) == (quick.gap > 0) for slow, quick in both)
    found = (kind, f"{len(both)} of {len(pairs)}")
    if not both:
        return (*found, *["–"] * 5)
    seconds = [f"{median(one[i].seconds for one in both):.0f}" for i in (0, 1)]
    ratio = f"{median(slow.seconds / quick.seconds for slow, quick in both):.1f}"
    off = f"{max(abs(slow.gap - quick.gap) for slow, quick in both):.3f}"
    return (*found, *seconds, ratio, off, f"{same} of {len(both)}")


def main() -> None:
    """Calculate, compare, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/gpaw_settings"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--python", help="interpreter with GPAW (default: search for one)")
    for kind, number in {"halide": 5, "metal": 3, "known": 10, "chalcogenide": 3}.items():
        parser.add_argument(f"--{kind}", type=int, default=number)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file, quick = CalculationFile(options.out / "results.jsonl"), FirstPrinciplesConfig()
    interpreter = find_interpreter(options.python)
    plans = [Plan(interpreter, one, options.minutes) for one in (thorough(quick), quick)]
    found: dict[str, list[Pair]] = {}
    for kind, name, crystal in sampled(data_folder(options.data), vars(options), options.seed):
        slow, fast = (one for plan in plans for _, one in calculated([(name, crystal)], file, plan))
        found.setdefault(kind, []).append((slow, fast))
        words = [f"{one.gap:.3f} eV {one.seconds:.0f} s {one.reason}" for one in (slow, fast)]
        print(kind, name, crystal.composition.reduced_formula, *words, flush=True)
    heads = ("crystals", "both converged", "thorough, s", "quick, s", "ratio", "largest difference, eV", "same verdict")
    print(table(heads, [line(kind, pairs) for kind, pairs in found.items()]))


if __name__ == "__main__":
    main()
