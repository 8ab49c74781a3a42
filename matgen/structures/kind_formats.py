"""How candidates of each kind are written: the file of each, its columns in the table, and its extxyz frame."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from matgen.structures.candidate import Candidate, KindName, Verdict
from matgen.structures.cif import faithful_cif
from matgen.structures.sdf import faithful_sdf
from matgen.templates.molecule import inchi_key


@dataclass(frozen=True)
class KindFormat:
    """How candidates of one kind are written.

    Attributes:
        suffix: of the file of each candidate; also the name of the folder of these files and of their verdict.
        text: returns the text of that file and the verdict.
        identity: returns the columns of the table that identify the material.
        frame: returns the atoms, for extxyz.
    """

    suffix: str
    text: Callable[[Candidate], tuple[str, Verdict]]
    identity: Callable[[Candidate], dict[str, Any]]
    frame: Callable[[Candidate], Atoms]

    def folder(self, run: Path) -> Path:
        """Return the folder of the candidates' files, within the folder of a run."""
        return run / self.suffix


def _crystal_columns(candidate: Candidate) -> dict[str, Any]:
    group = candidate.space_group
    return {
        "n_atoms": len(candidate.structure),
        "space_group": group and group.number,
        "space_group_symbol": group and group.symbol,
        "template": candidate.template,
        **({"family": candidate.family} if candidate.family else {}),
    }


def _crystal_frame(candidate: Candidate) -> Atoms:
    crystal = candidate.crystal
    return Atoms(list(crystal.atomic_numbers), crystal.cart_coords, cell=crystal.lattice.matrix, pbc=True)


def _molecule_columns(candidate: Candidate) -> dict[str, Any]:
    return {
        "smiles": candidate.template,
        "inchikey": inchi_key(candidate.template),
        "n_atoms": len(candidate.structure),
    }


def _molecule_frame(candidate: Candidate) -> Atoms:
    molecule = candidate.structure
    return Atoms(list(molecule.atomic_numbers), molecule.cart_coords, info={"charge": int(molecule.charge)})


KIND_FORMATS: dict[KindName, KindFormat] = {
    "crystal": KindFormat("cif", lambda one: faithful_cif(one.crystal), _crystal_columns, _crystal_frame),
    "molecule": KindFormat("sdf", faithful_sdf, _molecule_columns, _molecule_frame),
}
