"""Write matgen/references/chgnet.parquet: CHGNet's energies of known phases near their hull.

`python scripts/build/build_reference.py FOLDER`: FOLDER contains the training tables. Energies of phases of the
Materials Project are static, at the given geometry, from crystals/chgnet_energies.parquet. These are relaxed here:

* the elements, the zero of all formation energies: the lowest crystals of each, and ASE's reference states of those
  that the tables lack;
* phases on the hull of the Materials Project of 2018 with up to 20 atoms that the tables lack: from the geometry of
  MP-20 if there is one, else from that of the most similar known compound of the same type.

Relaxations are lines of cache/reference_MODE.jsonl; a rerun continues after an interrupt.
"""

import argparse
import gzip
import json
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from ase.build import bulk
from pymatgen.core import Composition, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from matgen.chemistry.elements import ATOMIC_NUMBERS, atomic_volumes, descriptors
from matgen.datasets.named import row_structure
from matgen.hull.hull import MARGIN, REFUTED, ReferenceHull, near_hull
from matgen.hull.reference import Reference
from matgen.relaxation.calculators import chgnet_calculator, potential_name
from matgen.relaxation.static import static_energy
from matgen.structures.files import Entry
from matgen.workflows.reference import PhaseEnergy, phase_energies

TARGET = Path(__file__).resolve().parents[2] / "matgen" / "references" / "chgnet.parquet"
TABLES = ("mp24_le20.parquet", "mp24_gt20_on_hull.parquet")
COLUMNS = ["material_id", "formula", "ehull"]
GEOMETRY = ["material_id", "formula", "n_atoms", "cell", "Z", "frac"]
LARGEST = 20
"""Atoms in the largest relaxed cell, except for the lowest crystals of the elements."""
ELEMENT_WINDOW, ELEMENTS_AT_MOST = 0.02, 3  # eV/atom; crystals of each element
RELATIVES = 3
"""Known compounds whose geometry is tried for a missing one; that of lowest energy is relaxed."""

Row = dict[str, Any]


@cache
def reduced(formula: str) -> str:
    """Return the reduced formula."""
    return Composition(formula).reduced_formula


@cache
def kind(formula: str) -> str:
    """Return the anonymous formula, such as AB3 for SrTi3 and AlCl3."""
    return Composition(formula).anonymized_formula


def tables(folder: Path) -> list[Row]:
    """Return every phase with an energy by CHGNet: name, formula, label of the Materials Project, energy."""
    crystals = folder / "crystals"
    energy = dict(zip(*pq.read_table(crystals / "chgnet_energies.parquet").to_pydict().values(), strict=True))
    rows = [row for name in TABLES for row in pq.read_table(crystals / name, columns=COLUMNS).to_pylist()]
    return [{**row, "energy": energy[row["material_id"]]} for row in rows if row["material_id"] in energy]


def elemental(rows: Sequence[Row], geometries: dict[str, Row], symbols: Sequence[str]) -> Iterator[Entry]:
    """Yield the lowest crystals of each element, or ASE's reference state where there is none."""
    for symbol in symbols:
        own = sorted((row for row in rows if reduced_element(row["formula"]) == symbol), key=lambda row: row["energy"])
        near = [row for row in own if row["energy"] <= own[0]["energy"] + ELEMENT_WINDOW][:ELEMENTS_AT_MOST]
        own = [row for row in near if row is own[0] or geometries[row["material_id"]]["n_atoms"] <= LARGEST]
        for row in own:
            yield Entry(row["material_id"], "", 0, row_structure(geometries[row["material_id"]]), "")
        if not own:
            yield Entry(f"ase-{symbol}", "", 0, AseAtomsAdaptor.get_structure(bulk(symbol)), "")


@cache
def reduced_element(formula: str) -> str:
    """Return the symbol of an element; empty for a compound."""
    elements = Composition(formula).elements
    return elements[0].symbol if len(elements) == 1 else ""


def missing(folder: Path, rows: Sequence[Row]) -> list[str]:
    """Return formulas on the hull of 2018 that the tables lack, of phases with few atoms in the list of all phases."""
    crystals = folder / "crystals"
    known = {reduced(row["formula"]) for row in rows}
    index = pq.read_table(crystals / "mp24_index.parquet", columns=["formula", "n_atoms"]).to_pylist()
    small = {reduced(row["formula"]) for row in index if row["n_atoms"] <= LARGEST}
    past = pq.read_table(crystals / "mp2018_formation_energies.parquet", columns=["formula", "ehull_2018"]).to_pylist()
    stable = {reduced(row["formula"]) for row in past if row["ehull_2018"] < 1e-4}
    return sorted(formula for formula in stable & small - known if not reduced_element(formula))


def guessed(formulas: Sequence[str], folder: Path, geometries: dict[str, Row]) -> Iterator[Entry]:
    """Yield a crystal for each formula: that of MP-20, or the best of the most similar compounds with its elements."""
    published = pq.read_table(folder / "crystals" / "mp20_val_test.parquet", columns=[*GEOMETRY, "ehull"]).to_pylist()
    own = {reduced(row["formula"]): row for row in sorted(published, key=lambda row: -row["ehull"])}
    alike: defaultdict[str, list[Row]] = defaultdict(list)
    for row in geometries.values():
        alike[kind(row["formula"])].append(row)
    calculator = chgnet_calculator()
    for formula in formulas:
        if formula in own:
            yield Entry(f"{own[formula]['material_id']}-mp20", "", 0, row_structure(own[formula]), "")
            continue
        tried = [(row, substituted(row, formula)) for row in relatives(formula, alike[kind(formula)])]
        row, best = min(tried, key=lambda pair: static_energy(pair[1], calculator))
        yield Entry(f"{formula}-as-{row['material_id']}", "", 0, best, "")


