"""Hands that a graph leaves open."""

from functools import lru_cache

import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers, StereoEnumerationOptions

from matgen.templates.molecule import MoleculeTemplate

MOST_ISOMERS = 64
TRIALS = 5
"""Embeddings that must all fail before an isomer counts as impossible, such as a trans bridge of a small ring."""


def with_random_stereo(template: MoleculeTemplate, generator: torch.Generator) -> MoleculeTemplate:
    """The template with every hand that it leaves open drawn at random among those that fit; what it asks for stays."""
    isomers = _isomers(template.smiles)
    for i in torch.randperm(len(isomers), generator=generator).tolist():
        if fits(isomers[i]):
            return isomers[i]
    return isomers[0]


def open_isomers(template: MoleculeTemplate) -> list[MoleculeTemplate]:
    """All stereoisomers that a template leaves open and that fit into space, at most 64, by name."""
    isomers = _isomers(template.smiles)
    return [one for one in isomers if fits(one)] or [template]


@lru_cache(maxsize=20_000)
def _isomers(smiles: str) -> tuple[MoleculeTemplate, ...]:
    """All stereoisomers on paper, by name; the molecule itself where there is nothing open."""
    options = StereoEnumerationOptions(onlyUnassigned=True, unique=True, maxIsomers=MOST_ISOMERS)
    whole = MoleculeTemplate(smiles).molecule  # its hydrogens are atoms, so that C=NH has two sides
    found = {MoleculeTemplate.of(Chem.Mol(one)) for one in EnumerateStereoisomers(whole, options)}
    return tuple(sorted(found, key=lambda one: one.smiles)) or (MoleculeTemplate(smiles),)


@lru_cache(maxsize=20_000)
def _fits(smiles: str) -> bool:
    return rdDistGeom.EmbedMolecule(MoleculeTemplate(smiles).molecule, maxAttempts=TRIALS, randomSeed=0) == 0


def fits(template: MoleculeTemplate) -> bool:
    """Whether distance geometry finds any place for the atoms with the hands that are asked for."""
    return _fits(template.smiles)
