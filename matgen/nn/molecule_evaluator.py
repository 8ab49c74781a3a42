"""The second opinion on molecules: properties from graph and geometry, by a network that guides nothing.

Trained apart from the graph energy, on clean geometries only and on other rows (see `matgen.training.run`), it shares
no weights with what guides.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from matgen.batch.state import State
from matgen.nn.molecule_heads import MoleculeHeads, SpatialReadout
from matgen.nn.trunk import Trunk, TrunkConfig
from matgen.runtime.config import check_least
from matgen.targets.distributions import Distribution
from matgen.templates.noise import CLEAN


@dataclass(frozen=True)
class MoleculeEvaluatorConfig:
    """Sizes of the networks, and how many there are."""

    members: int = 1
    trunk: TrunkConfig = field(
        default_factory=lambda: TrunkConfig(graphs=True, cutoff=8.0, n_radial=24, neighbors=17.0)
    )
    hidden: int = 128
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check that there is a network.

        Raises:
            ConfigError: there is none.
        """
        check_least(self, 1, "members")


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
        """The vector that the heads read (n_systems, width of `Layout`)."""
        sigma = torch.full((state.n_systems,), CLEAN, dtype=state.positions.dtype, device=state.positions.device)
        return self.readout(self.trunk(state, sigma), state)

    def forward(self, state: State, sigma: Tensor | None = None) -> dict[str, Distribution]:  # noqa: ARG002
        """Calibrated distributions by property; a noise level is taken and not needed, as other predictors do."""
        return self.heads.calibrated(self.embed(state))

    def raw(self, state: State) -> dict[str, Distribution]:
        """Uncalibrated distributions: what training needs."""
        return self.heads(self.embed(state))
