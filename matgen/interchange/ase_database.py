"""Databases of ASE: a row for each structure, which `ase db` and `ase.db.connect` read."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ase.db
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db.core import reserved_keys, str_represents

from matgen.interchange.item import Item
from matgen.structures.kind_formats import KIND_FORMATS
from matgen.structures.record import to_record

SUFFIXES = {".db": "db", ".json": "json"}
"""Kind of database by the suffix of the file: SQLite, or JSON."""

WORD = re.compile(r"[_a-zA-Z]")
"""Begin of a key."""

RENAMED = {"energy": "energy_of_terms", "charge": "net_charge"}
"""Columns whose names ASE has for itself."""


def write_database(path: Path, items: Iterable[Item], provenance: Mapping[str, Any], suffix: str) -> None:
    """Write a database; the columns become key-value pairs, and everything is in `row.data`.

    The energy of a row, eV, is that of the potential, which names the calculator.

    Args:
        path: of the file, which must not exist.
        items: structures.
        provenance: of their run; it is in `row.data` too.
        suffix: one of `SUFFIXES`.
    """
    database = ase.db.connect(str(path), type=SUFFIXES[suffix], append=False, use_lock_file=False)
    for item in items:
        atoms = KIND_FORMATS[item.candidate.kind].frame(item.candidate)
        if math.isfinite(item.energy):
            atoms.calc = SinglePointCalculator(atoms, energy=item.total_energy)
            atoms.calc.name = (item.potential.split() or ["unknown"])[0].lower()
        whole = {"candidate": to_record(item.candidate), "columns": dict(item.columns), "provenance": dict(provenance)}
        database.write(atoms, key_value_pairs=pairs(item), data={"matgen": whole})


def pairs(item: Item) -> dict[str, Any]:
    """Return the columns as key-value pairs of ASE, and the name.

    ASE takes no text that looks like a number; such a text, and the second of two columns whose names become the same,
    are in `row.data` alone.
    """
    found: dict[str, Any] = {}
    for name, value in {"name": item.name, "potential": item.potential, **item.columns}.items():
        key = RENAMED.get(name) or "".join(one if one.isascii() and one.isalnum() else "_" for one in name)
        if not WORD.match(key) or key in reserved_keys:
            key = f"matgen_{key}"
        number_like = isinstance(value, str) and any(str_represents(value, kind) for kind in (int, float, bool))
        if key not in found and value != "" and not number_like:
            found[key] = value
    return found
