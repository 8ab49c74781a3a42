"""Any function of a molecular graph as an energy: RDKit descriptors, patterns, scores of other packages."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from matgen.energies.base import TemplateEnergy
from matgen.templates.batch import TemplateBatch
from matgen.templates.late_rdkit import Chem
from matgen.templates.molecule import parsed, parsed_pattern

KEPT = 50_000
"""Size of the cache of values: chains return to the same molecules."""

SURE = 12.0
"""Energy of a pattern that is absent: odds of one to 160,000."""


class GraphFunction(TemplateEnergy):
    """The value of a function of each molecule, low for preferred ones; zero for crystals.

        GraphFunction(lambda mol: abs(Crippen.MolLogP(mol) - 2.0), name="logp")

    Args:
        function: of an RDKit molecule without hydrogens, which it must not change.
        name: of the term.
    """

    def __init__(self, function: Callable[[Chem.Mol], float], name: str) -> None:
        super().__init__()
        self.name = name
        self._function = function
        self._value = lru_cache(maxsize=KEPT)(self._calculated)

    def forward(self, templates: TemplateBatch) -> Tensor:
        """Energy (n_systems,)."""
        names = templates.smiles or ("",) * templates.n_systems
        return torch.tensor([self._value(name) if name else 0.0 for name in names], device=templates.device)

    def _calculated(self, smiles: str) -> float:
        return float(self._function(Chem.RemoveAllHs(parsed(smiles))))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_value"}  # a cache cannot be sent

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._value = lru_cache(maxsize=KEPT)(self._calculated)


def holds(smarts: str, name: str = "") -> GraphFunction:
    """Return an energy that is 0 where a molecule has a pattern, else `SURE`; a hard rule is `--smarts`.

    Raises:
        MoleculeError: the pattern is no SMARTS.
    """
    pattern = parsed_pattern(smarts)
    return GraphFunction(lambda mol: 0.0 if mol.HasSubstructMatch(pattern) else SURE, name or f"holds {smarts}")
