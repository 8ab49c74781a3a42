"""SDF text of a molecule, and whether it still says the same."""

import math
from collections.abc import Mapping

import numpy as np
from rdkit import Chem

from matgen.templates.molecular_geometry import shows
from matgen.templates.molecule import MoleculeTemplate, with_positions


def sdf_text(template: MoleculeTemplate, positions: np.ndarray, name: str, data: Mapping[str, str]) -> str:
    """One record with all hydrogens and with data fields.

    Args:
        template: the graph.
        positions: Cartesian (n_atoms, 3), Å, in the order of the graph; the file holds four decimals.
        name: the title.
        data: fields in order; line ends in them become spaces.
    """
    molecule = with_positions(template, positions)
    molecule.SetProp("_Name", name)
    for field, value in data.items():
        molecule.SetProp(field, " ".join(value.split()))
    return Chem.SDWriter.GetText(molecule)


def read_sdf(text: str) -> Chem.Mol | None:
    """The first molecule in an SDF text, all atoms as they are; None where RDKit finds none in it."""
    source = Chem.SDMolSupplier()
    source.SetData(text, removeHs=False)
    return next(iter(source), None)


def farthest(template: MoleculeTemplate, positions: np.ndarray, back: Chem.Mol) -> float:
    """How far (Å) a molecule that was read back has an atom from where it was; NaN if it is another molecule.

    A template that asks for no hand is met by either.
    """
    if not shows(back, template):
        return math.nan
    return float(np.linalg.norm(back.GetConformer().GetPositions() - positions, axis=1).max(initial=0.0))
