"""Displacements of atoms along their edges, towards predicted distances.

    v_i = Σ_j g_ij (d_ij - m_ij) r̂_ij

g and m depend on both ends, their distance, their relation and the noise level. With a constant g this denoises a stiff
bond of length m at any small σ, so that the network need not resolve distances as finely as σ (compare the coordinate
updates of EGNN, Satorras et al. 2021, where the whole weight depends on d).
"""

from torch import Tensor, nn

from matgen.nn.neighborhood import Neighborhood

WIDTH = 64
"""Hidden features of an edge."""

TYPICAL = 1.5
"""Distance m of an untrained network, Å."""


class PairDisplacement(nn.Module):
    """Displacements of sites along their edges."""

    def __init__(self, channels: int, n_radial: int, neighbors: float) -> None:
        super().__init__()
        self.edge = nn.Linear(n_radial, WIDTH)
        self.ends = nn.Linear(channels, 2 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, 2)
        self.scale = neighbors**-0.5
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, scalars: Tensor, edges: Neighborhood) -> Tensor:
        """Return displacements (n_sites, 3), Å, from scalars (n_sites, channels); zero before training."""
        hidden = self.edge(edges.radial) + edges.both_ends(self.ends(scalars))
        gain, length = self.out(nn.functional.silu(hidden)).unbind(1)
        along = gain * (edges.distance - TYPICAL - length) * edges.envelope * self.scale
        found = scalars.new_zeros(len(scalars), 3)
        return found.index_add(0, edges.centre, along[:, None] * edges.directions)
