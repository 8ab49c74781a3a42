"""A penalty for known formulas."""

from collections.abc import Container
from functools import lru_cache

import torch
from pymatgen.core.composition import Composition
from torch import Tensor

from matgen.energies.base import TemplateEnergy
from matgen.energies.sharing import single_templates
from matgen.templates.batch import TemplateBatch


class Novelty(TemplateEnergy):
    """One for a known formula, zero for any other.

    A prior learned from known crystals favours them, and a search for low energies finds them again. This term makes
    them e times rarer for each unit of its weight. The user decides which formulas are known; whether a candidate is a
    known crystal is later determined by its structure.

    Attributes:
        known: reduced formulas, as pymatgen writes them.
    """

    name = "novelty"

    def __init__(self, known: Container[str]) -> None:
        super().__init__()
        self.known = known

    def forward(self, templates: TemplateBatch) -> Tensor:
        """Energies (n_systems,)."""
        formulas = (reduced_formula(tuple(t.composition.items())) for t in single_templates(templates))
        return torch.tensor([float(formula in self.known) for formula in formulas], device=templates.device)


@lru_cache(maxsize=100_000)
def reduced_formula(counts: tuple[tuple[int, int], ...]) -> str:
    """Return the reduced formula of atoms by atomic number, as pymatgen writes it."""
    return Composition(dict(counts)).reduced_formula
