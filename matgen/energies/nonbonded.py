"""A soft repulsion between atoms of a molecule that its graph does not bond."""

import torch
from torch import Tensor

from matgen.batch.graphs import TWO_APART
from matgen.batch.state import State
from matgen.energies.base import Energy


class Nonbonded(Energy):
    """share/σ² * Σ_pairs ½ (least - r)² over pairs that are not bonded and nearer than `least`.

    A full denoising step (see `matgen.samplers.diffusion.settled`) moves each of two such atoms by `share` of the
    missing length. A denoiser alone leaves the hydrogens of a methyl group on top of each other: under noise their
    assignment is lost, and their mean lies on the axis. The repulsion separates them, and the denoiser then corrects
    their positions.

    Attributes:
        least: least distance, Å; of 18,691 molecules of QM9, every seventh, one has nonbonded atoms nearer than this,
            and the others have none within 1.6 Å.
        share: of the missing length that one step corrects.
    """

    name = "nonbonded"

    def __init__(self, least: float = 1.5, share: float = 0.5) -> None:
        super().__init__()
        if not (least > 0 and 0 < share <= 1):
            raise ValueError(f"expected least > 0 and 0 < share <= 1, got {least} and {share}")
        self.least, self.share = least, share

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        """Energy (n_systems,) at noise levels sigma (n_systems,), Å; zero without graphs."""
        zero = torch.zeros_like(sigma, dtype=state.positions.dtype)
        if state.graphs is None:
            return zero
        first, second, relation = state.graphs.edges(state.n_atoms)
        apart = relation >= TWO_APART
        vectors = state.positions[second[apart]] - state.positions[first[apart]]
        missing = (self.least - ((vectors**2).sum(1) + 1e-12).sqrt()).clamp(min=0)
        # Each pair is listed from both of its ends.
        total = zero.index_add(0, state.system_idx[first[apart]], 0.25 * missing**2)
        return self.share * total / sigma**2
