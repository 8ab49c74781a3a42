"""An independent evaluator: properties of structures from fixed descriptors of sites and a pooled network.

It shares no weights, inputs or architecture with the models that a design uses: no templates, no Wyckoff positions, no
message passing. A site is described by its neighbourhood (smooth radial densities of the neighbours' element
descriptors, bond strengths, dipole and quadrupole moments of the shells), and a crystal by mean and spread over its
sites and by statistics of its composition. All are averages over atoms of the infinite crystal, and so invariant under
rotation, translation, and the choice of the cell.
"""

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from matgen.batch.neighbors import neighbors
from matgen.batch.state import State
from matgen.chemistry.elements import descriptors
from matgen.nn.ensemble import EnsembleConfig
from matgen.nn.pooling import composition_statistics, mean_and_spread, summed
from matgen.nn.property_heads import PropertyHeads
from matgen.targets.distributions import Distribution

CUTOFF = 7.0  # Å
N_RADIAL, FIRST_CENTRE = 16, 0.9  # Å
SHELL_CENTRES, SHELL_WIDTH = (1.9, 2.6, 3.3, 4.2), 0.5  # Å
BOND_SOFTNESS = 0.37  # Å, the b of bond-valence sums
NEIGHBOUR_COLUMNS = (1, 3, 4, 5, 7, 8, 9)  # group, electronegativity, radius, ionisation energy, s, p, d
SHELL_COLUMNS = (3, 4)  # electronegativity, radius
RADIUS_MEAN, RADIUS_STD = 1.55, 0.35  # Å, of the standardised radius column, roughly


@dataclass(frozen=True)
class EvaluatorInputs:
    """Inputs of the network for a batch.

    Attributes:
        local: descriptors of the neighbourhood of each site (n_sites, n_local).
        element: atomic number of each site (n_sites,).
        multiplicity: atoms of each site (n_sites,).
        site_system: system of each site, ascending (n_sites,).
        volume: Å³ per atom (n_systems,).
    """

    local: Tensor
    element: Tensor
    multiplicity: Tensor
    site_system: Tensor
    volume: Tensor

    @classmethod
    def of(cls, state: State) -> Self:
        """Return the inputs of a state; differentiable in positions and cell."""
        first = state.orbits.representatives
        return cls(
            neighborhood(state),
            state.atomic_numbers[first],
            state.orbits.multiplicity,
            state.site_system,
            state.volume / state.n_atoms,
        )

    def detach(self) -> Self:
        """Return the same without gradients."""
        return replace(self, local=self.local.detach(), volume=self.volume.detach())


def neighborhood(state: State) -> Tensor:
    """Return descriptors (n_sites, n_local) of the neighbourhood of each site, invariant under rotation."""
    edges = neighbors(state, CUTOFF)
    table = descriptors(state.positions.device).to(state.positions.dtype)
    site = state.orbits.site_idx[edges.centre]
    n_sites = len(state.orbits.representatives)
    vectors = edges.vectors(state)
    distance = (vectors.square().sum(-1) + 1e-8).sqrt()
    envelope = 0.5 * (1 + torch.cos(math.pi * (distance / CUTOFF).clamp_max(1.0)))
    neighbour = table[state.atomic_numbers[edges.neighbor]]
    ones = torch.ones_like(neighbour[:, :1])

    weights = torch.cat([ones, neighbour[:, list(NEIGHBOUR_COLUMNS)]], dim=1)
    spacing = (CUTOFF - FIRST_CENTRE) / N_RADIAL
    centres = FIRST_CENTRE + spacing * torch.arange(N_RADIAL, device=distance.device)
    basis = torch.exp(-0.5 * ((distance[:, None] - centres) / spacing).square()) * envelope[:, None]
    radial = summed(basis[:, :, None] * weights[:, None, :], site, n_sites)

    radius = RADIUS_MEAN + RADIUS_STD * table[:, 4]
    touching = radius[state.atomic_numbers[edges.centre]] + radius[state.atomic_numbers[edges.neighbor]]
    strength = torch.exp(((touching - distance) / BOND_SOFTNESS).clamp(-20.0, 3.0)) * envelope
    bonds = summed(strength[:, None] * weights, site, n_sites)

    middles = torch.tensor(SHELL_CENTRES, device=distance.device)
    shells = torch.exp(-0.5 * ((distance[:, None] - middles) / SHELL_WIDTH).square()) * envelope[:, None]
    shell_weights = torch.cat([ones, neighbour[:, list(SHELL_COLUMNS)]], dim=1)
    amount = shells[:, :, None, None] * shell_weights[:, None, :, None]
    unit = vectors / distance[:, None]
    dipole = _length(summed(amount * unit[:, None, None, :], site, n_sites))
    quadrupole = _length(summed(amount * _second_moment(unit)[:, None, None, :], site, n_sites))
    return torch.cat([part.flatten(1) for part in (radial, bonds, dipole, quadrupole)], dim=1)


