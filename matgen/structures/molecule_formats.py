"""Read molecules from the text of an SDF or MOL file, an (ext)xyz frame without a cell, or a SMILES.

What the text does not give, hydrogens or a geometry, is generated and noted.
"""

import re

import numpy as np
from pymatgen.core.structure import Molecule
from rdkit import Chem

from matgen.chemistry.elements import ATOMIC_NUMBERS, SYMBOLS
from matgen.structures.broken import BrokenStructureError, one_line
from matgen.structures.extxyz_frame import read_frame
from matgen.structures.told_charge import charge_of_atoms, told_charge
from matgen.templates.molecular_geometry import Placed, bonded, embedded, placed
from matgen.templates.molecule import MoleculeError, MoleculeTemplate, with_positions

HOW_TO_TELL = "a charge is told as charge=-1 in the comment line"


def read_molecule_xyz(text: str) -> Placed:
    """Return the molecule of an (ext)xyz frame without a cell.

    Bonds come from `smiles=` in the comment line, otherwise from distances and the charge, which the comment tells, or
    the initial charges of the atoms.
    """
    _, comment, *lines = text.split("\n")
    charge = told_charge(comment)
    if re.search(r"\bProperties\s*=", comment):
        atoms = read_frame(text)
        smiles = atoms.info.get("smiles", "")
        atomic_numbers, positions = atoms.numbers, atoms.positions
        charge = charge_of_atoms(atoms.get_initial_charges()) if charge is None else charge
    else:
        columns = [line.split() for line in lines if line.strip()]
        smiles = ""
        atomic_numbers = np.array([_atomic_number(row[0]) for row in columns])
        positions = np.array([[float(number.replace("*^", "e")) for number in row[1:4]] for row in columns])
    if smiles and MoleculeTemplate.of(smiles).graph.elements.tolist() == atomic_numbers.tolist():
        return placed(with_positions(MoleculeTemplate.of(smiles), positions))
    try:
        return from_distances(atomic_numbers, positions, charge or 0)
    except BrokenStructureError as error:
        if charge is not None or error.atoms is None:
            raise
        raise BrokenStructureError(f"{error}; {HOW_TO_TELL}", error.atoms) from error


def _atomic_number(word: str) -> int:
    """Return the atomic number of the first column of an XYZ line, a symbol or a number."""
    z = int(word) if word.isdigit() else ATOMIC_NUMBERS.get(word.capitalize(), 0)
    if not 0 < z < len(SYMBOLS):
        raise BrokenStructureError(f"{word[:20]} is no element")
    return z


def from_distances(atomic_numbers: np.ndarray, positions: np.ndarray, charge: int) -> Placed:
    """Return the molecule that atoms form, with bonds by distance.

    Args:
        atomic_numbers: atomic numbers (n,).
        positions: Cartesian (n, 3), Å.
        charge: of the molecule, e.

    Raises:
        BrokenStructureError: no bonds match the atoms and the charge.
    """
    if not len(atomic_numbers):
        raise BrokenStructureError("no atoms")
    if not np.isfinite(positions).all():
        raise BrokenStructureError("coordinates are not finite")
    try:
        return placed(bonded(atomic_numbers, positions, charge))
    except MoleculeError as error:
        message = f"no crystal, since it has no cell, and no molecule: {one_line(error)}"
        raise BrokenStructureError(message, _atoms(atomic_numbers, positions)) from error


def read_molblock(text: str) -> Placed:
    """Return the molecule of an SDF record or a MOL file, V2000 or V3000."""
    found = Chem.MolFromMolBlock(text, removeHs=False)
    bare = found or Chem.MolFromMolBlock(text, removeHs=False, sanitize=False)
    if bare is None:
        raise BrokenStructureError("not readable as sdf: expected a table of atoms and bonds, V2000 or V3000")
    try:
        if found is None:
            Chem.SanitizeMol(bare)  # raises what is wrong with it
        return placed(bare)
    except ValueError as error:
        message = one_line(error) if isinstance(error, MoleculeError) else f"not readable as sdf: {one_line(error)}"
        raise BrokenStructureError(message, _atoms_in_space(bare)) from error


