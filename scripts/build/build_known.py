"""Write matgen/references/known.npz: fingerprints of known crystals, and formulas of those without a structure.

`python scripts/build/build_known.py --data FOLDER` reads FOLDER/crystals/mp24_le20.parquet, mp24_gt20_on_hull.parquet
and mp24_index.parquet. It takes some minutes on one core. Finished parts are kept in cache/known/ and reused as long as
the fingerprint does not change.
"""

import argparse
import hashlib
import os
from functools import reduce
from pathlib import Path
from typing import Any

import moyopy
import numpy as np
import pyarrow.parquet as pq
from pymatgen.core.composition import Composition
from pymatgen.core.structure import Structure

from matgen.datasets.named import row_structure
from matgen.novelty.crystals import KnownIndex, entries_by_formula, without_fingerprint
from matgen.novelty.fingerprint import fingerprint
from matgen.novelty.index_file import KIND, SHIPPED
from matgen.structures.symmetry import SYMPREC
from matgen.workflows.data import data_folder

SOURCE = "Materials Project before GNoME, CC BY 4.0"
TABLES = ("mp24_le20", "mp24_gt20_on_hull")
COLUMNS = ["material_id", "cell", "Z", "frac"]
CHUNK = 2000


def space_group_number(structure: Structure) -> int:
    """Return the number of the space group by moyopy; 0 if it finds none."""
    cell = moyopy.Cell(structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), structure.atomic_numbers)
    try:
        return int(moyopy.MoyoDataset(cell, symprec=SYMPREC).number)
    except ValueError:
        return 0


def part(rows: list[dict[str, Any]], path: Path) -> KnownIndex:
    """Return the index of rows, from its file if there is one."""
    if not path.exists():
        structures = {row["material_id"]: row_structure(row) for row in rows}
        groups = {row["material_id"]: row.get("spg") for row in rows}
        index = KnownIndex(
            SOURCE,
            entries_by_formula(
                {name: fingerprint(structure) for name, structure in structures.items()},
                {name: int(groups[name] or space_group_number(structure)) for name, structure in structures.items()},
            ),
        )
        partial = path.with_suffix(".partial")
        index.save(partial)
        partial.rename(path)
    return KnownIndex.load(path)


def kind_of_fingerprint() -> str:
    """Return a hash for the names of the parts, which changes with the fingerprint."""
    rutile = Structure(
        np.diag([4.59, 4.59, 2.96]),
        ["Ti", "Ti", "O", "O", "O", "O"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.305, 0.305, 0], [-0.305, -0.305, 0], [0.805, 0.195, 0.5], [0.195, 0.805, 0.5]],
    )
    steps = entries_by_formula({"probe": fingerprint(rutile)}, {"probe": 136})["TiO2"].steps
    return hashlib.sha256(f"{KIND} {steps.tolist()}".encode()).hexdigest()[:12]


def main() -> None:
    """Make the parts, join them, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("MATGEN_DATA")
    parser.add_argument(
        "--data",
        type=Path,
        default=folder and Path(folder),
        help="folder of the training tables (default: MATGEN_DATA)",
    )
    parser.add_argument("--parts", type=Path, default=Path("cache/known"), help="folder of the parts")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    options = parser.parse_args()
    tables = data_folder(options.data) / "crystals"
    kind = kind_of_fingerprint()
    parts = []
    for name in TABLES:
        table = pq.read_table(tables / f"{name}.parquet")
        table = table.select([column for column in (*COLUMNS, "spg") if column in table.column_names])
        for start in range(0, len(table), CHUNK):
            rows = table.slice(start, CHUNK).to_pylist()
            parts.append(part(rows, options.parts / f"{kind}-{name}-{start}.npz"))
            print(f"{name}: {start + len(rows)}/{len(table)}", flush=True)
    index = reduce(KnownIndex.joined, parts)
    formulas = pq.read_table(tables / "mp24_index.parquet", columns=["formula"])["formula"]
    others = without_fingerprint(
        (Composition(formula).reduced_formula for formula in formulas.to_pylist()), index.by_formula
    )
    KnownIndex(SOURCE, dict(sorted(index.by_formula.items())), others).save(options.out)
    size = options.out.stat().st_size / 1e6
    print(f"{len(index)} fingerprints, {sum(others.values())} entries by formula alone: {options.out}, {size:.1f} MB")


if __name__ == "__main__":
    main()
