"""Read what ASE reads: XSF, GEN, the geometry of FHI-aims, rows of its databases and trajectories.

ASE's readers are lenient: they skip atoms beyond the number that a file announces, so that number is checked here. The
one of FHI-aims builds functions from the expressions of a symmetry block; it is only given the lines of atoms and
vectors.
"""

import io
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.io.aims import parse_geometry_lines
from ase.io.gen import read_gen as ase_gen
from ase.io.xsf import iread_xsf
from pymatgen.core.structure import Structure

from matgen.structures.broken import BrokenStructureError
from matgen.structures.molecule_formats import from_distances
from matgen.structures.periodic import check_periodic
from matgen.structures.told_charge import charge_of_atoms
from matgen.templates.molecular_geometry import Placed

NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eEdD][-+]?\d+)?"

XSF_ATOM = re.compile(rf"(?m)^[ \t]*(?:[A-Za-z]{{1,2}}|\d+)(?:[ \t]+{NUMBER}){{3}}(?:(?:[ \t]+{NUMBER}){{3}})?[ \t]*$")
GEN_ATOM = re.compile(rf"\s*\d+\s+\d+(?:\s+{NUMBER}){{3}}\s*")
VECTOR = re.compile(rf"\s*{NUMBER}(?:\s+{NUMBER}){{2}}\s*")

OF_AIMS = frozenset({"atom", "atom_frac", "lattice_vector", "initial_charge"})
"""Words of a geometry of FHI-aims that make the structure."""


def of_atoms(atoms: Atoms, charge: float | None = None) -> Structure | Placed:
    """Return the crystal of atoms that repeat along three axes, or the molecule of those that do not repeat.

    Args:
        atoms: as ASE has them.
        charge: of a molecule, e; None for the sum of the initial charges of the atoms.

    Raises:
        BrokenStructureError: they repeat along one or two axes, have no cell, or an element is unknown, or
            the charges of atoms add up to no whole number.
    """
    if not len(atoms):
        raise BrokenStructureError("no atoms")
    if not atoms.numbers.all():
        raise BrokenStructureError(f"{atoms.symbols[int(np.argmin(atoms.numbers))]} is no element")
    if not atoms.pbc.any():
        total = charge_of_atoms(atoms.get_initial_charges()) if charge is None else round(charge)
        return from_distances(atoms.numbers, atoms.positions, total)
    check_periodic(atoms.pbc)
    if atoms.cell.rank < 3:
        raise BrokenStructureError("its cell has no volume")
    return Structure(atoms.cell.array, atoms.numbers.tolist(), atoms.positions, coords_are_cartesian=True)


def read_xsf(text: str) -> Structure | Placed:
    """Return the crystal, or molecule, of a frame of an XCrySDen file."""
    before_grids = re.split(r"(?m)^[ \t]*BEGIN_", text, maxsplit=1)[0]
    try:
        (atoms,) = iread_xsf(io.StringIO(before_grids))
    except (AssertionError, RuntimeError) as error:  # a word where another is expected; the end
        raise BrokenStructureError(
            "damaged: expected CRYSTAL, PRIMVEC with three vectors and PRIMCOORD with all atoms, or ATOMS"
        ) from error
    _check_count(len(XSF_ATOM.findall(before_grids)), len(atoms))
    return of_atoms(atoms)


def read_gen(text: str) -> Structure | Placed:
    """Return the crystal, or molecule, of a GEN file of DFTB+."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    words = lines[0].split()
    listed = sum(1 for line in lines[2:] if GEN_ATOM.fullmatch(line))
    _check_count(listed, int(words[0]))
    cell = lines[2 + listed :]
    periodic = words[1].upper() in {"S", "F"}
    if len(cell) != 4 * periodic or not all(map(VECTOR.fullmatch, cell)):
        expected = "an origin and three vectors" if periodic else "nothing"
        raise BrokenStructureError(f"expected {expected} behind the atoms, got {len(cell)} lines")
    return of_atoms(ase_gen(io.StringIO("\n".join(lines).replace("D+", "E+").replace("D-", "E-") + "\n")))


def read_aims(text: str) -> Structure | Placed:
    """Return the crystal, or molecule, of a `geometry.in` of FHI-aims."""
    lines = [line.split("#", 1)[0] for line in text.splitlines()]
    if any(line.split()[:1] == ["empty"] for line in lines):
        raise BrokenStructureError("it has sites without atoms (`empty`); leave them out")
    lines = [line for line in lines if line.split()[:1] and line.split()[0] in OF_AIMS]
    if len([line for line in lines if line.split()[0] == "lattice_vector"]) not in {0, 3}:
        raise BrokenStructureError("no crystal: expected three lines of `lattice_vector`, or none")
    return of_atoms(parse_geometry_lines(lines, apply_constraints=False))


def read_row(value: Mapping[str, Any]) -> Structure | Placed:
    """Return the crystal, or molecule, of a row of a database or trajectory of ASE."""
    cell = array_of(value.get("cell"), float)
    pbc = array_of(value.get("pbc"), bool) if value.get("pbc") is not None else bool(cell.any())
    atoms = Atoms(array_of(value["numbers"], int), array_of(value["positions"], float), cell=cell, pbc=pbc)
    if value.get("initial_charges") is not None:
        atoms.set_initial_charges(array_of(value["initial_charges"], float))
    own = value.get("charge", key_value_pairs(value.get("key_value_pairs")).get("charge"))
    return of_atoms(atoms, own if isinstance(own, int | float) else None)


def key_value_pairs(value: Any) -> Mapping[str, Any]:
    """Return the key-value pairs of a row of a database of ASE; none of a row without them.

    Raises:
        BrokenStructureError: they are no object.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BrokenStructureError(f"expected key-value pairs as an object, got {type(value).__name__}")
    return value


def array_of(value: Any, kind: type) -> np.ndarray:
    """Return an array that ASE wrote as JSON, as lists or with its shape; ASE's own decoder fills any shape."""
    if isinstance(value, Mapping) and "__ase_objtype__" in value:
        value = value.get("array")
    if isinstance(value, Mapping) and "__ndarray__" in value:
        shape, _, data = value["__ndarray__"]
        return np.array(data, dtype=kind).reshape(shape)
    return np.zeros((3, 3), dtype=kind) if value is None else np.array(value, dtype=kind)


def _check_count(listed: int, announced: int) -> None:
    if listed != announced:
        raise BrokenStructureError(f"it announces {announced} atoms and lists {listed}")