def _atoms_in_space(molecule: Chem.Mol) -> Molecule | None:
    if not molecule.GetNumConformers() or not molecule.GetConformer().Is3D():
        return None
    atomic_numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    return _atoms(atomic_numbers, molecule.GetConformer().GetPositions())


def _atoms(atomic_numbers: np.ndarray, positions: np.ndarray) -> Molecule | None:
    """Return atoms without bonds; None if an element or a position is invalid.

    Args:
        atomic_numbers: atomic numbers (n,).
        positions: Cartesian (n, 3), Å.
    """
    if not len(atomic_numbers) or not atomic_numbers.all() or not np.isfinite(positions).all():
        return None
    return Molecule(atomic_numbers.tolist(), positions)


def read_smiles(smiles: str) -> Placed:
    """Return the molecule of a SMILES, with a generated geometry."""
    return embedded(MoleculeTemplate.of(smiles))


def with_bonds(molecule: Molecule, smiles: str | None = None) -> Placed:
    """Add bonds to atoms: those of a SMILES with the same order of atoms, otherwise by distance.

    Raises:
        BrokenStructureError: the atoms are not those of the SMILES in its order, or form no molecule.
    """
    atomic_numbers = np.array([getattr(site.specie, "Z", 0) for site in molecule])
    if not smiles:
        return from_distances(atomic_numbers, molecule.cart_coords, int(molecule.charge))
    template = MoleculeTemplate(smiles)
    if template.graph.elements.tolist() != atomic_numbers.tolist():
        raise BrokenStructureError(f"expected the atoms of {smiles} in the order of its graph, got {molecule.formula}")
    return Placed(template, molecule.cart_coords)


def molecule_of(found: Placed) -> Molecule:
    """Return a molecule in space, with its charge, and its unpaired electrons of equal spin.

    Raises:
        BrokenStructureError: a coordinate is not finite, or the graph has no such number of electrons.
    """
    graph = found.template.graph
    if not np.isfinite(found.positions).all():
        raise BrokenStructureError("coordinates are not finite")
    spin = found.template.unpaired_electrons + 1
    charge = int(graph.charges.sum())
    try:
        return Molecule(graph.elements.tolist(), found.positions, charge=charge, spin_multiplicity=spin)
    except ValueError as error:  # the graph has a radical centre too many or too few for its electrons
        raise BrokenStructureError(f"{found.template}: {one_line(error)}") from error


def read_mol2(text: str) -> Placed:
    """Return the molecule of a MOL2 file, whose charges follow from its hydrogens."""
    if re.search(r"(?m)^@<TRIPOS>CRYSIN", text):
        raise BrokenStructureError("no molecule: an MOL2 with a cell (CRYSIN); write the crystal as a CIF")
    found = Chem.MolFromMol2Block(text, removeHs=False)
    if found is None:
        raise BrokenStructureError("not readable as mol2: expected one molecule with atoms and bonds of valid valences")
    if any(atom.GetNumRadicalElectrons() for atom in found.GetAtoms()):
        raise BrokenStructureError("atoms have free valences: an MOL2 needs all hydrogens; write an SDF for a radical")
    return placed(found)


def read_inchi(text: str) -> Placed:
    """Return the molecule of an InChI, with a generated geometry.

    Raises:
        BrokenStructureError: RDKit cannot read it, or makes another molecule of it.
    """
    inchi = text.strip()
    found = Chem.MolFromInchi(inchi, sanitize=True, removeHs=False)
    if found is None:
        raise BrokenStructureError(f"not readable as InChI: {inchi[:60]!r}")
    template = MoleculeTemplate.of(found)
    again = Chem.MolToInchi(template.molecule)
    if inchi.startswith("InChI=1S/") and again != inchi:
        raise BrokenStructureError(f"RDKit makes {template} of {inchi[:60]}, whose InChI is another: {again[:60]}")
    return embedded(template)
