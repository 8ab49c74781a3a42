"""Write molecules as SDF text, and test that it reads back to the same molecule."""

import math
from collections.abc import Mapping

import numpy as np
from rdkit import Chem

from matgen.structures.candidate import Candidate, Verdict
from matgen.templates.molecular_geometry import shows
from matgen.templates.molecule import MoleculeTemplate, inchi_key, with_positions

ROUNDING = 1e-4
"""Å; the four decimals of an SDF move an atom by less."""


def faithful_sdf(candidate: Candidate) -> tuple[str, Verdict]:
    """Write an SDF with all hydrogens that reads back to the same molecule with its atoms in place.

    Returns:
        The text, and a verdict: failed if the coordinates show another graph or chirality than the template.
    """
    template, positions = MoleculeTemplate(candidate.template), candidate.structure.cart_coords
    text = sdf_text(template, positions, candidate.name, _sdf_fields(candidate))
    back = read_sdf(text)
    moved = math.nan if back is None else farthest(template, positions, back)
    passed = moved <= ROUNDING
    reason = "reads back to the same graph and chirality" if passed else f"does not read back as {template}"
    return text, Verdict("sdf", passed, moved, "Å", reason)


def _sdf_fields(candidate: Candidate) -> dict[str, str]:
    """Return the data fields of a candidate: identity, predictions and verdicts."""
    fields = {"SMILES": candidate.template, "InChIKey": inchi_key(candidate.template)}
    for name, prediction in candidate.properties.items():
        fields[name] = f"{prediction.value:.6g} +- {prediction.spread:.2g} {prediction.unit}"
    failed = [name for name, verdict in candidate.verdicts.items() if not verdict.passed]
    fields["passed"] = "no" if failed else "yes"
    return fields | {"failed": ", ".join(failed)} if failed else fields


def sdf_text(template: MoleculeTemplate, positions: np.ndarray, name: str, data: Mapping[str, str]) -> str:
    """Return one record with all hydrogens and with data fields.

    Args:
        template: the graph.
        positions: Cartesian (n_atoms, 3), Å, in the order of the graph; the file holds four decimals.
        name: the title.
        data: fields in order; line breaks in them become spaces.
    """
    molecule = with_positions(template, positions)
    molecule.SetProp("_Name", name)
    for field, value in data.items():
        molecule.SetProp(field, " ".join(value.split()))
    return Chem.SDWriter.GetText(molecule)


def read_sdf(text: str) -> Chem.Mol | None:
    """Return the first molecule of an SDF text with its atoms unchanged, or None if RDKit finds none."""
    source = Chem.SDMolSupplier()
    source.SetData(text, removeHs=False)
    return next(iter(source), None)


def farthest(template: MoleculeTemplate, positions: np.ndarray, back: Chem.Mol) -> float:
    """Return the largest displacement (Å) of an atom of a molecule that was read back; NaN for another molecule.

    A template without specified chirality matches either enantiomer.
    """
    if not shows(back, template):
        return math.nan
    return float(np.linalg.norm(back.GetConformer().GetPositions() - positions, axis=1).max(initial=0.0))
