"""The known molecule that a molecule is most similar to: itself where it is known, else one of a sample."""

import re
from typing import Any

from matgen.novelty.known_smiles import BITS, RADIUS, KnownSmiles, shipped_smiles
from matgen.novelty.molecules import KnownMolecules, KnownMoleculesError, connectivity_block, shipped_molecules
from matgen.templates.molecule import MoleculeTemplate

LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def nearest_molecule(
    smiles: str, sample: KnownSmiles | None = None, known: KnownMolecules | None = None
) -> dict[str, Any]:
    """Return the known molecule that a molecule is most similar to, by Tanimoto similarity, and how they differ.

    That is the molecule itself where the index of known ones has it; the most similar other one of the sample is then
    told beside it. Of equally similar ones of the sample it is one of the same formula, or the first that was drawn.

    Args:
        smiles: of the molecule.
        sample: of known molecules; the shipped one if None.
        known: index of all known molecules; the shipped one if None.
    """
    among = shipped_smiles() if sample is None else sample
    known = shipped_molecules() if known is None else known
    template = MoleculeTemplate(smiles)
    there, told = _whether_known(template, known)
    nearest, similarity = _most_similar(template, among)
    other = MoleculeTemplate(nearest)
    differing = _differing(template, other)
    record = {
        "name": nearest,
        "formula": other.hill_formula,
        "similarity": similarity,
        "title": f"Nearest of a sample of {len(among):,} known molecules",
        "text": f"{differing} {told}",
        "measure": (
            f"Tanimoto similarity, from 0 to 1, of Morgan fingerprints (radius {RADIUS}, {BITS:,} bits, without "
            f"stereo). The {len(among):,} are {among.source}; another known molecule may be nearer."
        ),
    }
    if not there:
        return record
    second = {"name": nearest, "formula": other.hill_formula, "similarity": similarity}
    itself = {"name": template.without_stereo.smiles, "formula": template.hill_formula, "similarity": 1.0}
    text = f"{told} The most similar other one of the sample is {nearest}, with a similarity of {similarity:.2f}."
    return record | itself | {"itself": True, "second": second, "text": f"{text} {differing}"}


def _most_similar(template: MoleculeTemplate, among: KnownSmiles) -> tuple[str, float]:
    """Return the most similar of a sample that is not the molecule itself, and its similarity."""
    formula, similarities = template.hill_formula, among.similarities(template.smiles)
    left = dict(zip(among.smiles, similarities, strict=True))
    while True:
        most = max(left.values())
        nearest = max(
            (one for one, similarity in left.items() if similarity == most),
            key=lambda one: MoleculeTemplate(one).hill_formula == formula,
        )
        if len(left) == 1 or not _same(template, MoleculeTemplate(nearest)):
            return nearest, round(most, 3)
        del left[nearest]


def _same(one: MoleculeTemplate, other: MoleculeTemplate) -> bool:
    """Return whether two molecules have the same connectivity, as tautomers may that InChI does not distinguish."""
    if one.without_stereo.smiles == other.without_stereo.smiles:
        return True
    try:
        return one.hill_formula == other.hill_formula and connectivity_block(one) == connectivity_block(other)
    except KnownMoleculesError:
        return False


def _differing(one: MoleculeTemplate, other: MoleculeTemplate) -> str:
    """Return how another molecule differs, in words."""
    if one.hill_formula == other.hill_formula:
        return "An isomer, of the same formula."
    return f"It is {_lowered(other.hill_formula)}, this molecule {_lowered(one.hill_formula)}."


def _lowered(formula: str) -> str:
    """Return a formula with its numbers as subscripts; a charge at its end stays."""
    return re.sub(r"(?<=[A-Za-z])\d+", lambda found: found[0].translate(LOWERED), formula)


def _whether_known(template: MoleculeTemplate, known: KnownMolecules) -> tuple[bool, str]:
    try:
        there = known.knows(template)
    except KnownMoleculesError:
        return False, "Whether the molecule itself is known cannot be told, since it has no InChI."
    among = f"of the {len(known):,} in {known.source}"
    if there:
        return True, f"The molecule is itself known: one {among}, by its connectivity."
    return False, f"The molecule itself is none {among}, by its connectivity."
