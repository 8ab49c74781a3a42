"""One energy of a batch of crystals and molecules."""

from collections.abc import Callable

import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.energies.base import Energy

StateEnergy = Callable[[State, Tensor], Tensor]


class ByKind(Energy):
    """Evaluates each system by the energy of its kind.

    Args:
        crystals: energy of systems with a lattice.
        molecules: energy of systems without.
        name: of the term.
    """

    def __init__(self, crystals: StateEnergy, molecules: StateEnergy, name: str = "by_kind") -> None:
        super().__init__()
        self.name, self.crystals, self.molecules = name, crystals, molecules

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        """Energy (n_systems,) at the noise levels sigma (n_systems,), Å."""
        value = torch.zeros_like(sigma, dtype=state.positions.dtype)
        periodic = state.pbc.any(1)
        for energy, chosen in ((self.crystals, periodic), (self.molecules, ~periodic)):
            rows = chosen.nonzero().ravel()
            if len(rows):
                value = value.index_add(0, rows, energy(state.select(rows), sigma[rows]).to(value))
        return value
