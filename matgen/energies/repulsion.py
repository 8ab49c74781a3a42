"""A soft repulsion between atoms that are too close."""

import torch
from ase.data import covalent_radii
from torch import Tensor

from matgen.batch.neighbors import neighbors
from matgen.batch.state import State
from matgen.energies.base import Energy


class ShortRangeRepulsion(Energy):
    """strength * Σ_pairs (1 - (r / d)²)² over pairs closer than d = share * (sum of their covalent radii).

    Value and slope vanish at d. As two atoms meet the energy tends to `strength` and its slope to zero, so that it
    stays bounded at noise levels where atoms coincide. The sum runs over all pairs of a cell, periodic
    images included. Radii: Cordero et al., Dalton Trans. 2008, 2832, as in the check of contacts.

    Attributes:
        strength: dimensionless energy of a pair of coinciding atoms.
        share: of the sum of covalent radii; 0.7 is the limit of the check of contacts.
    """

    name = "repulsion"
    radii: Tensor

    def __init__(self, strength: float = 100.0, share: float = 0.7) -> None:
        super().__init__()
        if not (strength >= 0 and share > 0):
            raise ValueError(f"expected strength >= 0 and share > 0, got {strength} and {share}")
        self.strength, self.share = strength, share
        self.register_buffer("radii", torch.from_numpy(covalent_radii.copy()), persistent=False)

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        """Energy (n_systems,), the same at every noise level sigma (n_systems,)."""
        radii = self.radii.to(state.positions)[state.atomic_numbers]
        edges = neighbors(state, 2 * self.share * float(radii.max()))
        touching = self.share * (radii[edges.centre] + radii[edges.neighbor])
        square = (edges.vectors(state) ** 2).sum(1) / touching**2
        # Each pair is listed from both of its ends, and once for all images of the representative.
        weight = 0.5 * state.orbits.multiplicity[state.orbits.site_idx[edges.centre]]
        pair = weight * (1 - square).clamp(min=0) ** 2
        zero = torch.zeros_like(sigma, dtype=state.positions.dtype)
        return self.strength * zero.index_add(0, state.system_idx[edges.centre], pair.to(zero))
