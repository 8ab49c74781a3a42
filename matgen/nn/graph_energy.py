"""The graph energy: one network, a displacement and a scalar.

    E(x, σ) = Σ_i [ ½ ‖v_i‖² / σ² + ½ ‖s‖² / σ² + h_i ]

v_i is the displacement (Å) that denoises atom i, s the strain (Å, scaled as `matgen.templates.noise` scales lattice
parameters) that denoises the cell, both trained by denoising score matching; ½‖·‖²/σ² is the energy of a denoising
autoencoder, whose gradient is minus the score where the denoiser projects onto the data. h_i is a scalar trained by
contrast, which sets the levels that denoising does not determine. For molecules with graphs, v_i includes the fraction
σ²/(σ² + s²) of the way to the centre, which denoises a Gaussian of the size s of a molecule, and the network learns the
rest (c_skip of Karras et al. 2022). The sum runs over all atoms, so E is extensive, and E/N does not depend on the
choice of the cell.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from matgen.batch.state import State
from matgen.nn.irreps import symmetric_matrix
from matgen.nn.molecule_heads import MoleculeHeads, SpatialReadout
from matgen.nn.pooling import averaged, summed
from matgen.nn.property_heads import PropertyHeads
from matgen.nn.trunk import Trunk, TrunkConfig
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import unit_directions
from matgen.templates.lattice import basis

SIGMA_SITE = 1.5  # Å; beyond it a denoising displacement stops growing with σ; the size of a molecule along an axis
SIGMA_LATTICE = 3.0  # likewise for scaled lattice parameters


@dataclass(frozen=True)
class GraphEnergyConfig:
    """Size of the network."""

    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    hidden: int = 96
    dropout: float = 0.0


@dataclass(frozen=True)
class GraphOutput:
    """Output of the network for a batch.

    Attributes:
        displacement: denoising displacement of each representative (n_sites, 3), Å.
        strain: scaled denoising displacement of the lattice parameters (n_systems, 6), Å; zero without a
            lattice.
        site_energy: h of each representative (n_sites,).
        embedding: input of the property heads: mean and spread of the scalar features over atoms
            (n_systems, 2 channels), or for molecules the vector of `matgen.nn.molecule_heads`.
    """

    displacement: Tensor
    strain: Tensor
    site_energy: Tensor
    embedding: Tensor


def output_scale(sigma: Tensor, saturation: float) -> Tensor:
    """Return σ s / √(σ² + s²), the size of a denoising displacement (Karras et al. 2022, c_out)."""
    return sigma * saturation / (sigma**2 + saturation**2).sqrt()


class GraphEnergy(nn.Module):
    """The graph energy: trunk and heads."""

    Config = GraphEnergyConfig

    def __init__(self, config: GraphEnergyConfig = GraphEnergyConfig()) -> None:
        super().__init__()
        self.config = config
        channels, hidden = config.trunk.channels, config.hidden
        self.trunk = Trunk(config.trunk)
        self.gates = nn.Sequential(nn.Linear(channels, hidden), nn.SiLU(), nn.Linear(hidden, 2 * channels + 1))
        self.site_energy = nn.Sequential(nn.Linear(channels, hidden), nn.SiLU(), nn.Linear(hidden, 1))
        if config.trunk.graphs:
            self.readout = SpatialReadout(channels, hidden)
            self.heads: MoleculeHeads | PropertyHeads = MoleculeHeads(channels, hidden, config.dropout)
        else:
            self.heads = PropertyHeads(2 * channels, hidden, config.dropout)

    def forward(self, state: State, sigma: Tensor) -> GraphOutput:
        """Return the output for a state at noise levels sigma (n_systems,), Å."""
        h, shift = self.trunk.moved(state, sigma)
        scalars = h[:, 0]
        channels = scalars.shape[1]
        gates = self.gates(scalars)
        vector = torch.einsum("nc,nmc->nm", gates[:, :channels], h[:, 1:4]) / channels**0.5
        tensor = torch.einsum("nc,nmc->nm", gates[:, channels:-1], h[:, 4:9]) / channels**0.5
        matrix = symmetric_matrix(tensor) + gates[:, -1, None, None] * torch.eye(3, device=h.device, dtype=h.dtype)
        strain = over_atoms(matrix, state)
        displacement = vector * output_scale(sigma, SIGMA_SITE)[state.site_system, None] + shift
        return GraphOutput(
            displacement=displacement - _towards_centre(state, sigma) if self.config.trunk.graphs else displacement,
            strain=torch.einsum("bij,kij->bk", strain, basis(strain.device).to(strain.dtype))
            * (output_scale(sigma, SIGMA_LATTICE) * state.pbc.all(1))[:, None],
            site_energy=self.site_energy(scalars).squeeze(-1),
            embedding=self.readout(h, state) if self.config.trunk.graphs else _mean_and_spread(scalars, state),
        )


def _towards_centre(state: State, sigma: Tensor) -> Tensor:
    """Return σ²/(σ² + s²) of the vector from the centre of each molecule to its atoms (n_atoms, 3), Å."""
    centre = averaged(state.positions, state.system_idx, state.n_systems)
    share = sigma**2 / (sigma**2 + SIGMA_SITE**2)
    return share[state.system_idx, None] * (state.positions - centre[state.system_idx])


def _mean_and_spread(scalars: Tensor, state: State) -> Tensor:
    share = site_share(state, scalars.dtype)[:, None]
    mean = over_sites(scalars * share, state)
    spread = over_sites((scalars - mean[state.site_system]) ** 2 * share, state)
    return torch.cat([mean, (spread + 1e-6).sqrt()], dim=1)


def site_share(state: State, dtype: torch.dtype) -> Tensor:
    """Return the fraction of its system's atoms that each site holds (n_sites,)."""
    return state.orbits.multiplicity.to(dtype) / state.n_atoms.to(dtype)[state.site_system]


def over_sites(values: Tensor, state: State) -> Tensor:
    """Return the sum (n_systems, ...) over sites (n_sites, ...)."""
    return summed(values, state.site_system, state.n_systems)


def over_atoms(matrix: Tensor, state: State) -> Tensor:
    """Return the mean over atoms (n_systems, 3, 3) of matrices of representatives (n_sites, 3, 3), rotated to each."""
    rotation, index = state.orbits.rotations.to(matrix), state.orbits.site_idx
    turned = rotation @ matrix.index_select(0, index) @ rotation.mT
    total = summed(turned, state.system_idx, state.n_systems)
    return total / state.n_atoms.to(matrix)[:, None, None]


def residual_per_atom(output: GraphOutput, state: State, sigma: Tensor) -> Tensor:
    """Return the denoising part of E / N, (½ Σ_i ‖v_i‖² / σ² + ½ N ‖s‖² / σ²) / N (n_systems,)."""
    square = over_sites((output.displacement**2).sum(-1) * site_share(state, sigma.dtype), state)
    return 0.5 * (square + (output.strain**2).sum(-1)) / sigma**2


def energy_per_atom(output: GraphOutput, state: State, sigma: Tensor) -> Tensor:
    """Return E / N (n_systems,), as defined at the top of this file."""
    level = over_sites(output.site_energy * site_share(state, output.site_energy.dtype), state)
    return residual_per_atom(output, state, sigma) + level


def predicted_step(output: GraphOutput, templates: TemplateBatch, geometry: Geometry) -> Geometry:
    """Return the denoising displacement of the network in scaled free parameters (Å)."""
    directions, _ = unit_directions(templates, geometry)
    coords = torch.einsum("skj,sj->sk", directions, output.displacement)
    return Geometry(output.strain * templates.free_lattice, coords * templates.free_coords)
