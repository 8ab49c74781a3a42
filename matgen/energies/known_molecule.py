"""A penalty for known molecules."""

from collections.abc import Callable

import torch
from torch import Tensor

from matgen.energies.base import TemplateEnergy
from matgen.templates.batch import TemplateBatch
from matgen.templates.molecule import MoleculeTemplate


class KnownGraph(TemplateEnergy):
    """One for a known molecule, regardless of stereo, and zero for any other.

    Args:
        knows: whether a molecule is known.
    """

    name = "novelty"

    def __init__(self, knows: Callable[[MoleculeTemplate], bool]) -> None:
        super().__init__()
        self.knows = knows

    def forward(self, templates: TemplateBatch) -> Tensor:
        """Energy (n_systems,); zero for crystals."""
        known = [bool(name) and self.knows(MoleculeTemplate(name)) for name in templates.smiles]
        return torch.tensor(known or [False] * templates.n_systems, dtype=torch.float32, device=templates.device)
