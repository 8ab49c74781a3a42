"""Properties of a crystal from its structure: the equivariant trunk, trained for nothing else.

Where the heads of the graph energy read a trunk that denoises and tells right from wrong, this one is trained on clean
structures for their properties alone, and several of them form an ensemble.

No average over atoms can count. Whether a primitive cell holds an odd number of electrons, so that a band stays half
filled, and whether common oxidation states cancel (`matgen.chemistry.charges.commonly_neutral`) are told beside the averages: on
MP-20 test they lower the error of gaps by 4 % (docs/properties.md).
"""

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from matgen.batch.neighbors import Edges
from matgen.batch.state import State
from matgen.chemistry.charges import commonly_neutral_formula
from matgen.chemistry.elements import descriptors, reduced
from matgen.nn.pooling import composition_statistics, mean_and_spread, summed
from matgen.nn.property_heads import PropertyHeads
from matgen.nn.trunk import Trunk, TrunkConfig
from matgen.runtime.config import check_least
from matgen.targets.distributions import Distribution
from matgen.templates.noise import CLEAN

TYPICAL_VOLUME = 15.0
"""Å³ per atom."""


@dataclass(frozen=True)
class StructurePropertiesConfig:
    """Sizes of the networks, and how many there are.

    Attributes:
        members: networks.
        trunk: of each.
        hidden: width between pooled sites and heads.
        dropout: there.
    """

    members: int = 1
    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    hidden: int = 192
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Check that there is a network.

        Raises:
            ConfigError: there is none.
        """
        check_least(self, 1, "members")


@dataclass(frozen=True)
class StructureInputs:
    """Crystals in their primitive cells, with what need not be found twice.

    Attributes:
        state: crystals.
        edges: within the cutoff of the trunk; found anew where left out.
        neutral: whether common oxidation states cancel (n_systems,); found anew where left out.
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
        """What the trunk says of each crystal (n_systems, width): it stands still where heads alone are fitted.

        Mean and spread over the atoms of scalars and of lengths of vectors and tensors, and the whole-crystal numbers
        that no average over atoms knows.
        """
        state = inputs.state
        h = self.trunk(state, state.cell.new_full((state.n_systems,), CLEAN), inputs.edges)
        lengths = [(h[:, part].square().mean(1) + 1e-4).sqrt() for part in (slice(1, 4), slice(4, 9))]
        x = h[:, 0] + self.site(torch.cat([h[:, 0], *lengths], dim=1))
        system, n_systems = state.site_system, state.n_systems
        weight = state.orbits.multiplicity.to(x)[:, None]
        elements = state.atomic_numbers[state.orbits.representatives]
        described = descriptors(x.device).to(x.dtype)[elements]
        neutral = commonly_neutral_systems(state) if inputs.neutral is None else inputs.neutral
        told = [
            mean_and_spread(x, weight, system, n_systems),
            composition_statistics(described, weight, system, n_systems),
            (state.volume / state.n_atoms / TYPICAL_VOLUME).log()[:, None],
            (summed(elements[:, None] * weight, system, n_systems) % 2),
            neutral.to(x)[:, None],
        ]
        return torch.cat(told, dim=1)

    def read(self, pooled: Tensor) -> dict[str, Distribution]:
        """Uncalibrated distributions, the auxiliary ones included, of what `pool` gives."""
        return self.heads(self.crystal(pooled))

    def calibrated(self, pooled: Tensor) -> dict[str, Distribution]:
        """Calibrated distributions of the properties, of what `pool` gives."""
        return self.heads.calibrated(self.crystal(pooled))

    def raw(self, inputs: StructureInputs) -> dict[str, Distribution]:
        """Uncalibrated distributions, the auxiliary ones included: what training needs."""
        return self.read(self.pool(inputs))

    def forward(self, state: State, sigma: Tensor | None = None) -> dict[str, Distribution]:  # noqa: ARG002
        """Calibrated distributions by property; the noise level, which other predictors read, changes nothing."""
        return self.calibrated(self.pool(StructureInputs(state)))


def commonly_neutral_systems(state: State) -> Tensor:
    """Whether common oxidation states cancel in each crystal (n_systems,), bool."""
    atoms = zip(state.system_idx.tolist(), state.atomic_numbers.tolist(), strict=True)
    counts = [Counter[int]() for _ in range(state.n_systems)]
    for system, z in atoms:
        counts[system][z] += 1
    found = [commonly_neutral_formula(reduced(count)) for count in counts]
    return torch.tensor(found, device=state.positions.device)
