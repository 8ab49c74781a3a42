"""File formats of structures, and the kind of a piece of a file before it is read.

A piece is the part of a file that describes one structure. `matgen.structures.pieces` splits files into pieces, which
is cheap; `matgen.structures.reading` reads a piece, which is expensive and can run in other processes.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from matgen.structures.candidate import KindName
from matgen.structures.json_keys import CELL, HOLDERS, MOLECULE, ROW, SITES, is_structure

Format = Literal[
    "cif", "poscar", "extxyz", "sdf", "smi", "json", "jsonl", "csv",
    "xsf", "res", "gen", "aims", "pdb", "traj", "db", "mol2", "inchi", "ordering",
]  # fmt: skip
"""Formats of files, and `ordering`: a supercell that was made of a partially occupied crystal."""

SUFFIXES: dict[str, Format] = {
    ".cif": "cif",
    ".mcif": "cif",
    ".vasp": "poscar",
    ".poscar": "poscar",
    ".contcar": "poscar",
    ".extxyz": "extxyz",
    ".xyz": "extxyz",
    ".sdf": "sdf",
    ".sd": "sdf",
    ".mol": "sdf",
    ".smi": "smi",
    ".smiles": "smi",
    ".json": "json",
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".xsf": "xsf",
    ".axsf": "xsf",
    ".res": "res",
    ".ins": "res",
    ".gen": "gen",
    ".pdb": "pdb",
    ".ent": "pdb",
    ".traj": "traj",
    ".db": "db",
    ".mol2": "mol2",
    ".inchi": "inchi",
}

NAMES: dict[Format, re.Pattern[str]] = {
    "poscar": re.compile(r"(.*[._-])?(POSCAR|CONTCAR)(\d*|[._-].*)", re.IGNORECASE),
    "aims": re.compile(r"(.*[._-])?geometry\.in(\.next_step)?"),
}
"""Names of files whose suffix tells no format."""


@dataclass(frozen=True)
class Piece:
    """The part of a file that describes one structure, not read yet.

    Attributes:
        label: distinguishes pieces of one file, such as "#17"; empty where there is only one.
        form: its format; None for a piece that cannot be read.
        content: text, or a JSON value.
        error: why it cannot be read; empty otherwise.
        id: identifier that stands beside it in a table; empty where there is none. `matgen.structures.ids` reads those
            within the content.
        given: labels that stand beside it in a table; `matgen.structures.labels` reads those within the content.
    """

    label: str
    form: Format | None
    content: Any
    error: str = ""
    id: str = ""
    given: Mapping[str, float | int | str] = field(default_factory=dict)


def format_of(name: str) -> Format | None:
    """Return the format that a file name indicates, or None."""
    path = PurePosixPath(name)
    known = SUFFIXES.get(path.suffix.lower())
    return known or next((form for form, name in NAMES.items() if name.fullmatch(path.name)), None)


def likely_kind(piece: Piece) -> KindName | None:
    """Return whether a piece describes a crystal or a molecule, without reading it; None if that is unclear."""
    if piece.error or piece.form is None:
        return None
    if piece.form in _PERIODIC:
        return "crystal" if _PERIODIC[piece.form](piece.content) else "molecule"
    return _KINDS[piece.form] if piece.form in _KINDS else _kind_of_json(piece.content)


_KINDS: dict[Format, KindName] = {
    **dict.fromkeys(("cif", "poscar", "res", "ordering"), "crystal"),
    **dict.fromkeys(("sdf", "smi", "mol2", "inchi"), "molecule"),
}


def _kind_of_json(value: Any) -> KindName | None:
    if isinstance(value, str):
        return "crystal" if is_structure(value) else None
    if not isinstance(value, dict):
        return None
    if CELL & set(value) or "lattice_vectors" in (value.get("attributes") or ()):
        return "crystal"
    held = next((key for key in HOLDERS if key in value), None)
    if held is not None and not SITES & set(value):
        return _kind_of_json(value[held])
    if set(value) >= ROW:
        return "crystal" if any(_numbers(value.get("pbc", value.get("cell")))) else "molecule"
    return "molecule" if MOLECULE & set(value) else None


def _numbers(value: Any) -> Iterator[float]:
    """Yield the numbers of an array that ASE wrote as JSON."""
    if isinstance(value, dict):
        value = value.get("array", value.get("__ndarray__", (0, 0, ()))[2] if "__ndarray__" in value else ())
        if isinstance(value, dict):
            value = (value.get("__ndarray__") or (0, 0, ()))[2]
    for one in value if isinstance(value, list) else ():
        yield from _numbers(one) if isinstance(one, list) else (float(bool(one)),)


def pdb_has_cell(text: str) -> bool:
    """Return whether the CRYST1 of a PDB gives a cell; programs without one write a cube of 1 Å."""
    line = next((line for line in text.splitlines() if line.startswith("CRYST1")), "")
    try:
        return any(float(line[start : start + 9]) > 1.01 for start in (6, 15, 24))
    except ValueError:
        return bool(line)


def has_cell(frame: str) -> bool:
    """Return whether the comment line of an (ext)xyz frame gives a cell that is periodic along some axis."""
    _, _, rest = frame.partition("\n")
    comment = rest.partition("\n")[0]
    aperiodic = re.search(r"""\bpbc\s*=\s*["'{\[]?\s*(F|False|0)\b[\s,]*(F|False|0)\b[\s,]*(F|False|0)\b""", comment)
    return re.search(r"\bLattice\s*=", comment, re.IGNORECASE) is not None and aperiodic is None


_PERIODIC: dict[Format, Callable[[str], bool]] = {
    "extxyz": has_cell,
    "pdb": pdb_has_cell,
    "xsf": lambda text: re.search(r"(?m)^[ \t]*PRIMVEC", text) is not None,
    "gen": lambda text: text[:1000].split()[1:2] != ["C"],
    "aims": lambda text: re.search(r"(?m)^[ \t]*lattice_vector\b", text) is not None,
}
"""Formats of crystals and molecules, and whether a text of each has a cell."""
