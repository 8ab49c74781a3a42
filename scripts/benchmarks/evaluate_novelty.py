"""Whether the index of known crystals recognises them, and distinguishes polymorphs.

`python scripts/benchmarks/evaluate_novelty.py --data FOLDER`: entries of FOLDER/crystals/mp24_le20.parquet whose
formulas are in the validation and test splits, searched in the shipped index:

* perturbed by 1 % (and 2 %, 3 %) and written in another cell;
* in pairs of one formula, random ones and those with nearest fingerprints, against `StructureMatcher`;
* relaxed by CHGNet;
* processor time.
"""

import time
from collections.abc import Mapping
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from matgen.datasets.named import row_structure
from matgen.novelty.crystals import KnownIndex
from matgen.novelty.duplicates import MATCHER, SeenStructures
from matgen.novelty.fingerprint import TOLERANCE, VOLUME_WINDOW, Fingerprint, difference, fingerprint, similar_volume
from matgen.relaxation.calculators import chgnet_calculator, potential_name
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.symmetric import relax
from matgen.workflows.data import data_folder
from reports.novelty import SIZES, TIMED, TOLERANCES, report
from shared.measurement import Measurement, Task
from shared.options import parser

AS_SUPERCELL = StructureMatcher(primitive_cell=False, attempt_supercell=True)
"""The same tolerances without reduction to primitive cells; finds some twins that the default misses."""

CHUNK = 100
FAR = 9.0
"""Distance that is recorded where volumes differ too much, or no entry is near."""

CLOSEST = 1500
FEW = 500
LARGE = 400
RELAXED = 60
RELAXED_ATOMS = 8


@cache
def crystals(path: Path) -> pa.Table:
    """Return a table of crystals, loaded once per process; that of large crystals has no split."""
    return pq.read_table(path)


@cache
def known() -> KnownIndex:
    """Return the shipped index, loaded once per process."""
    return KnownIndex.load()


def rows_of(task: Task) -> list[dict[str, Any]]:
    """Return the rows of a task."""
    return crystals(task.table).take(list(task.rows)).to_pylist()


# ---------------------------------------------------------------- the same crystal, perturbed and in another cell


def perturbed(structure: Structure, rng: np.random.Generator, size: float) -> Structure:
    """Displace each atom, and strain the cell.

    Args:
        structure: crystal to perturb.
        rng: random numbers.
        size: length of each displacement over the mean distance to the nearest neighbour, and largest principal strain.
    """
    strain = rng.normal(size=(3, 3))
    strain += strain.T
    strain *= size / np.abs(np.linalg.eigvalsh(strain)).max()
    cell = structure.lattice.matrix @ (np.eye(3) + strain)
    step = rng.normal(size=(len(structure), 3))
    step *= size * nearest_distance(structure) / np.linalg.norm(step, axis=1, keepdims=True)
    return Structure(cell, structure.species, structure.frac_coords + step @ np.linalg.inv(cell))


def nearest_distance(structure: Structure) -> float:
    """Return the mean distance to the nearest neighbour, Å."""
    cutoff = 4.0
    while True:
        centre, _, _, distance = structure.get_neighbor_list(cutoff)
        if len(set(centre.tolist())) == len(structure):
            nearest = np.full(len(structure), np.inf)
            np.minimum.at(nearest, centre, distance)
            return float(nearest.mean())
        cutoff *= 1.5


def rewritten(structure: Structure, rng: np.random.Generator) -> Structure:
    """Return the crystal in another cell (Niggli-reduced, sheared or doubled), rotated, shifted and reordered."""
    kind = rng.integers(3)
    if kind == 0:
        found = structure.get_reduced_structure()
    else:
        basis = np.eye(3, dtype=int)
        for _ in range(3):
            a, b = rng.choice(3, 2, replace=False)
            basis[a] += rng.integers(-2, 3) * basis[b]
        if kind == 2:
            basis[rng.integers(3)] *= 2
        found = structure.make_supercell(basis, in_place=False)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]  # proper or improper
    order = rng.permutation(len(found))
    coords = found.frac_coords[order] + rng.random(3)
    return Structure(Lattice(found.lattice.matrix @ turn), [found[k].specie for k in order], coords)


