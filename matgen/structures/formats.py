"""File formats of structures, and the kind of a piece of a file before it is read.

A piece is the part of a file that describes one structure. `matgen.structures.pieces` splits files into pieces, which
is cheap; `matgen.structures.reading` reads a piece, which is expensive and can run in other processes.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from matgen.structures.candidate import KindName
from matgen.structures.cif_block import HAS_CELL
from matgen.structures.poscar import is_head

Format = Literal["cif", "poscar", "extxyz", "sdf", "smi", "json", "jsonl", "csv", "ordering"]
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
}

POSCAR_NAME = re.compile(r"(.*[._-])?(POSCAR|CONTCAR)(\d*|[._-].*)", re.IGNORECASE)

HOLDERS = ("structure", "cif", "final_structure", "initial_structure")
"""Keys of a JSON object, and columns of a CSV table, that may hold a structure; `smiles` is tried after them."""


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
    """

    label: str
    form: Format | None
    content: Any
    error: str = ""
    id: str = ""


def format_of(name: str) -> Format | None:
    """Return the format that a file name indicates, or None."""
    path = PurePosixPath(name)
    known = SUFFIXES.get(path.suffix.lower())
    return "poscar" if known is None and POSCAR_NAME.fullmatch(path.name) else known


def likely_kind(piece: Piece) -> KindName | None:
    """Return whether a piece describes a crystal or a molecule, without reading it; None if that is unclear."""
    if piece.error or piece.form is None:
        return None
    if piece.form == "extxyz":
        return "crystal" if has_cell(piece.content) else "molecule"
    return _KINDS[piece.form] if piece.form in _KINDS else _kind_of_json(piece.content)


_KINDS: dict[Format, KindName] = {
    "cif": "crystal",
    "poscar": "crystal",
    "ordering": "crystal",
    "sdf": "molecule",
    "smi": "molecule",
}


def _kind_of_json(value: Any) -> KindName | None:
    if isinstance(value, str):
        crystal = HAS_CELL.search(value) or re.search("[\"']lattice[\"']", value) or is_head(value.splitlines()[:7])
        return "crystal" if crystal else None
    if not isinstance(value, dict):
        return None
    if {"lattice", "lattice_vectors", "lengths"} & set(value) or "lattice_vectors" in (value.get("attributes") or ()):
        return "crystal"
    held = next((key for key in HOLDERS if key in value), None)
    if held is not None and not {"sites", "cart_coords"} & set(value):
        return _kind_of_json(value[held])
    return "molecule" if {"sites", "cart_coords", "smiles"} & set(value) else None


def has_cell(frame: str) -> bool:
    """Return whether the comment line of an (ext)xyz frame gives a cell that is periodic along some axis."""
    comment = frame.split("\n", 2)[1]
    aperiodic = re.search(r"""\bpbc\s*=\s*["'{\[]?\s*(F|False|0)\b[\s,]*(F|False|0)\b[\s,]*(F|False|0)\b""", comment)
    return re.search(r"\bLattice\s*=", comment, re.IGNORECASE) is not None and aperiodic is None
