"""An energy that is too expensive for sampling, used for selection and ranking only."""

from torch import Tensor

from matgen.batch.state import State
from matgen.energies.base import Energy, Sum


class ForRanking(Energy):
    """Another energy, evaluated only where geometries are selected and proposals ranked.

    That is a few evaluations per proposal, where Langevin steps and diffusion take dozens.
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
        """Energies (n_systems,) of the other energy."""
        return self.energy(state, sigma)
