"""An energy that is too dear to walk on, kept for choosing and ranking."""

from torch import Tensor

from matgen.batch.state import State
from matgen.energies.base import Energy, Sum


class ForRanking(Energy):
    """Another energy that the sampler asks only where it chooses among geometries and ranks proposals.

    That is a few evaluations per proposal, where Langevin steps and diffusion would take dozens.
    """

    use = "ranking"

    def __init__(self, energy: Energy) -> None:
        super().__init__()
        if isinstance(energy, Sum):
            raise TypeError(
                f"expected one energy, got the sum of {list(energy.terms())}; write 2.0 * ForRanking(energy)"
            )
        if not isinstance(energy, Energy):
            raise TypeError(
                f"expected an energy of states, got {energy!r}; a function needs BlackBox(function, name=...)"
            )
        self.name, self.energy = energy.name, energy

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        """Energies (n_systems,) of the other one."""
        return self.energy(state, sigma)
