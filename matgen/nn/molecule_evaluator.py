"""An independent evaluator of molecules: properties from graph and geometry.

It is trained on clean geometries only, on fewer rows than the graph energy (`matgen.training.molecule_evaluator`), and
shares no weights with the models that a design uses.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from matgen.batch.state import State
from matgen.nn.ensemble import EnsembleConfig
from matgen.nn.molecule_heads import MoleculeHeads, SpatialReadout
from matgen.nn.trunk import Trunk, TrunkConfig
from matgen.targets.distributions import Distribution
from matgen.templates.noise import CLEAN


@dataclass(frozen=True)
class MoleculeEvaluatorConfig(EnsembleConfig):
    """Size of a member."""

    trunk: TrunkConfig = field(
        default_factory=lambda: TrunkConfig(graphs=True, cutoff=8.0, n_radial=24, neighbors=17.0)
    )
    hidden: int = 128
    dropout: float = 0.0


class MoleculeEvaluator(nn.Module):
    """Distributions of the properties of states with molecular graphs."""

    Config = MoleculeEvaluatorConfig

    def __init__(self, config: MoleculeEvaluatorConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config.trunk)
        self.readout = SpatialReadout(config.trunk.channels, config.hidden)
        self.heads = MoleculeHeads(config.trunk.channels, config.hidden, config.dropout)

    def embed(self, state: State) -> Tensor:
        """Return the input of the heads (n_systems, width of `Layout`)."""
        sigma = torch.full((state.n_systems,), CLEAN, dtype=state.positions.dtype, device=state.positions.device)
        return self.readout(self.trunk(state, sigma), state)

    def forward(self, state: State, sigma: Tensor | None = None) -> dict[str, Distribution]:  # noqa: ARG002
        """Return calibrated distributions by property; `sigma`, which other predictors read, is ignored."""
        return self.heads.calibrated(self.embed(state))

    def raw(self, state: State) -> dict[str, Distribution]:
        """Return uncalibrated distributions, for training."""
        return self.heads(self.embed(state))
