"""Pushes along edges: what lets a network state how far apart two atoms belong, and put them there.

    v_i = Σ_j g_ij (d_ij - m_ij) r̂_ij

g and m are read from both ends, from their distance, their relation and the noise level. A stiff bond of length m is
denoised by such a push with a constant g at any small σ, so that no part of the network has to resolve distances as
finely as σ (compare the coordinate updates of EGNN, Satorras et al. 2021, where the whole weight is read from d).
"""

from torch import Tensor, nn

from matgen.nn.neighborhood import Neighborhood

WIDTH = 64
"""Hidden numbers of an edge."""

TYPICAL = 1.5
"""Length that an untrained push strives for, Å."""


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
        """Displacements (n_sites, 3), Å, from scalars (n_sites, channels); none before training."""
        told = self.edge(edges.radial) + edges.both_ends(self.ends(scalars))
        gain, length = self.out(nn.functional.silu(told)).unbind(1)
        along = gain * (edges.distance - TYPICAL - length) * edges.envelope * self.scale
        found = scalars.new_zeros(len(scalars), 3)
        return found.index_add(0, edges.centre, along[:, None] * edges.directions)
