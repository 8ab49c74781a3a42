"""Of representative known molecules the one that a molecule is most similar to, by fingerprints."""

from typing import Any

from matgen.novelty.known_smiles import BITS, RADIUS, KnownSmiles, shipped_smiles
from matgen.novelty.molecules import KnownMolecules, KnownMoleculesError, shipped_molecules
from matgen.templates.molecule import MoleculeTemplate


def nearest_molecule(
    smiles: str, representative: KnownSmiles | None = None, known: KnownMolecules | None = None
) -> dict[str, Any]:
    """Return the most similar of representative known molecules, by Tanimoto similarity, and how they differ.

    Of equally similar ones it is the molecule itself, or one of its formula, or the first that was drawn.

    Args:
        smiles: of the molecule.
        representative: known molecules; the shipped ones if None.
        known: index of all known molecules; the shipped one if None.
    """
    among, known = representative or shipped_smiles(), known or shipped_molecules()
    template = MoleculeTemplate(smiles)
    own, formula = template.without_stereo.smiles, template.hill_formula
    similarities = among.similarities(smiles)
    most = max(similarities)
    nearest = max(
        (one for one, similarity in zip(among.smiles, similarities, strict=True) if similarity == most),
        key=lambda one: (one == own, MoleculeTemplate(one).hill_formula == formula),
    )
    found = MoleculeTemplate(nearest).hill_formula
    return {
        "name": nearest,
        "formula": found,
        "similarity": round(most, 3),
        "title": f"Nearest of {len(among):,} representative known molecules",
        "text": f"{_differing((own, formula), (nearest, found))} {_whether_known(template, known)}",
        "measure": (
            f"Tanimoto similarity, from 0 to 1, of Morgan fingerprints (radius {RADIUS}, {BITS:,} bits, without "
            f"stereo). The {len(among):,} are {among.source}; another known molecule may be nearer."
        ),
    }


def _differing(one: tuple[str, str], other: tuple[str, str]) -> str:
    """Return how two molecules differ, each of a SMILES and a formula, in words."""
    if one[0] == other[0]:
        return "The same molecule, but perhaps for stereo."
    return "An isomer, of the same formula." if one[1] == other[1] else f"It is {other[1]}, this molecule {one[1]}."


def _whether_known(template: MoleculeTemplate, known: KnownMolecules) -> str:
    try:
        there = known.knows(template)
    except KnownMoleculesError:
        return "Whether the molecule itself is known cannot be told, since it has no InChI."
    among = f"of the {len(known):,} in {known.source}"
    return f"The molecule itself is {'one' if there else 'none'} {among}, by its connectivity."
