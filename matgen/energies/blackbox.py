"""Any function of a structure as an energy."""

from collections.abc import Callable
from typing import Any, SupportsFloat

import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.energies.base import Energy
from matgen.structures.candidate import Material
from matgen.structures.conversion import structures


class BlackBox(Energy):
    """The value of a function of each structure: dimensionless, low for preferred structures.

    It has no slopes. Its values enter the acceptance of Metropolis steps, which is exact, while only other terms drive
    the moves: some twenty calls for each geometry. `ForRanking(BlackBox(...))` avoids that for an expensive function.
    Return a large number, not infinity, for structures to exclude.
    """

    use = "values"

    def __init__(self, function: Callable[[Any], SupportsFloat], *, name: str) -> None:
        """Take a function of one structure, a primitive cell or a molecule, and a name of the term."""
        super().__init__()
        self.function, self.name = function, name

    def forward(self, state: State, sigma: Tensor) -> Tensor:  # noqa: ARG002 (the noise level changes nothing)
        """Values (n_systems,)."""
        values = [self._value(material) for material in structures(state)]
        return torch.tensor(values, dtype=torch.float64).to(state.positions)

    def _value(self, material: Material) -> float:
        value = self.function(material)
        if not isinstance(value, SupportsFloat):
            raise TypeError(f"expected a number from the function of `{self.name}`, got {value!r}; does it return one?")
        return float(value)
