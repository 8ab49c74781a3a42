"""Read PDB files by gemmi: a crystal if CRYST1 gives a cell, otherwise a molecule with bonds by distance."""

from collections.abc import Iterator

import gemmi
import numpy as np
from pymatgen.core.structure import Structure

from matgen.structures.broken import BrokenStructureError
from matgen.structures.cif_of_sites import ListedSite, cif_of_sites
from matgen.structures.cif_reader import read_cif
from matgen.structures.cif_sites import MOST_SITES
from matgen.structures.faithful import FromFile
from matgen.structures.formats import pdb_has_cell
from matgen.structures.molecule_formats import from_distances
from matgen.templates.molecular_geometry import Placed

FULL = 0.995
"""Occupancy from which an atom of a molecule is there."""


ATOMS = frozenset({"ATOM", "HETATM"})
ENDS = frozenset({"MODEL", "ENDMDL", "END"})
OF_CELL = ("CRYST1", "ORIGX", "SCALE", "MTRIX")
"""Records of the atoms, of what ends those of a model, and of a cell, which holds for all models that follow."""


def models(text: str) -> Iterator[str]:
    """Yield the text of each model, with the records before the first one and the cell that holds for it.

    Programs write CRYST1 before, within or between models, and frames that only END or the next CRYST1 ends.
    """
    head: list[str] = []
    model: list[str] | None = None
    found = False
    for line in text.splitlines(keepends=True):
        record = line[:6].rstrip()
        next_cell = record == "CRYST1" and any(one.startswith("CRYST1") for one in head)
        if model is not None and (record in ENDS or (next_cell and model)):
            yield "".join([*head, *model])
            model, found = None, True
        if record == "MODEL":
            model = []
        elif record.startswith(OF_CELL):
            head = [*([one for one in head if not one.startswith(OF_CELL)] if next_cell else head), line]
        elif record in ATOMS or model is not None:
            model = model or []
            model.append(line)
        elif not found and record not in ENDS:
            head.append(line)
    if model is not None or not found:
        yield "".join([*head, *(model or [])])


def read_pdb(text: str) -> Structure | FromFile | Placed:
    """Return the crystal, or molecule, of a PDB file with one model.

    Raises:
        BrokenStructureError: it is damaged, disordered, or an element is unknown.
    """
    try:
        found = gemmi.read_pdb_string(text)
    except (RuntimeError, ValueError) as error:
        raise BrokenStructureError(f"not readable as pdb: {error}") from error
    atoms = [atom for model in found for chain in model for residue in chain for atom in residue]
    if not atoms:
        raise BrokenStructureError("no atoms")
    if len(atoms) > MOST_SITES:
        raise BrokenStructureError(f"{len(atoms)} atoms; more than {MOST_SITES} are not read")
    _check_elements(text, atoms)
    _check_whole(found, atoms)
    if pdb_has_cell(text):
        return _crystal(found, atoms)
    partial = next((atom for atom in atoms if atom.occ < FULL), None)
    if partial is not None:
        raise BrokenStructureError(f"disordered: the occupancy of {partial.name} is {partial.occ:g}")
    positions = np.array([atom.pos.tolist() for atom in atoms])
    return from_distances(
        np.array([atom.element.atomic_number for atom in atoms]), positions, sum(atom.charge for atom in atoms)
    )


def _check_elements(text: str, atoms: list[gemmi.Atom]) -> None:
    """Refuse atoms whose element is unknown, or would be guessed from a name: CA is carbon, or calcium.

    Raises:
        BrokenStructureError: there is one.
    """
    untold = [
        line[12:16].strip() for line in text.splitlines() if line[:6].rstrip() in ATOMS and not line[76:78].strip()
    ]
    untold += [atom.name for atom in atoms if atom.element.atomic_number == 0]
    if untold:
        raise BrokenStructureError(f"the element of the atom {untold[0]} is not told in columns 77 and 78")


def _check_whole(found: gemmi.Structure, atoms: list[gemmi.Atom]) -> None:
    """Refuse atoms that are alternatives of each other, and those that stand for copies that are not listed.

    Raises:
        BrokenStructureError: there are some.
    """
    marks = sorted({atom.altloc for atom in atoms if atom.has_altloc()})
    if len(marks) > 1:
        raise BrokenStructureError(
            f"disordered: it lists alternative positions ({', '.join(marks)}); choose one of them"
        )
    if n_copies := sum(not one.given for one in found.ncs):
        raise BrokenStructureError(f"{n_copies} copies by MTRIX are not listed; write all atoms")


def _crystal(found: gemmi.Structure, atoms: list[gemmi.Atom]) -> FromFile:
    cell = found.cell
    group = found.spacegroup_hm
    if group and gemmi.find_spacegroup_by_name(group, cell.alpha, cell.gamma) is None:
        raise BrokenStructureError(f"its space group {group!r} is unknown")
    known = gemmi.find_spacegroup_by_name(group, cell.alpha, cell.gamma) if group else None
    operations = [] if known is None else [one.triplet() for one in known.operations()]
    sites = [
        ListedSite(atom.name, atom.element.name, cell.fractionalize(atom.pos).tolist(), atom.occ) for atom in atoms
    ]
    return read_cif(cif_of_sites(cell.parameters, sites, operations=operations, symbol=known.xhm() if known else ""))
