"""Write matgen/references/sevennet.parquet: energies by SevenNet-l3i5 of the phases on CHGNet's hull.

`python scripts/build/build_second_reference.py FOLDER`: FOLDER contains the training tables. Each energy is a line of
--energies (name,eV/atom) at once, and each correction one of --corrections, so that a later call goes on; the order is
pure elements, then small cells. An interrupt, or --minutes, ends the calculation early: the table is then built of
what there is, and its header names the chemical systems that lack phases, of which the hull says nothing.

* Phases of the Materials Project: raw energies at the given PBE geometry, with the corrections of 2020, which
  SevenNet's training data did not contain (`matgen.hull.corrections`).
* Phases that the tables lack, as in build_reference.py: relaxed by CHGNet, then SevenNet's energy there.
* Reference states of the elements that the tables lack: relaxed by SevenNet.
"""

import argparse
import math
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from ase import Atoms
from ase.build import bulk
from build_reference import GEOMETRY, TABLES, guessed, missing, reduced
from build_reference import tables as labelled
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from matgen.chemistry.corrections import MP2020
from matgen.datasets.named import row_structure
from matgen.hull.corrections import correction
from matgen.hull.hull import CORRECTIONS, INCOMPLETE, MARGIN, near_hull
from matgen.hull.reference import Reference, elements_of
from matgen.relaxation.calculators import calculator_maker, kept_calculator, potential_name
from matgen.relaxation.pool import relaxed_together
from matgen.relaxation.static import static_energy
from matgen.relaxation.symmetric import relax

TARGET = Path(__file__).resolve().parents[2] / "matgen" / "references" / "sevennet.parquet"
DIGITS = 4
"""Digits of energies in eV/atom: a tenth of a meV, which halves the file."""
ATOMS_PER_BATCH = 40
"""Atoms in a batch without gradients; more are no faster on one core."""


def numbers(path: Path) -> dict[str, float]:
    """Return the numbers of a file of lines `name,number`; an incomplete last line is left out."""
    if not path.exists():
        return {}
    lines = [line.partition(",") for line in path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()]
    return {name: float(value) for name, _, value in lines}


