"""Read a frame of extxyz by ASE, and refuse what ASE passes over: occupancies, words that contradict each other."""

import io
import re
from collections.abc import Iterator, Mapping

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io.extxyz import read_xyz

from matgen.structures.broken import BrokenStructureError

OCCUPANCY = re.compile(r"(?:atom_|site_)*occ(?:upanc(?:y|ies))?", re.IGNORECASE)
"""Names of columns that tell occupancies."""

OF_KINDS = "occupancy"
"""What ASE calls the occupancies of all kinds of sites, in `info`."""

FULL = 0.995
"""Occupancy from which an atom is there."""

ONCE = ("Lattice", "Properties", "pbc")
"""Words of a comment of which ASE takes the last."""

QUOTED = re.compile(r'"[^"]*"|\'[^\']*\'')
NUMBERS = re.compile(r"(?<![^\s\"'=:])(?:Z|numbers):I:1\b")
SPECIES = re.compile(r"(?<![^\s\"'=:])species:S:1\b")
"""Columns of atomic numbers, which ASE prefers, and of symbols."""

TOLD = "species_told"

MOST_COLUMNS = 1000
"""Of the lines of an extxyz."""


def read_frame(text: str) -> Atoms:
    """Return the atoms of a frame.

    Raises:
        BrokenStructureError: it tells its cell twice, two elements of an atom, or occupancies.
    """
    head, comment, rows = (*text.split("\n", 2), "", "")[:3]
    _check_columns(comment)
    unquoted = QUOTED.sub('""', comment)
    for word in ONCE:
        if (n := len(re.findall(rf"(?<!\S){word}\s*=", unquoted))) > 1:
            raise BrokenStructureError(f"its comment has {word} {n} times; leave out all but one")
    if NUMBERS.search(comment):  # ASE drops the symbols then
        comment = SPECIES.sub(f"{TOLD}:S:1", comment)
    atoms = next(read_xyz(io.StringIO(f"{head}\n{comment}\n{rows}"), 0))
    for told, number in zip(atoms.arrays.get(TOLD, ()), atoms.numbers, strict=False):
        if atomic_numbers.get(str(told).capitalize(), number) != number:
            raise BrokenStructureError(f"it contradicts itself: an atom is {told}, and its atomic number is {number}")
    if reason := disordered(atoms):
        raise BrokenStructureError(reason)
    return atoms


def _check_columns(comment: str) -> None:
    """Refuse a frame whose comment announces more columns than a line has: the reader would make room for each.

    Raises:
        BrokenStructureError: it does.
    """
    announced = re.search(r"\bProperties\s*=\s*[\"']?([^\s\"']*)", comment, re.IGNORECASE)
    numbers = (
        [int(word) for word in announced[1].split(":") if word.isdecimal() and len(word) < 20] if announced else []
    )
    if sum(numbers) > MOST_COLUMNS or (announced and re.search(r"\d{20}", announced[1])):
        raise BrokenStructureError(f"its Properties announce more than {MOST_COLUMNS} columns; correct them")


def disordered(atoms: Atoms) -> str:
    """Say which occupancy of atoms of ASE, by atom or as a whole, is not full; empty if none is."""
    given = [(name, told) for name, told in atoms.arrays.items() if OCCUPANCY.fullmatch(name)]
    given += [(OF_KINDS, atoms.info[OF_KINDS])] if OF_KINDS in atoms.info else []
    for name, told in given:
        if (partial := next((share for share in _shares(told) if not share >= FULL), None)) is not None:
            advice = "give a CIF, or a Structure of pymatgen, which `order` takes"
            return f"disordered: an atom has {name} {partial:g}; {advice}"
    return ""


def _shares(told: object) -> Iterator[float]:
    """Yield the numbers of an array, or of the values of a dictionary; not a number for words."""
    if isinstance(told, Mapping):
        for value in told.values():
            yield from _shares(value)
    elif isinstance(told, str):
        yield np.nan
    else:
        yield from np.asarray(told, dtype=float).ravel().tolist()
