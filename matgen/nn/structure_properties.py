"""Properties of a crystal from its structure: an ensemble of equivariant networks.

The trunk of the graph energy also serves denoising and contrast; the networks here are trained on clean structures and
for properties only.

Averages over atoms do not know their number. Two features of the whole cell are therefore added: whether a primitive
cell holds an odd number of electrons, so that a band is half filled, and whether common oxidation states cancel
(`matgen.chemistry.charges.commonly_neutral`). They lower the error of gaps on MP-20 test by 4 % (docs/properties.md).
"""

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from matgen.batch.neighbors import Edges
from matgen.batch.state import State
from matgen.chemistry.charges import commonly_neutral_formula
from matgen.chemistry.elements import descriptors, reduced
from matgen.energies.sharing import answer_of
from matgen.nn.ensemble import EnsembleConfig
from matgen.nn.pooling import composition_statistics, mean_and_spread, summed
from matgen.nn.property_heads import PropertyHeads
from matgen.nn.trunk import Trunk, TrunkConfig
from matgen.targets.distributions import Distribution
from matgen.templates.noise import CLEAN

TYPICAL_VOLUME = 15.0
"""Å³ per atom."""


@dataclass(frozen=True)
class StructurePropertiesConfig(EnsembleConfig):
    """Size of a member.

    Attributes:
        trunk: of each member.
        hidden: width between pooled sites and heads.
        dropout: between pooled sites and heads.
    """

    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    hidden: int = 192
    dropout: float = 0.1


@dataclass(frozen=True)
class StructureInputs:
    """Crystals in their primitive cells, with results that can be reused.

    Attributes:
        state: crystals.
        edges: within the cutoff of the trunk; computed if left out.
        neutral: whether common oxidation states cancel (n_systems,); computed if left out.
    """

    state: State
    edges: Edges | None = None
    neutral: Tensor | None = None


class StructureProperties(nn.Module):
    """Distributions of the properties of crystals."""

    Config = StructurePropertiesConfig

    def __init__(self, config: StructurePropertiesConfig) -> None:
        super().__init__()
        self.config = config
        channels, hidden = config.trunk.channels, config.hidden
        self.trunk = Trunk(config.trunk)
        self.site = nn.Sequential(nn.Linear(3 * channels, 2 * channels), nn.SiLU(), nn.Linear(2 * channels, channels))
        n_conditions = 4 * descriptors().shape[1] + 3
        self.crystal = nn.Sequential(
            nn.Linear(2 * channels + n_conditions, hidden), nn.SiLU(), nn.Dropout(config.dropout)
        )
        self.heads = PropertyHeads(hidden, hidden, config.dropout)

    def pool(self, inputs: StructureInputs) -> Tensor:
        """Return a vector per crystal (n_systems, width); it is fixed where only heads are fitted.

        It holds mean and spread over the atoms of scalars and of lengths of vectors and tensors, and features of the
        whole cell.
        """
        state = inputs.state
        h = self.trunk(state, answer_of(_no_noise, state), inputs.edges)
        lengths = [(h[:, part].square().mean(1) + 1e-4).sqrt() for part in (slice(1, 4), slice(4, 9))]
        x = h[:, 0] + self.site(torch.cat([h[:, 0], *lengths], dim=1))
        system, n_systems = state.site_system, state.n_systems
        weight = state.orbits.multiplicity.to(x)[:, None]
        elements = state.atomic_numbers[state.orbits.representatives]
        described = descriptors(x.device).to(x.dtype)[elements]
        neutral = answer_of(commonly_neutral_systems, state) if inputs.neutral is None else inputs.neutral
        columns = [
            mean_and_spread(x, weight, system, n_systems),
            composition_statistics(described, weight, system, n_systems),
            (state.volume / state.n_atoms / TYPICAL_VOLUME).log()[:, None],
            (summed(elements[:, None] * weight, system, n_systems) % 2),
            neutral.to(x)[:, None],
        ]
        return torch.cat(columns, dim=1)

    def read(self, pooled: Tensor) -> dict[str, Distribution]:
        """Return uncalibrated distributions, including the auxiliary ones, from the result of `pool`."""
        return self.heads(self.crystal(pooled))

    def calibrated(self, pooled: Tensor) -> dict[str, Distribution]:
        """Return calibrated distributions of the properties from the result of `pool`."""
        return self.heads.calibrated(self.crystal(pooled))

    def raw(self, inputs: StructureInputs) -> dict[str, Distribution]:
        """Return uncalibrated distributions, including the auxiliary ones, for training."""
        return self.read(self.pool(inputs))

    def forward(self, state: State, sigma: Tensor | None = None) -> dict[str, Distribution]:  # noqa: ARG002
        """Return calibrated distributions by property; `sigma`, which other predictors read, is ignored."""
        return self.calibrated(self.pool(StructureInputs(state)))


def _no_noise(state: State) -> Tensor:
    """Noise levels (n_systems,) of clean structures, Å."""
    return state.cell.new_full((state.n_systems,), CLEAN)


def commonly_neutral_systems(state: State) -> Tensor:
    """Return whether common oxidation states cancel in each crystal (n_systems,), bool."""
    atoms = zip(state.system_idx.tolist(), state.atomic_numbers.tolist(), strict=True)
    counts = [Counter[int]() for _ in range(state.n_systems)]
    for system, z in atoms:
        counts[system][z] += 1
    found = [commonly_neutral_formula(reduced(count)) for count in counts]
    return torch.tensor(found, device=state.positions.device)
