"""A density over the free parameters of a crystal, given its template.

The network reads all sites at once, then the free parameters one by one, lattice first, then site by site:

    p(q | template) = Π_t p(q_t | q_<t, template),    p(q_t | ...) = Σ_k π_k N(q_t; c_k + δ_k, s)

with components near the points c_k of a grid over the range of the parameter (wrapped for coordinates). The density is
exact and can have many modes.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from matgen.batch.graphs import take_sites
from matgen.nn.layout_embedding import LayoutEmbedding
from matgen.nn.sites import ElementEmbedding, PositionEmbedding, pad_sites
from matgen.nn.transformer import Transformer, causal
from matgen.runtime.random import choice, normal
from matgen.templates.batch import Geometry, TemplateBatch

GRID = 72  # divisible by 2, 3, 4, 6, 8, 9: special fractions lie on the grid
LATTICE_RANGE = (0.5, 0.7, 0.5, 1.8, 1.8, 0.7)  # half-width of the grid of each lattice parameter
CHUNK = 64  # systems of similar length that are sampled together
N_KINDS = 9  # six lattice parameters, three coordinates


@dataclass(frozen=True)
class GeometryDensityConfig:
    """Size of the network.

    Attributes:
        width, layers, heads, dropout: of the transformer.
        known_layouts, known_parameters: number of Wyckoff layouts of the training crystals, and of the free parameters
            of all these layouts; set by training.
        layout_size: size of the vector of each of these parameters.
        layout_dropout: how often training replaces the vectors of a layout by zero, as for unknown layouts.
    """

    width: int = 144
    layers: int = 4
    heads: int = 6
    dropout: float = 0.05
    known_layouts: int = 0
    known_parameters: int = 0
    layout_size: int = 32
    layout_dropout: float = 0.15


@dataclass(frozen=True)
class FreeParameters:
    """The free parameters of a batch as rectangles.

    Attributes:
        kind: 0..5 lattice parameter, 6..8 coordinate (n_systems, length).
        site: column of the site it belongs to, 0 for the lattice (n_systems, length).
        row: row in `Geometry.lattice` or `Geometry.coords` (n_systems, length).
        present: False where padded (n_systems, length).
    """

    kind: Tensor
    site: Tensor
    row: Tensor
    present: Tensor


def free_parameters(templates: TemplateBatch) -> FreeParameters:
    """Return the free parameters of each system, in the order in which the density reads them."""
    system, kind = templates.free_lattice.nonzero().unbind(1)
    rows, axis = templates.free_coords.nonzero().unbind(1)
    counts = torch.bincount(templates.site_system, minlength=templates.n_systems)
    start = counts.cumsum(0) - counts
    owner = templates.site_system[rows]
    all_system = torch.cat([system, owner])
    order = all_system.argsort(stable=True)
    columns = torch.stack(
        [
            torch.cat([kind, 6 + axis]),
            torch.cat([torch.zeros_like(kind), rows - start[owner]]),
            torch.cat([system, rows]),
        ]
    )[:, order]
    all_system = all_system[order]
    count = torch.bincount(all_system, minlength=templates.n_systems)
    place = torch.arange(len(order), device=order.device) - (count.cumsum(0) - count)[all_system]
    filled = columns.new_zeros(3, templates.n_systems, int(count.max()))
    filled[:, all_system, place] = columns
    present = torch.zeros_like(filled[0], dtype=torch.bool)
    present[all_system, place] = True
    return FreeParameters(filled[0], filled[1], filled[2], present)


def to_unit(parameters: FreeParameters, geometry: Geometry) -> Tensor:
    """Return the values of parameters in units of their range (n_systems, length): [0, 1), wrapped for coordinates."""
    half = geometry.lattice.new_tensor(LATTICE_RANGE)
    is_lattice = parameters.kind < 6
    lattice_row, coords_row = torch.where(is_lattice, parameters.row, 0), torch.where(is_lattice, 0, parameters.row)
    kind = parameters.kind.clamp(max=5)
    lattice = (geometry.lattice[lattice_row, kind] / half[kind] + 1) / 2
    coords = geometry.coords[coords_row, (parameters.kind - 6).clamp(min=0)]
    return torch.where(is_lattice, lattice.clamp(0.001, 0.999), coords)


def from_unit(parameters: FreeParameters, values: Tensor, templates: TemplateBatch) -> Geometry:
    """Return the geometry that has these values."""
    half = values.new_tensor(LATTICE_RANGE)
    lattice, coords = values.new_zeros(templates.n_systems, 6), values.new_zeros(len(templates.site_system), 3)
    where = parameters.present & (parameters.kind < 6)
    kind = parameters.kind[where]
    lattice[parameters.row[where], kind] = (2 * values[where] - 1) * half[kind]
    where = parameters.present & (parameters.kind >= 6)
    coords[parameters.row[where], parameters.kind[where] - 6] = values[where] % 1.0
    return Geometry(lattice, coords)


class GeometryDensity(nn.Module):
    """The network, its density and samples from it."""

    Config = GeometryDensityConfig
    HARMONICS = 8

    def __init__(self, config: GeometryDensityConfig = GeometryDensityConfig()) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.group = nn.Embedding(231, width)
        self.position = PositionEmbedding(width)
        self.element = ElementEmbedding(width)
        self.share = nn.Linear(2, width)
        self.slot = nn.Embedding(N_KINDS, width)
        self.previous_slot = nn.Embedding(N_KINDS + 1, width)
        self.value = nn.Sequential(
            nn.Linear(2 * self.HARMONICS + 1, width), nn.SiLU(), nn.Linear(width, width, bias=False)
        )
        self.layout_embedding = LayoutEmbedding(
            config.known_layouts, config.known_parameters, config.layout_size, width
        )
        self.transformer = Transformer(width, config.layers, config.heads, dropout=config.dropout)
        self.head = nn.Linear(width, 2 * GRID + 1)
        self.kind_bias = nn.Embedding(N_KINDS, GRID)
        nn.init.zeros_(self.kind_bias.weight)

    def _value(self, x: Tensor) -> Tensor:
        """Embed values in [0, 1)."""
        angle = 2 * math.pi * x[..., None] * torch.arange(1, self.HARMONICS + 1, dtype=x.dtype, device=x.device)
        return self.value(torch.cat([x[..., None], angle.cos(), angle.sin()], dim=-1))

    def _layout_vectors(self, templates: TemplateBatch, length: int) -> Tensor:
        """Return the vector of each free parameter of known layouts, with dropout in training (n, length, width)."""
        found = self.layout_embedding(templates, length)
        if not self.training:
            return found
        return found * (torch.rand(len(found), 1, 1, device=found.device) >= self.config.layout_dropout)

    def _components(
        self, templates: TemplateBatch, parameters: FreeParameters, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return log weights (n, length, GRID), means in [0, 1] (n, length, GRID) and widths (n, length, 1)."""
        sites = pad_sites(templates)
        multiplicity = templates.site_multiplicity.to(values)[sites.rows] * sites.present
        share = multiplicity / multiplicity.sum(1, keepdim=True)
        about = self.share(torch.stack([multiplicity.clamp(min=1).log(), share], dim=-1))
        site = self.position(sites.position) + self.element(sites.element) + about
        n, length = parameters.kind.shape
        own = site.gather(1, parameters.site[..., None].expand(-1, -1, site.shape[2]))
        own = torch.where((parameters.kind < 6)[..., None], 0.0, own)
        before = torch.cat([parameters.kind.new_full((n, 1), N_KINDS), parameters.kind[:, :-1]], dim=1)
        value = nn.functional.pad(self._value(values[:, :-1]), (0, 0, 1, 0))
        of_layout = self._layout_vectors(templates, length)
        tokens = self.slot(parameters.kind) + own + self.previous_slot(before) + value + of_layout
        prefix = torch.cat([self.group(templates.space_group)[:, None], site], dim=1)
        n_prefix = prefix.shape[1]
        total = n_prefix + length
        allowed = sites.present.new_zeros(n, 1, total, total)
        allowed[..., 0] = True
        allowed[:, 0, :, 1:n_prefix] = sites.present[:, None]
        allowed[:, :, n_prefix:, n_prefix:] = causal(length, values.device)
        hidden = self.transformer(torch.cat([prefix, tokens], dim=1), allowed)[:, n_prefix:]
        raw = self.head(hidden)
        weights = (raw[..., :GRID] + self.kind_bias(parameters.kind)).log_softmax(-1)
        centres = torch.arange(GRID, dtype=values.dtype, device=values.device) / GRID
        means = centres + torch.tanh(raw[..., GRID : 2 * GRID]) * 0.75 / GRID
        widths = (torch.sigmoid(raw[..., -1:]) * 1.5 + 0.05) / GRID
        return weights, means, widths

    def log_prob(self, templates: TemplateBatch, geometry: Geometry) -> Tensor:
        """Return log densities (n_systems,) of geometries, in units of the range of each parameter."""
        parameters = free_parameters(templates)
        values = to_unit(parameters, geometry)
        weights, means, widths = self._components(templates, parameters, values)
        apart = values[..., None] - means
        apart = torch.where((parameters.kind >= 6)[..., None], apart - apart.round(), apart)
        log_normal = -0.5 * (apart / widths) ** 2 - widths.log() - 0.5 * math.log(2 * math.pi)
        return ((weights + log_normal).logsumexp(-1) * parameters.present).sum(1)

    def sample(self, templates: TemplateBatch, generator: torch.Generator, temperature: float = 1.0) -> Geometry:
        """Sample a geometry of each template; a temperature below one sharpens choices and narrows components."""
        n_coords = torch.zeros_like(templates.space_group)
        n_coords = n_coords.index_add(0, templates.site_system, templates.free_coords.sum(1))
        order = (n_coords + templates.free_lattice.sum(1)).argsort(stable=True)
        lattice = torch.zeros(templates.n_systems, 6, device=templates.device)
        geometry = Geometry(lattice, lattice.new_zeros(len(templates.site_system), 3))
        for some in order.split(CHUNK):
            sampled = self._sample(templates.select(some), generator, temperature)
            geometry.lattice[some] = sampled.lattice
            geometry.coords[take_sites(templates.site_system, templates.n_systems, some)[0]] = sampled.coords
        return geometry

    @torch.no_grad()
    def _sample(self, templates: TemplateBatch, generator: torch.Generator, temperature: float) -> Geometry:
        parameters = free_parameters(templates)
        values = torch.zeros(parameters.kind.shape, device=templates.device)
        for step in range(parameters.kind.shape[1]):
            upto = FreeParameters(*(getattr(parameters, f)[:, : step + 1] for f in ("kind", "site", "row", "present")))
            weights, means, widths = self._components(templates, upto, values[:, : step + 1])
            chance = (weights[:, -1] / temperature).softmax(-1)
            mean = means[:, -1].gather(1, choice(chance, generator)[:, None])
            noise = normal(mean.shape, generator, mean) * widths[:, -1] * temperature**0.5
            values[:, step] = (mean + noise).squeeze(1)
        return from_unit(parameters, values, templates)
