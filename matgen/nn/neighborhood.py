"""The neighbourhood of each site of a batch."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Neighborhood:
    """The edges of a batch, as the layers read them.

    Edges are laid out in rectangles (n_sites, widest neighbourhood), so that sums over neighbours are matrix products.

    Attributes:
        centre: site at the near end of each edge (n_edges,).
        neighbor_site: site whose image is at the far end of each edge (n_edges,).
        slot: place of each edge in the rectangle, row by row (n_edges,).
        shape: (n_sites, widest neighbourhood).
        directions: from the centre, of length one except where two atoms nearly meet (n_edges, 3).
        distance: (n_edges,), Å.
        harmonics: of degree 0, 1, 2 in the rectangle, zero where there is no edge (n_sites, widest, 1 | 3 | 5).
        radial: basis of the distance, of the noise level and of the relation (n_edges, n_radial + n_conditions).
        envelope: (n_edges,).
        noise: noise features of each site (n_sites, n_noise).
    """

    centre: Tensor
    neighbor_site: Tensor
    slot: Tensor
    shape: tuple[int, int]
    directions: Tensor
    distance: Tensor
    harmonics: tuple[Tensor, Tensor, Tensor]
    radial: Tensor
    envelope: Tensor
    noise: Tensor

    def gather(self, values: Tensor) -> Tensor:
        """Return edge values (n_edges, k) in the rectangle (n_sites, widest, k)."""
        return rectangle(values, self.slot, self.shape)

    def both_ends(self, values: Tensor) -> Tensor:
        """Return the sum of the values of both ends of each edge (n_edges, k).

        Args:
            values: of each site as a near end and as a far end, one after the other (n_sites, 2 k).
        """
        near, far = values.chunk(2, dim=1)
        return near.index_select(0, self.centre) + far.index_select(0, self.neighbor_site)


def rectangle(values: Tensor, slot: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return rows (n_edges, k) at their slots in (*shape, k), zero elsewhere."""
    flat = values.new_zeros(shape[0] * shape[1], values.shape[1])
    return flat.index_copy_(0, slot, values).view(*shape, values.shape[1])
