"""Stereoisomers of a graph with unspecified stereo."""

from functools import lru_cache

import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers, StereoEnumerationOptions

from matgen.templates.molecule import MoleculeTemplate

MOST_ISOMERS = 64
TRIALS = 5
"""Failed embeddings after which an isomer counts as impossible, such as a trans bridge of a small ring."""


def with_random_stereo(template: MoleculeTemplate, generator: torch.Generator) -> MoleculeTemplate:
    """Return the template with a random choice of its open stereo, among the isomers that fit into space."""
    isomers = _isomers(template.smiles)
    for i in torch.randperm(len(isomers), generator=generator).tolist():
        if fits(isomers[i]):
            return isomers[i]
    return isomers[0]


def open_isomers(template: MoleculeTemplate) -> list[MoleculeTemplate]:
    """Return the stereoisomers that a template leaves open and that fit into space, at most 64, sorted by SMILES."""
    isomers = _isomers(template.smiles)
    return [one for one in isomers if fits(one)] or [template]


@lru_cache(maxsize=20_000)
def _isomers(smiles: str) -> tuple[MoleculeTemplate, ...]:
    """Return all formal stereoisomers, sorted by SMILES; the molecule itself if none is open."""
    options = StereoEnumerationOptions(onlyUnassigned=True, unique=True, maxIsomers=MOST_ISOMERS)
    whole = MoleculeTemplate(smiles).molecule  # explicit hydrogens, so that C=NH has two isomers
    found = {MoleculeTemplate.of(Chem.Mol(one)) for one in EnumerateStereoisomers(whole, options)}
    return tuple(sorted(found, key=lambda one: one.smiles)) or (MoleculeTemplate(smiles),)


@lru_cache(maxsize=20_000)
def _fits(smiles: str) -> bool:
    return rdDistGeom.EmbedMolecule(MoleculeTemplate(smiles).molecule, maxAttempts=TRIALS, randomSeed=0) == 0


def fits(template: MoleculeTemplate) -> bool:
    """Return whether distance geometry finds positions with the specified stereo."""
    return _fits(template.smiles)
