"""Read the structure of one piece of a file: a crystal if it has a cell, otherwise a molecule."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pymatgen.core.structure import Molecule, Structure

from matgen.runtime.failures import of_the_machine, reason_of
from matgen.structures.atomic_formats import read_aims, read_gen, read_xsf
from matgen.structures.broken import READER_ERRORS, BrokenStructureError, one_line
from matgen.structures.candidate import KindName, Material, kind_of
from matgen.structures.cif_block import HAS_CELL
from matgen.structures.cif_reader import read_cif
from matgen.structures.crystal_formats import clean, read_extxyz
from matgen.structures.faithful import Faithfulness, FromFile
from matgen.structures.formats import Format, Piece, has_cell, likely_kind
from matgen.structures.json_crystals import crystal_of
from matgen.structures.json_keys import HOLDERS
from matgen.structures.json_text import value_of
from matgen.structures.molecule_formats import (
    molecule_of,
    read_inchi,
    read_mol2,
    read_molblock,
    read_molecule_xyz,
    read_smiles,
    with_bonds,
)
from matgen.structures.pdb import read_pdb
from matgen.structures.periodic import check_periodic
from matgen.structures.poscar import is_head, parts, read_poscar
from matgen.structures.pymatgen_warnings import remarks
from matgen.structures.shelx import read_res
from matgen.templates.molecular_geometry import Placed
from matgen.templates.molecule import MoleculeError


@dataclass(frozen=True)
class Reading:
    """The structure of a piece.

    Attributes:
        structure: elements and positions; the atoms of a molecule are in the order of the graph of its template.
        template: canonical SMILES of a molecule; empty for a crystal.
        note: what the file does not give and was generated, such as a geometry, what is read otherwise than written, or
            what the reader warns of; empty otherwise.
        faithful: comparison with what the file says beside the sites.
    """

    structure: Material
    template: str = ""
    note: str = ""
    faithful: Faithfulness = field(default_factory=Faithfulness)


def read_piece(piece: Piece, kind: KindName | None = None, *, contradictory: bool = False) -> Reading:
    """Read a piece: elements and positions only, without oxidation states, labels or moments.

    Args:
        piece: of a file.
        kind: expected kind; None for either.
        contradictory: whether to return a structure that contradicts what its file says, and not to refuse it.

    Raises:
        BrokenStructureError: it is not readable, of another kind, disordered, its cell has no volume, or it is not the
            structure that its file describes.
    """
    if piece.error or piece.form is None:
        raise BrokenStructureError(piece.error or "no format")
    likely = likely_kind(piece)
    if None not in (kind, likely) and kind != likely:
        raise BrokenStructureError(_OTHER[likely])
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = READERS[piece.form](piece.content)
            read = _valid(found)
    except BrokenStructureError:
        raise
    except Exception as error:
        if of_the_machine(error):
            raise
        raise BrokenStructureError(_reason(error, piece.form)) from error
    if kind not in {None, kind_of(read.structure)}:
        raise BrokenStructureError(_OTHER[kind_of(read.structure)])
    if not (contradictory or read.faithful.passed):
        raise BrokenStructureError(read.faithful.reason)
    notes = "; ".join(filter(None, [read.note, *remarks(caught)]))
    return replace(read, note=notes)


def disordered(piece: Piece) -> FromFile | None:
    """Return the crystal of a piece if sites of it are partially occupied or mixed; None otherwise.

    What cannot be read is no such crystal either: `read_piece` says why.
    """
    if piece.error or piece.form is None or likely_kind(piece) == "molecule":
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = READERS[piece.form](piece.content)
    except Exception as error:
        if of_the_machine(error):
            raise
        return None
    read = FromFile(found) if isinstance(found, Structure) else found
    return read if isinstance(read, FromFile) and not read.structure.is_ordered else None


def _reason(error: Exception, form: Format) -> str:
    """Say why a piece cannot be read, whatever a package raised on it."""
    match error:
        case MoleculeError():
            return one_line(error)
        case RecursionError():
            return "nested too deeply to be a structure"
        case np.linalg.LinAlgError():
            return "its cell has no volume: the three vectors lie in a plane"
    return f"not readable as {form}: {one_line(error) if isinstance(error, READER_ERRORS) else reason_of(error)}"


_OTHER: dict[KindName | None, str] = {
    "molecule": "no crystal: expected a cell (Lattice=...) that repeats along three axes, got a molecule",
    "crystal": "no molecule: expected atoms in free space, got a cell that repeats",
}


def _valid(found: Structure | Placed | FromFile) -> Reading:
    if isinstance(found, Placed):
        return Reading(molecule_of(found), str(found.template), found.note)
    if isinstance(found, FromFile):
        return Reading(clean(found.structure), note="; ".join(found.remarks), faithful=found.faithful)
    heavy = {"D", "T"} & {str(getattr(specie, "name", "")) for site in found for specie in site.species}
    return Reading(clean(found), note="isotopes of hydrogen are read as hydrogen" if heavy else "")


def _read_xyz(text: str) -> Structure | Placed:
    return read_extxyz(text) if has_cell(text) else read_molecule_xyz(text)


def _read_json(value: Any) -> Structure | Placed | FromFile:
    """Read a JSON value.

    Args:
        value: a pymatgen dictionary, a record of matgen, a CIF, or an object that holds one of these or a SMILES.
    """
    if isinstance(value, str):
        return _read_text(value)
    if not isinstance(value, dict):
        raise BrokenStructureError(f"expected a JSON object with a lattice and sites, got {type(value).__name__}")
    if "pbc" in value and "lattice" in value:
        check_periodic(value["pbc"])
    if (found := _of_sites(value)) is not None:
        return found
    for key in HOLDERS:
        if key in value:
            inner = value[key]
            has_graph = isinstance(inner, dict) and "cart_coords" in inner and "template" in value
            return _read_json(inner | {"template": value["template"]} if has_graph else inner)
    for key, reader in (("smiles", read_smiles), ("inchi", read_inchi)):
        if key in value:
            return reader(value[key])
    raise BrokenStructureError(
        f"expected a JSON object with a lattice and sites, got the keys {', '.join(value)[:80] or 'none'}"
    )


def _of_sites(value: dict[str, Any]) -> Structure | Placed | FromFile | None:
    """Read an object with elements and coordinates; return None if it has none."""
    if "sites" in value:
        bare = _without_properties(value)
        return Structure.from_dict(bare) if "lattice" in bare else with_bonds(Molecule.from_dict(bare))
    if {"charge", "species", "cart_coords"} <= set(value):
        return with_bonds(
            Molecule(value["species"], value["cart_coords"], charge=value["charge"]), value.get("template")
        )
    return crystal_of(value)


def _without_properties(value: dict[str, Any]) -> dict[str, Any]:
    """Return a dictionary of pymatgen without properties of sites, for which it imports the modules that they name."""
    sites = [{key: site[key] for key in site if key != "properties"} for site in value["sites"]]
    return {key: value[key] for key in value if key != "properties"} | {"sites": sites}


def _read_text(text: str) -> Structure | Placed | FromFile:
    """Read a cell of a table: a CIF, a POSCAR, JSON, or a dictionary as Python prints it."""
    if HAS_CELL.search(text):
        return read_cif(text)
    if is_head(text.splitlines()[:7]):
        if (n := len(list(parts(text)))) > 1:
            raise BrokenStructureError(f"expected one crystal, got {n} POSCARs in one text; give each on its own")
        return read_poscar(text)
    return _read_json(value_of(text))


def _read_ordering(value: Mapping[str, Any]) -> FromFile:
    """Read one of the ordered supercells that `matgen.structures.ordered_pieces` makes of a crystal."""
    said = Faithfulness(tuple(value["compared"]), tuple(value["contradictions"]))
    return FromFile(Structure.from_dict(value["structure"]), tuple(value["remarks"]), said)


READERS: dict[Format, Callable[[Any], Structure | Placed | FromFile]] = {
    "cif": read_cif,
    "poscar": read_poscar,
    "extxyz": _read_xyz,
    "sdf": read_molblock,
    "smi": read_smiles,
    "json": _read_json,
    "jsonl": _read_json,
    "csv": _read_json,
    "xsf": read_xsf,
    "res": read_res,
    "gen": read_gen,
    "aims": read_aims,
    "pdb": read_pdb,
    "mol2": read_mol2,
    "inchi": read_inchi,
    "ordering": _read_ordering,
}