def in_order(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort rows: pure elements, then others by their atoms."""
    return sorted(rows, key=lambda row: (len(set(row["Z"])) > 1, row["n_atoms"]))


def in_batches(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield rows in batches of at least `ATOMS_PER_BATCH` atoms."""
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if sum(one["n_atoms"] for one in batch) >= ATOMS_PER_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class BatchedSevenNet:
    """SevenNet's energies of several crystals at once, without forces."""

    def __init__(self) -> None:
        import sevenn._keys as keys
        from sevenn.atom_graph_data import AtomGraphData
        from sevenn.calculator import SevenNetCalculator
        from sevenn.train.dataload import unlabeled_atoms_to_graph
        from torch_geometric.data import Batch

        made = SevenNetCalculator("7net-l3i5", device="cpu")
        self.model, self.cutoff, self.energy = made.model, made.cutoff, keys.PRED_TOTAL_ENERGY
        self.model.set_is_batch_data(True)
        self.model.delete_module_by_key("force_output")
        self.graph = lambda atoms: AtomGraphData.from_numpy_dict(
            unlabeled_atoms_to_graph(atoms, self.cutoff, with_shift=False)
        )
        self.batch = Batch.from_data_list

    @torch.no_grad()
    def __call__(self, structures: Sequence[Structure]) -> list[float]:
        """Return raw energies, eV/atom."""
        several = [Atoms(s.atomic_numbers, s.cart_coords, cell=s.lattice.matrix, pbc=True) for s in structures]
        found = self.model(self.batch([self.graph(atoms) for atoms in several]))[self.energy].reshape(-1)
        return [float(energy) / len(atoms) for energy, atoms in zip(found, several, strict=True)]


def compute(rows: Sequence[dict[str, Any]], path: Path, until: float) -> None:
    """Append the energies of rows to a file until a time (s since the epoch)."""
    model = BatchedSevenNet()
    with path.open("a", encoding="utf-8") as stream:
        for done, batch in enumerate(in_batches(rows)):
            if time.time() > until:
                return
            energies = model([row_structure(row) for row in batch])
            stream.writelines(f"{row['material_id']},{e:.6f}\n" for row, e in zip(batch, energies, strict=True))
            stream.flush()
            if done % 100 == 0:
                print(done, "batches", flush=True)


def corrections_of(rows: Sequence[dict[str, Any]], path: Path) -> dict[str, float]:
    """Return the correction of each row, eV/atom; those of an earlier call are read."""
    found = numbers(path)
    with path.open("a", encoding="utf-8") as stream:
        for row in rows:
            if row["material_id"] not in found:
                found[row["material_id"]] = correction(row_structure(row), MP2020)
                stream.write(f"{row['material_id']},{found[row['material_id']]:.6f}\n")
    return found


def without_geometry(names: Sequence[str], folder: Path, geometries: dict[str, Any], path: Path) -> dict[str, float]:
    """Return corrected energies, eV/atom, of phases that the tables lack; those of an earlier call are read."""
    seven = kept_calculator(calculator_maker("sevennet"))
    done = numbers(path)
    states = {name: AseAtomsAdaptor.get_structure(bulk(name[4:])) for name in names if name.startswith("ase-")}
    wanted = [name for name in names if name not in states]
    crystals: dict[str, Structure] = {}
    if any(name not in done for name in names):
        entries = {one.name: one.crystal for one in guessed(missing(folder, labelled(folder)), folder, geometries)}
        tasks = [(i, entries[name], math.inf) for i, name in enumerate(wanted) if name in entries and name not in done]
        crystals = {wanted[one.index]: one.structure for one in relaxed_together(tasks) if one.report.converged}
        crystals |= {name: relax(one, seven)[0] for name, one in states.items()}
    with path.open("a", encoding="utf-8") as stream:
        for name, crystal in crystals.items():
            if name not in done:
                done[name] = static_energy(crystal, seven) + correction(crystal, MP2020)
                stream.write(f"{name},{done[name]:.6f}\n")
    return {name: done[name] for name in names if name in done}


def main() -> None:
    """Compute, correct, select, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path, help="of the training tables")
    options.add_argument(
        "--energies", type=Path, nargs="+", default=[Path("cache/sevennet.csv")], help="the first grows"
    )
    options.add_argument("--corrections", type=Path, default=Path("cache/mp2020.csv"))
    options.add_argument(
        "--minutes", type=float, default=math.inf, help="after which the table is built of what there is"
    )
    given = options.parse_args()
    until = time.time() + 60 * given.minutes
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    first = Reference.load()
    needed = {n: f for n, f, height in zip(first.names, first.formulas, first.above_hull, strict=True) if height <= 0}
    files = (given.folder / "crystals" / name for name in TABLES)
    geometries = {
        row["material_id"]: row for file in files for row in pq.read_table(file, columns=GEOMETRY).to_pylist()
    }
    rows = in_order([geometries[name] for name in needed if name in geometries])
    Path("cache").mkdir(exist_ok=True)
    energies = {name: value for path in given.energies for name, value in numbers(path).items()}
    if waiting := [row for row in rows if row["material_id"] not in energies]:
        print(len(waiting), "phases to compute", flush=True)
        compute(waiting, given.energies[0], until)
        energies |= numbers(given.energies[0])
    rows = [row for row in rows if row["material_id"] in energies]
    shift = corrections_of(rows, given.corrections)
    lacking = [name for name in needed if name not in geometries]
    filled = without_geometry(lacking, given.folder, geometries, given.energies[0].with_name("sevennet_filled.csv"))
    found = {row["material_id"]: energies[row["material_id"]] + shift[row["material_id"]] for row in rows} | filled
    build(found, needed, given.folder)


def build(found: dict[str, float], needed: dict[str, str], folder: Path) -> None:
    """Write the table of corrected energies, eV/atom, by name."""
    names = [name for name in needed if name in found]
    without = Counter("-".join(elements_of(formula)) for name, formula in needed.items() if name not in found)
    facts = {
        "source": "Materials Project (before GNoME, CC BY 4.0) and MP-20: the phases on CHGNet's hull; energies "
        "computed by SevenNet-l3i5 at the PBE geometry",
        CORRECTIONS: MP2020,
        INCOMPLETE: dict(sorted(without.items())),
        "crystals": len(names),
    }
    whole = Reference(
        potential_name(kept_calculator(calculator_maker("sevennet"))),
        tuple(names),
        tuple(reduced(needed[name]) for name in names),
        np.array([found[name] for name in names]).round(DIGITS),
        np.full(len(names), np.inf),
        np.array([name.startswith("ase-") for name in names]),
        facts,
    )
    label = {row["material_id"]: row["ehull"] for row in labelled(folder)}
    labels = np.array([np.nan if label.get(name) is None else label[name] for name in names])
    kept = near_hull(whole, MARGIN, labels)
    kept = replace(kept, above_hull=kept.above_hull.round(DIGITS))
    kept.save(TARGET)
    print(
        len(needed),
        "phases on the first hull,",
        len(names),
        "computed,",
        len(kept),
        "kept;",
        len(without),
        "systems lack",
    )
    print(sum(without.values()), "phases;", TARGET.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