def look_up(structure: Structure, name: str) -> dict[str, Any]:
    """Return the distances to the entry of this name and to the nearest entry, and whether they are the same."""
    found = fingerprint(structure)
    entries = known().by_formula[found.formula]
    shells = np.abs(entries.shells() - found.shells).max(axis=1)
    near = np.abs(np.log(entries.volumes / found.volume)) <= np.log1p(VOLUME_WINDOW)
    apart = np.where(near, shells, FAR)
    return {
        "name": name,
        "own": round(float(apart[entries.names.index(name)]), 5),
        "nearest": round(float(apart.min()), 5),
        "itself": entries.names[int(apart.argmin())] == name,
    }


def recognised(task: Task) -> list[dict[str, Any]]:
    """Search each row in the index, perturbed and rewritten."""
    rng = np.random.default_rng(task.generator().initial_seed())
    found = []
    for row in rows_of(task):
        other = rewritten(perturbed(row_structure(row), rng, task.how["size"]), rng)
        found.append(look_up(other, row["material_id"]))
    return found


def relaxed(task: Task) -> list[dict[str, Any]]:
    """Search each row in the index, relaxed by CHGNet."""
    calculator = chgnet_calculator()
    found = []
    for row in rows_of(task):
        before = row_structure(row)
        after, report = relax(before, calculator, RelaxConfig())
        volume = float(np.log(after.volume / len(after) * len(before) / before.volume))
        facts = {"converged": report.converged, "volume": round(volume, 4), "on_hull": row["ehull"] == 0.0}
        found.append(look_up(after, row["material_id"]) | facts | {"potential": potential_name(calculator)})
    return found


# ---------------------------------------------------------------- pairs of one formula


def compared(task: Task) -> list[dict[str, Any]]:
    """Return the distance of fingerprints and the verdict of the matcher for pairs of rows."""
    return [_pair(*rows_of(Task("", task.table, 0, pair))) for pair in task.how["pairs"]]


def closest(task: Task) -> list[dict[str, Any]]:
    """Return the same for the two nearest fingerprints of each group of rows of one formula."""
    found = []
    for group in task.how["groups"]:
        rows = rows_of(Task("", task.table, 0, group))
        prints = [fingerprint(row_structure(row)) for row in rows]
        i, j = min(combinations(range(len(rows)), 2), key=lambda pair: _apart(prints[pair[0]], prints[pair[1]]))
        found.append(_pair(rows[i], rows[j]))
    return found


def _apart(first: Fingerprint, second: Fingerprint) -> float:
    return difference(first, second) if similar_volume(first, second) else FAR


