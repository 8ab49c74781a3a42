"""Make data/textbook/*.cif and index.csv from data/textbook/structures.toml.

Run it after changing the table:

    python scripts/build/build_textbook_structures.py [--out FOLDER]
"""

import argparse
import csv
import functools
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from pymatgen.symmetry.groups import SpaceGroup

FOLDER = Path(__file__).resolve().parents[2] / "data" / "textbook"

# Fine enough to keep every printed digit of a coordinate apart from its symmetric value.
SYMPREC = 1e-3

# pymatgen drops a group without references, and takes half a second to make Fm-3m again.
space_group = functools.cache(SpaceGroup)


@dataclass(frozen=True)
class Entry:
    """One row of index.csv; field names are its columns."""

    file: str
    formula: str
    space_group: int
    prototype: str
    band_gap: str  # eV, measured; empty where not well established
    source: str


def lattice(crystal_system: str, constants: dict[str, float]) -> Lattice:
    """Complete the free lattice constants by what the crystal system fixes.

    Args:
        crystal_system: as pymatgen names it.
        constants: a, b, c in Å and alpha, beta, gamma in degrees, only the free ones.

    Returns:
        The conventional cell (hexagonal axes for trigonal groups).
    """
    a = constants["a"]
    gamma = 120.0 if crystal_system in {"hexagonal", "trigonal"} else 90.0
    whole = {"b": a, "c": a, "alpha": 90.0, "beta": 90.0, "gamma": gamma} | constants
    return Lattice.from_parameters(*(whole[key] for key in ("a", "b", "c", "alpha", "beta", "gamma")))


def coordinate(word: str, free: dict[str, float]) -> float:
    """Read a coordinate: a number, a fraction, or the name of a free parameter."""
    return free[word] if word in free else float(Fraction(word))


def build(prototype: dict[str, Any], compound: dict[str, Any]) -> Structure:
    """Build the conventional cell of one compound of a prototype."""
    group = space_group(prototype["space_group"])
    roles, *columns = zip(*(site.split() for site in prototype["sites"]), strict=True)
    free = compound.get("free", {})
    return Structure.from_spacegroup(
        prototype["space_group"],
        lattice(group.crystal_system, compound["lattice"]),
        [compound["elements"][role] for role in roles],
        [[coordinate(word, free) for word in words] for words in zip(*columns, strict=True)],
    )


def entries(table: dict[str, Any]) -> Iterator[tuple[Entry, Structure]]:
    """Yield the index row and structure of every compound of the table."""
    for name, prototype in table.items():
        for compound in prototype["compounds"]:
            yield (
                Entry(
                    file=f"{compound['formula']}_{name}.cif",
                    formula=compound["formula"],
                    space_group=space_group(prototype["space_group"]).int_number,
                    prototype=name,
                    band_gap=str(compound.get("gap", "")),
                    source=compound["source"],
                ),
                build(prototype, compound),
            )


def main() -> None:
    """Write the CIFs and the index."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to (default: %(default)s)")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.cif"):
        old.unlink()

    table = tomllib.loads((FOLDER / "structures.toml").read_text(encoding="utf-8"))
    rows = sorted(entries(table), key=lambda row: row[0].file)
    with (out / "index.csv").open("w", encoding="utf-8", newline="") as stream:
        index = csv.writer(stream, lineterminator="\n")
        index.writerow(field.name for field in fields(Entry))
        for entry, structure in rows:
            index.writerow(getattr(entry, field.name) for field in fields(Entry))
            CifWriter(structure, symprec=SYMPREC, refine_struct=False).write_file(out / entry.file)
    print(f"{len(rows)} structures written to {out}")


if __name__ == "__main__":
    main()
