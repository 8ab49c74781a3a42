"""The equivariant trunk: message passing over symmetry-distinct atoms.

Scalars travel along edges; at each site they are gathered with spherical harmonics into an equivariant description of
its neighbourhood, whose symmetric square couples directions (MACE, Batatia et al. 2022, with invariant messages and
correlation two). For every site i with neighbours j:

    A_i = h_i + Σ_j R(r_ij) h_j⁰ Y(r̂_ij),    h_i ← h_i + gate(L_1 A_i + L_2 (A_i ⊗ A_i))

With molecular graphs (`TrunkConfig.graphs`), the edges are all pairs of a molecule, R also depends on the relation of
the two atoms in the graph, and the first features include charges and stereo (`matgen.nn.stereo`). With pair
displacements between layers (`matgen.nn.pair_displacements`), pairs more than three bonds apart are selected by their
initial distance, also if a displacement moves them across the cutoff: from 1.5 Å of noise on, energies jump there by up
to 1e-3, shifts by 3e-3 Å.

Since only invariants are sent, a neighbour may be represented by any of its symmetry images. It suffices to compute the
sites of `State.orbits`, which is exact and reduces the cost by the number of atoms per site.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from matgen.batch.graphs import FARTHER, RELATIONS, Graphs
from matgen.batch.neighbors import Edges, neighbors
from matgen.batch.state import State
from matgen.energies.sharing import answer_of
from matgen.nn.couplings import harmonics
from matgen.nn.irreps import DegreeLinear, SelfProduct
from matgen.nn.neighborhood import Neighborhood, rectangle
from matgen.nn.pair_displacements import PairDisplacement
from matgen.nn.radial import GaussianBasis, envelope, softened
from matgen.nn.sites import ElementEmbedding
from matgen.nn.stereo import N_FEATURES, chirality_features
from matgen.runtime.config import ConfigError

HIDDEN = 48
"""Hidden features of an edge."""

MOST_CHARGE = 2
"""Largest formal charge, positive or negative; larger ones count as this."""


@dataclass(frozen=True)
class TrunkConfig:
    """Size of the trunk.

    Attributes:
        channels: copies of each irrep.
        layers: message-passing steps.
        cutoff: Å.
        n_radial: Gaussians of the distance.
        odd: whether parity-odd channels (0o, 1e, 2o) exist.
        neighbors: average number of neighbours, by whose root messages are divided.
        highest_degree: of the spherical harmonics of directions, at most 2.
        graphs: whether molecular graphs are used; then all systems are molecules.
        both_ends: whether messages depend on both ends of an edge; with pair displacements they always do.
        pair_displacements: whether each layer displaces atoms before the next one; requires graphs.
    """

    channels: int = 64
    layers: int = 3
    cutoff: float = 5.0
    n_radial: int = 16
    odd: bool = False
    neighbors: float = 30.0
    highest_degree: int = 2
    graphs: bool = False
    both_ends: bool = False
    pair_displacements: bool = False

    def __post_init__(self) -> None:
        """Check that pair displacements come with graphs.

        Raises:
            ConfigError: they do not.
        """
        if self.pair_displacements and not self.graphs:
            raise ConfigError("pair_displacements need graphs: got pair_displacements = true with graphs = false")


class Gate(nn.Module):
    """SiLU on natural scalars; every other irrep is multiplied by a sigmoid of them."""

    repeats: Tensor

    def __init__(self, channels: int, *, odd: bool) -> None:
        super().__init__()
        sizes = [3, 5] + ([1, 3, 5] if odd else [])
        self.n_gates = len(sizes)
        self.register_buffer("repeats", torch.tensor(sizes), persistent=False)
        self.mix = nn.Linear(channels, channels * (1 + self.n_gates))

    def forward(self, x: Tensor) -> Tensor:
        """(n, size, channels) → the same shape."""
        scalars, rest = x[:, 0], x[:, 1:]
        mixed = self.mix(scalars).view(len(x), 1 + self.n_gates, -1)
        gates = torch.sigmoid(mixed[:, 1:]).repeat_interleave(self.repeats, dim=1)
        return torch.cat([nn.functional.silu(mixed[:, :1]), rest * gates], dim=1)


class Layer(nn.Module):
    """One message-passing step."""

    def __init__(self, config: TrunkConfig, n_noise: int, n_conditions: int) -> None:
        super().__init__()
        channels, odd = config.channels, config.odd
        self.scale = 1 / math.sqrt(config.neighbors)
        self.channels = channels
        self.radial = nn.Sequential(
            nn.Linear(config.n_radial + n_conditions, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 3 * channels)
        )
        with_ends = config.both_ends or config.pair_displacements
        self.ends = nn.Linear(channels, 2 * HIDDEN, bias=False) if with_ends else None
        if self.ends is not None:
            nn.init.zeros_(self.ends.weight)
        self.before = nn.Linear(channels, channels)
        self.product = SelfProduct(channels, odd=odd)
        self.linear = DegreeLinear(channels, channels, odd=odd)
        self.squared = DegreeLinear(channels, channels, odd=odd)
        self.gate = Gate(channels, odd=odd)
        self.noise = nn.Linear(n_noise, channels)

    def forward(self, h: Tensor, graph: Neighborhood) -> Tensor:
        """Features (n_sites, size, channels) → the same shape."""
        sent = self.before(h[:, 0]).index_select(0, graph.neighbor_site)
        hidden = self.radial[0](graph.radial)
        if self.ends is not None:
            hidden = hidden + graph.both_ends(self.ends(h[:, 0]))
        weights = (self.radial[2](self.radial[1](hidden)) * graph.envelope[:, None]).split(self.channels, dim=1)
        moments = [
            around.mT @ graph.gather(sent * weight) for weight, around in zip(weights, graph.harmonics, strict=True)
        ]
        message = torch.cat(moments, dim=1) * self.scale
        message = nn.functional.pad(message, (0, 0, 0, h.shape[1] - message.shape[1])) + h
        mixed = self.linear(message) + self.squared(self.product(message))
        mixed = torch.cat([mixed[:, :1] + self.noise(graph.noise)[:, None], mixed[:, 1:]], dim=1)
        return h + self.gate(mixed)


class Trunk(nn.Module):
    """Equivariant features of the symmetry-distinct sites of a state at a noise level."""

    N_NOISE = 8
    N_RELATION = 12

    def __init__(self, config: TrunkConfig = TrunkConfig()) -> None:
        super().__init__()
        self.config = config
        self.element = ElementEmbedding(config.channels)
        self.basis = GaussianBasis(config.n_radial, config.cutoff)
        n_conditions = self.N_NOISE + (self.N_RELATION if config.graphs else 0)
        self.layers = nn.ModuleList(Layer(config, self.N_NOISE, n_conditions) for _ in range(config.layers))
        if config.pair_displacements:
            n_radial = config.n_radial + n_conditions
            self.pair_displacements = nn.ModuleList(
                PairDisplacement(config.channels, n_radial, config.neighbors) for _ in range(config.layers)
            )
        if config.graphs:
            self.relation = nn.Embedding(RELATIONS, self.N_RELATION)
            self.charge = nn.Embedding(2 * MOST_CHARGE + 1, config.channels)
            self.chirality = nn.Linear(N_FEATURES, config.channels, bias=False)
            self.displacement = nn.Parameter(torch.randn(config.channels))
        self.size = 18 if config.odd else 9

    def noise_features(self, sigma: Tensor) -> Tensor:
        """Return Gaussians of ln σ (n, 8), for σ from 0.01 to 4 Å."""
        centres = torch.linspace(math.log(0.01), math.log(4.0), self.N_NOISE, device=sigma.device, dtype=sigma.dtype)
        width = centres[1] - centres[0]
        place = sigma.clamp(0.01, 4.0).log()[:, None]
        return torch.exp(-0.5 * ((place - centres) / width) ** 2)

    def graph(self, state: State, sigma: Tensor, edges: Edges, relation: Tensor | None = None) -> Neighborhood:
        """Return the neighbourhoods; `relation` (n_edges,) where edges are pairs of molecular graphs."""
        directions, distance = softened(edges.vectors(state))
        site_idx, noise = state.orbits.site_idx, self.noise_features(sigma)
        centre = site_idx.index_select(0, edges.centre)
        order = centre.argsort(stable=True)
        counts = torch.bincount(centre, minlength=len(state.orbits.representatives))
        rank = torch.empty_like(centre)
        rank[order] = torch.arange(len(centre), device=centre.device) - (counts.cumsum(0) - counts)[centre[order]]
        shape = (len(counts), int(counts.max()))
        slot = centre * shape[1] + rank
        kept = (self.config.highest_degree + 1) ** 2
        around = harmonics(directions) * (torch.arange(9, device=slot.device) < kept)
        around = rectangle(around, slot, shape)
        conditions = [noise.index_select(0, state.system_idx.index_select(0, edges.centre))]
        window = envelope(distance, self.config.cutoff)
        if relation is not None:
            conditions.append(self.relation(relation))
            window = torch.where(relation < FARTHER, 1.0, window)
        return Neighborhood(
            centre=centre,
            neighbor_site=site_idx.index_select(0, edges.neighbor),
            slot=slot,
            shape=shape,
            directions=directions,
            distance=distance,
            harmonics=(around[..., :1], around[..., 1:4], around[..., 4:]),
            radial=torch.cat([self.basis(distance), *conditions], dim=1),
            envelope=window,
            noise=noise.index_select(0, state.site_system),
        )

    def forward(self, state: State, sigma: Tensor, edges: Edges | None = None) -> Tensor:
        """Return features (n_sites, 9 or 18, channels) at noise levels sigma (n_systems,), Å.

        Args:
            state: a batch.
            sigma: noise levels.
            edges: neighbours within the cutoff, of crystals; computed if left out.

        Raises:
            ValueError: the configuration requires molecular graphs, and the state has none.
        """
        return self.moved(state, sigma, edges)[0]

    def moved(self, state: State, sigma: Tensor, edges: Edges | None = None) -> tuple[Tensor, Tensor]:
        """Return the same, and the total displacement of each site (n_sites, 3), Å."""
        scalars = self.element(state.atomic_numbers[state.orbits.representatives])
        shift = state.positions.new_zeros(len(scalars), 3)
        if self.config.graphs:
            pairs, relation = _related(state, self.config.cutoff)
            around = self.graph(state, sigma, pairs, relation)
            h = self._with_stereo(state, scalars)
        else:
            around = self._around(state, sigma) if edges is None else self.graph(state, sigma, edges)
            h = nn.functional.pad(scalars[:, None], (0, 0, 0, self.size - 1))
        for number, layer in enumerate(self.layers):
            h = layer(h, around)
            if self.config.pair_displacements:
                shift = shift + self.pair_displacements[number](h[:, 0], around)
                if number + 1 < len(self.layers):
                    there = replace(state, positions=state.positions + shift)
                    around = self.graph(there, sigma, pairs, relation)
        return h, shift

    def _around(self, state: State, sigma: Tensor) -> Neighborhood:
        """Return the neighbourhoods of crystals; within `shared_answers`, trunks of equal radial basis share them."""
        config = self.config
        alike = ("neighborhood", config.cutoff, config.n_radial, config.highest_degree)
        return answer_of(self._found_around, state, sigma, alike=alike)

    def _found_around(self, state: State, sigma: Tensor) -> Neighborhood:
        cutoff = self.config.cutoff

        def within(state: State) -> Edges:
            return neighbors(state, cutoff)

        return self.graph(state, sigma, answer_of(within, state, alike=("edges", cutoff)))

    def _with_stereo(self, state: State, scalars: Tensor) -> Tensor:
        """Return first features of atoms, with charges and stereo."""
        graphs = _graphs(state)
        bumps, displacement = chirality_features(state, graphs)
        charge = self.charge(graphs.charge.clamp(-MOST_CHARGE, MOST_CHARGE) + MOST_CHARGE)
        first = (scalars + charge + self.chirality(bumps))[:, None]
        h = torch.cat([first, displacement[..., None] * self.displacement], dim=1)
        return nn.functional.pad(h, (0, 0, 0, self.size - 4))


def _graphs(state: State) -> Graphs:
    if state.graphs is None or not bool((state.graphs.pairs > 0).all()):
        raise ValueError("expected molecular graphs for every system, which this network reads; expand a template")
    return state.graphs


def _related(state: State, cutoff: float) -> tuple[Edges, Tensor]:
    """Return all pairs of each molecule that are related or closer than the cutoff, and their relations."""
    centre, neighbor, relation = _graphs(state).edges(state.n_atoms)
    square = ((state.positions.detach()[centre] - state.positions.detach()[neighbor]) ** 2).sum(1)
    keep = (relation < FARTHER) | (square < cutoff**2)
    centre, neighbor, relation = centre[keep], neighbor[keep], relation[keep]
    return Edges(centre, neighbor, state.positions.new_zeros(len(centre), 3)), relation