def _pair(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    one, other = row_structure(first), row_structure(second)
    apart = _apart(fingerprint(one), fingerprint(other))
    equal = bool(MATCHER.fit(one, other))
    twins = not equal and apart <= max(TOLERANCES) and bool(AS_SUPERCELL.fit(one, other))
    names = [first["material_id"], second["material_id"]]
    return {"names": names, "apart": round(apart, 5), "equal": equal, "twins": twins}


# ---------------------------------------------------------------- time


def timed(task: Task) -> dict[str, float]:
    """Return processor time: s to load the index, ms per structure of a fingerprint and of a search."""
    structures = [row_structure(row) for row in rows_of(task)]
    started = time.process_time()
    index = KnownIndex.load()
    load = time.process_time() - started
    started = time.process_time()
    prints = [fingerprint(structure) for structure in structures]
    made = time.process_time()
    for found in prints:
        index.find(found)
    looked = time.process_time()
    return {
        "load_s": load,
        "fingerprint_ms": 1000 * (made - started) / len(structures),
        "find_ms": 1000 * (looked - made) / len(structures),
    }


def run_timed(task: Task) -> dict[str, float]:
    """Return the time to find duplicates among crystals of one formula, each twice: as shipped, and by the matcher."""
    rng = np.random.default_rng(task.generator().initial_seed())
    originals = [row_structure(row) for row in rows_of(task)]
    structures = originals + [rewritten(perturbed(structure, rng, 0.01), rng) for structure in originals]
    started = time.process_time()
    seen = SeenStructures()
    ours = [seen.add(structure) is None for structure in structures]
    middle = time.process_time()
    kept: list[Structure] = []
    theirs = []
    for structure in structures:
        new = not any(MATCHER.fit(structure, other) for other in kept if _alike(structure, other))
        kept += [structure] * new
        theirs.append(new)
    return {
        "seconds": middle - started,
        "matcher_seconds": time.process_time() - middle,
        "structures": len(structures),
        "disagree": sum(a != b for a, b in zip(ours, theirs, strict=True)),
    }


def _alike(first: Structure, second: Structure) -> bool:
    ratio = (first.volume / len(first)) / (second.volume / len(second))
    return 1 / (1 + VOLUME_WINDOW) <= ratio <= 1 + VOLUME_WINDOW


# ---------------------------------------------------------------- what is measured


def parts_of(rows: np.ndarray) -> list[tuple[int, ...]]:
    """Split rows into parts."""
    return [tuple(rows[start : start + CHUNK].tolist()) for start in range(0, len(rows), CHUNK)]


def main() -> None:
    """Measure, print, record."""
    options = parser(__doc__, "novelty", n=2500, processes=1).parse_args()
    tables = data_folder(options.data) / "crystals"
    small, large = tables / "mp24_le20.parquet", tables / "mp24_gt20_on_hull.parquet"
    measurement = Measurement(
        options, {"tolerance": TOLERANCE, "sizes": SIZES, "sample": [CLOSEST, FEW, LARGE, RELAXED]}
    )
    rng = np.random.default_rng(options.seed)
    whole = crystals(small)
    unseen = np.flatnonzero(np.array(whole["split"].to_pylist()) != "train")
    sample = rng.permutation(unseen)
    groups = _groups(whole, unseen, rng)

    tasks = {
        f"perturbed {size:g}": [
            Task(f"{size:g} {k}", small, options.seed, part, {"size": size})
            for k, part in enumerate(parts_of(sample[: options.n if size == SIZES[0] else min(FEW, options.n)]))
        ]
        for size in SIZES
    }
    big = rng.permutation(len(crystals(large)))[: min(LARGE, options.n)]
    tasks["large"] = [
        Task(f"large {k}", large, options.seed, part, {"size": SIZES[0]}) for k, part in enumerate(parts_of(big))
    ]
    looked = {name: _flat(measurement.run(recognised, some)) for name, some in tasks.items()}
    pairs = [tuple(rng.choice(group, 2, replace=False).tolist()) for group in groups[: options.n]]
    chosen = [tuple(group[:8].tolist()) for group in groups[: min(CLOSEST, options.n)]]
    random = measurement.run(
        compared,
        [Task(f"random {k}", small, 0, (), {"pairs": pairs[k : k + CHUNK]}) for k in range(0, len(pairs), CHUNK)],
    )
    hard = measurement.run(
        closest,
        [Task(f"closest {k}", small, 0, (), {"groups": chosen[k : k + CHUNK]}) for k in range(0, len(chosen), CHUNK)],
    )
    few = sample[np.array(whole["n_atoms"].to_pylist())[sample] <= RELAXED_ATOMS][: min(RELAXED, options.n)]
    moved = measurement.run(
        relaxed, [Task(f"relaxed {k}", small, 0, tuple(few[k : k + 10].tolist())) for k in range(0, len(few), 10)]
    )
    times = measurement.run(timed, [Task("time", small, 0, tuple(sample[:TIMED].tolist()))])["time"]
    largest = max(groups, key=len)
    run = measurement.run(run_timed, [Task("run", small, options.seed, tuple(largest[:40].tolist()))])["run"]
    flat = {
        name: [pair for part in parts.values() for pair in part]
        for name, parts in (("random", random), ("closest", hard))
    }
    report(measurement, looked, flat, [found for part in moved.values() for found in part], times, run)


def _flat(parts: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [found for part in parts.values() for found in part]


def _groups(whole: pa.Table, rows: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the rows of each reduced formula that has several, in random order."""
    by_formula: dict[str, list[int]] = {}
    names = known_formulas()
    for row, name in zip(rows.tolist(), whole["material_id"].take(rows).to_pylist(), strict=True):
        by_formula.setdefault(names[name], []).append(row)
    found = [np.array(group) for _, group in sorted(by_formula.items()) if len(group) > 1]
    return [rng.permutation(found[k]) for k in rng.permutation(len(found))]


def known_formulas() -> dict[str, str]:
    """Return the reduced formula by name."""
    return {name: formula for formula, entries in known().by_formula.items() for name in entries.names}


if __name__ == "__main__":
    main()