def relatives(formula: str, rows: Sequence[Row]) -> list[Row]:
    """Return the rows with the most similar elements, one per formula and cell size."""
    near: dict[tuple[str, int], tuple[float, Row]] = {}
    for row in rows:
        if row["n_atoms"] <= LARGEST:
            key = (row["formula"], row["n_atoms"])
            near[key] = min(
                near.get(key, (np.inf, row)), (pairing(row["formula"], formula)[0], row), key=lambda p: p[0]
            )
    return [row for _, row in sorted(near.values(), key=lambda pair: pair[0])[:RELATIVES]]


@cache
def shares(formula: str) -> dict[str, float]:
    """Return the fraction of atoms of each element."""
    return {element.symbol: round(share, 6) for element, share in Composition(formula).fractional_composition.items()}


@cache
def pairing(source: str, target: str) -> tuple[float, dict[str, str]]:
    """Return the dissimilarity of the elements of two formulas of one type, and the best mapping between them."""
    old, new = shares(source), shares(target)
    orders = (order for order in permutations(new) if all(old[a] == new[b] for a, b in zip(old, order, strict=True)))
    pairs = (dict(zip(old, order, strict=True)) for order in orders)
    return min(((sum(unlike(a, b) for a, b in each.items()), each) for each in pairs), key=lambda found: found[0])


@cache
def unlike(one: str, other: str) -> float:
    """Return the distance of two elements in their descriptors."""
    table = descriptors()
    return float(torch.linalg.norm(table[ATOMIC_NUMBERS[one]] - table[ATOMIC_NUMBERS[other]]))


def substituted(row: Row, formula: str) -> Structure:
    """Return the crystal of a row with the elements of a formula, scaled to their usual volumes."""
    found = row_structure(row)
    before = usual_volume(found)
    found.replace_species(pairing(row["formula"], formula)[1])
    return found.scale_lattice(found.volume * usual_volume(found) / before)


def usual_volume(found: Structure) -> float:
    """Return the sum of the usual volumes of the atoms, Å³."""
    return float(atomic_volumes()[list(found.atomic_numbers)].sum())


def joined(rows: Sequence[Row], relaxed: Sequence[PhaseEnergy], facts: dict[str, Any], potential: str) -> Reference:
    """Return static and relaxed energies in one table, the relaxed one if a phase has both."""
    better = {line.name: line for line in relaxed if line.stands}
    static = {
        row["material_id"]: PhaseEnergy(row["material_id"], reduced(row["formula"]), row["energy"], False, "")
        for row in rows
    }
    lines = list((static | better).values())
    return Reference(
        potential,
        tuple(line.name for line in lines),
        tuple(line.formula for line in lines),
        np.array([line.energy for line in lines]),
        np.full(len(lines), np.inf),
        np.array([line.relaxed for line in lines]),
        facts,
    )


def refuted(whole: Reference, kept: Reference, labels: np.ndarray) -> list[str]:
    """Return phases near the hull by CHGNet that first principles exclude."""
    hull, names = ReferenceHull(kept), set(kept.names)
    found = []
    for row in np.flatnonzero(labels > REFUTED):
        if whole.names[row] in names:
            continue
        composition = Composition(whole.formulas[row])
        if hull.above_hull(composition, whole.energies[row], whole.potential).above_hull <= MARGIN:
            found.append(f"{whole.names[row]} {whole.formulas[row]}")
    return found


def main() -> None:
    """Compute, join, select, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path, help="of the training tables")
    folder = options.parse_args().folder
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = tables(folder)
    files = (folder / "crystals" / name for name in TABLES)
    geometries = {
        row["material_id"]: row for file in files for row in pq.read_table(file, columns=GEOMETRY).to_pylist()
    }
    with gzip.open(folder / "crystals" / "mp_elemental_references.json.gz", "rt") as file:
        symbols = list(json.load(file))
    potential = potential_name(chgnet_calculator())
    cache_folder = Path("cache")
    cache_folder.mkdir(exist_ok=True)

    def relaxed(name: str, entries: Iterator[Entry]) -> list[PhaseEnergy]:
        path = cache_folder / f"reference_{name}.jsonl"
        lines = phase_energies(list(entries), path, chgnet_calculator, potential, relaxing=True)
        print(name, len(lines), "relaxed", Counter(line.error for line in lines if line.error))
        return lines

    elements = relaxed("elements", elemental(rows, geometries, symbols))
    filled = relaxed("missing", guessed(missing(folder, rows), folder, geometries))
    facts = {
        "source": "Materials Project (before GNoME, CC BY 4.0) and MP-20; energies computed by CHGNet",
        "pure elements": f"relaxed: the lowest of {len(elements)} crystals",
        "filled in": f"{len(filled)} phases that the tables lack, relaxed",
        "left out": f"phases that first principles put {REFUTED} eV/atom further above the hull",
    }
    whole = joined(rows, [*elements, *filled], facts, potential)
    label = {row["material_id"]: row["ehull"] for row in rows}
    labels = np.array([np.nan if label.get(name) is None else label[name] for name in whole.names])
    kept = near_hull(whole, MARGIN, labels)
    out = refuted(whole, kept, labels)
    kept = replace(kept, facts={**kept.facts, "refuted": out})
    kept.save(TARGET)
    print(len(out), "refuted by first principles:", ", ".join(out))
    print(len(whole), "phases,", len(kept), "kept;", TARGET.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
