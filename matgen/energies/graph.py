"""The three uses of the learned graph energy: prior, score of the diffusion, predictor of properties."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from matgen.batch.state import State
from matgen.energies.base import Energy
from matgen.energies.sharing import answer_of
from matgen.nn.graph_energy import GraphEnergy, energy_per_atom, predicted_step
from matgen.targets.distributions import Distribution
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand


class GraphNetworkEnergy(Energy):
    """E(x, σ) of the graph network: extensive, N times its energy per atom."""

    name = "graph"

    def __init__(self, model: GraphEnergy) -> None:
        super().__init__()
        self.model = model

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        """Energy (n_systems,) at the noise levels sigma (n_systems,), Å."""
        per_atom = energy_per_atom(answer_of(self.model, state, sigma), state, sigma)
        return per_atom * state.n_atoms.to(per_atom)


class GraphPredictor(nn.Module):
    """Calibrated distributions of properties from the heads of the graph network."""

    def __init__(self, model: GraphEnergy) -> None:
        super().__init__()
        self.model = model

    def forward(self, state: State, sigma: Tensor) -> Mapping[str, Distribution]:
        """Distributions by property of states at the noise levels sigma (n_systems,), Å."""
        return self.model.heads.calibrated(answer_of(self.model, state, sigma).embedding)


def denoiser_score(model: GraphEnergy, templates: TemplateBatch) -> Callable[[Geometry, Tensor], Geometry]:
    """Return the score of the denoising head: (D(x) - x) / σ² in scaled coordinates, 1/Å.

    Args:
        model: the network, in evaluation mode.
        templates: of the systems that the score is evaluated for.

    Returns:
        A function of a geometry and its σ (n_systems,), Å.
    """

    @torch.no_grad()
    def score(geometry: Geometry, sigma: Tensor) -> Geometry:
        step = predicted_step(model(expand(templates, geometry), sigma), templates, geometry)
        square = sigma**2
        return Geometry(step.lattice / square[:, None], step.coords / square[templates.site_system, None])

    return score