def _length(x: Tensor) -> Tensor:
    # Softened at zero, the value of symmetric sites, where the norm has no derivative.
    return (x.square().sum(-1) + 0.01).sqrt()


def _second_moment(unit: Tensor) -> Tensor:
    """Return real spherical harmonics of degree 2 (n, 5), up to a factor."""
    x, y, z = unit.unbind(-1)
    root = math.sqrt(3)
    return torch.stack([root * x * y, root * y * z, root * x * z, (3 * z * z - 1) / 2, root / 2 * (x * x - y * y)], -1)


N_LOCAL = (N_RADIAL + 1) * (1 + len(NEIGHBOUR_COLUMNS)) + 2 * len(SHELL_CENTRES) * (1 + len(SHELL_COLUMNS))


@dataclass(frozen=True)
class EvaluatorConfig(EnsembleConfig):
    """Size of a member."""

    width: int = 192
    layers: int = 2
    hidden: int = 256
    dropout: float = 0.1


class _Residual(nn.Module):
    """A normalised feed-forward layer beside the identity."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, width)."""
        return x + self.inner(x)


class Evaluator(nn.Module):
    """Distributions of the properties of structures, for the evaluation of candidates only."""

    Config = EvaluatorConfig
    center: Tensor
    spread: Tensor

    def __init__(self, config: EvaluatorConfig) -> None:
        super().__init__()
        self.config = config
        n_descriptors = descriptors().shape[1]
        self.register_buffer("center", torch.zeros(N_LOCAL))
        self.register_buffer("spread", torch.ones(N_LOCAL))
        self.local = nn.Linear(N_LOCAL, config.width)
        self.element = nn.Embedding(len(descriptors()), config.width)
        self.own = nn.Linear(n_descriptors, config.width)
        self.sites = nn.Sequential(*(_Residual(config.width, config.dropout) for _ in range(config.layers)))
        self.crystal = nn.Sequential(
            nn.Linear(2 * config.width + 4 * n_descriptors + 1, config.hidden), _Residual(config.hidden, config.dropout)
        )
        self.heads = PropertyHeads(config.hidden, config.hidden // 2, config.dropout)

    def standardize(self, inputs: EvaluatorInputs) -> None:
        """Set mean and standard deviation of the descriptors to those of these crystals."""
        self.center.copy_(inputs.local.mean(0))
        self.spread.copy_(inputs.local.std(0).clamp_min(0.01))

    def embed(self, inputs: EvaluatorInputs) -> Tensor:
        """Return a vector per crystal (n_systems, hidden)."""
        n_systems, system = len(inputs.volume), inputs.site_system
        table = descriptors(inputs.local.device).to(inputs.local.dtype)
        x = ((inputs.local - self.center) / self.spread).clamp(-6.0, 6.0)
        x = self.local(x) + self.element(inputs.element) + self.own(table[inputs.element])
        x = self.sites(x)
        weight = inputs.multiplicity.to(x)[:, None]
        pooled = mean_and_spread(x, weight, system, n_systems, softness=1e-4)
        crystal = [pooled, composition_statistics(table[inputs.element], weight, system, n_systems)]
        density = (inputs.volume / 15.0).log()[:, None]
        return self.crystal(torch.cat([*crystal, density], dim=-1))

    def raw(self, inputs: EvaluatorInputs) -> dict[str, Distribution]:
        """Return uncalibrated distributions, including the auxiliary ones, for training."""
        return self.heads(self.embed(inputs))

    def forward(self, state: State, sigma: Tensor | None = None) -> dict[str, Distribution]:  # noqa: ARG002
        """Return calibrated distributions by property; `sigma`, which other predictors read, is ignored."""
        return self.heads.calibrated(self.embed(EvaluatorInputs.of(state)))
