"""Hands that a graph leaves open."""

import torch
from rdkit import Chem
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers, StereoEnumerationOptions

from matgen.templates.molecule import MoleculeTemplate, parsed

MOST_ISOMERS = 64


def with_random_hands(template: MoleculeTemplate, generator: torch.Generator) -> MoleculeTemplate:
    """The template with every hand that it leaves open drawn at random among those that fit; what it asks for stays."""
    isomers = open_isomers(template)
    return isomers[int(torch.randint(len(isomers), (1,), generator=generator))]


def open_isomers(template: MoleculeTemplate) -> list[MoleculeTemplate]:
    """All stereoisomers that a template leaves open, at most 64, by name; itself where there is nothing open."""
    options = StereoEnumerationOptions(onlyUnassigned=True, unique=True, maxIsomers=MOST_ISOMERS)
    found = {MoleculeTemplate.of(Chem.Mol(one)) for one in EnumerateStereoisomers(parsed(template.smiles), options)}
    return sorted(found, key=lambda one: one.smiles) or [template]
