"""Embeddings of Wyckoff positions and elements, and padded batches of sites."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from matgen.chemistry.elements import descriptors
from matgen.templates.batch import TemplateBatch
from matgen.templates.wyckoff import wyckoff_table


class Table(nn.Module):
    """Rows free + shared(features); computed once, until a parameter changes, where no parameter is trained."""

    free: nn.Embedding
    shared: nn.Sequential

    def __init__(self) -> None:
        super().__init__()
        self._known: tuple[tuple[object, ...], Tensor] | None = None

    def rows(self, features: Tensor) -> Tensor:
        """Return all rows (n_rows, width) from their features (n_rows, n_features)."""
        parameters = list(self.parameters())
        if any(parameter.requires_grad for parameter in parameters):
            return self.free.weight + self.shared(features)
        key = tuple((p.data_ptr(), p._version, p.dtype, p.device) for p in parameters)  # noqa: SLF001 (no other count)
        if self._known is None or self._known[0] != key:
            self._known = key, self.free.weight + self.shared(features)
        return self._known[1]


class ElementEmbedding(Table):
    """A learned vector per element plus a map of its periodic-table descriptors."""

    descriptors: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        table = descriptors()
        self.free = nn.Embedding(len(table), width)
        nn.init.normal_(self.free.weight, std=0.3)
        self.shared = nn.Sequential(nn.Linear(table.shape[1], width), nn.SiLU(), nn.Linear(width, width))
        self.register_buffer("descriptors", table, persistent=False)

    def table(self) -> Tensor:
        """Return all embeddings (95, width), row Z for element Z."""
        return self.rows(self.descriptors)

    def forward(self, elements: Tensor) -> Tensor:
        """Return embeddings (..., width) of atomic numbers (...)."""
        return self.table()[elements]


class PositionEmbedding(Table):
    """A learned vector per Wyckoff position plus a map of features of its orbit."""

    features: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        features = position_features()
        self.free = nn.Embedding(len(features), width)
        nn.init.normal_(self.free.weight, std=0.1)
        self.shared = nn.Sequential(nn.Linear(features.shape[1], width), nn.SiLU(), nn.Linear(width, width))
        self.register_buffer("features", features, persistent=False)

    def table(self) -> Tensor:
        """Return all embeddings (1731, width)."""
        return self.rows(self.features)

    def forward(self, positions: Tensor) -> Tensor:
        """Return embeddings (..., width) of rows of the Wyckoff table (...)."""
        trained = any(parameter.requires_grad for parameter in self.parameters())
        if not trained or positions.numel() > len(self.features):  # computing the whole table is cheaper
            return self.table()[positions]
        return self.free(positions) + self.shared(self.features[positions])


def position_features() -> Tensor:
    """Return multiplicity, free coordinates, map of the first member, and shape of each orbit (1731, 40)."""
    table = wyckoff_table()
    first = table.member_offset[:-1]
    multiplicity = table.multiplicity.double()
    rows = len(multiplicity)
    position = torch.repeat_interleave(torch.arange(rows), table.multiplicity)
    angle = 2 * torch.pi * table.shift
    phases = torch.cat([f(k * angle) for k in (1, 2) for f in (torch.cos, torch.sin)], dim=1)
    zeros = torch.zeros(rows, phases.shape[1], dtype=torch.float64)
    mean_phase = zeros.index_add(0, position, phases) / multiplicity[:, None]
    trace = torch.einsum("nii->n", table.rotation)
    traces = torch.stack([trace == k for k in (-3, -2, -1, 0, 1, 2, 3)], dim=1).double()
    share = torch.zeros(rows, 7, dtype=torch.float64).index_add(0, position, traces)
    columns = [
        multiplicity.log()[:, None],
        table.free.double(),
        table.matrix[first].flatten(1),
        phases[first][:, :6],
        mean_phase,
        share / multiplicity[:, None],
        torch.nn.functional.one_hot(table.dof, 4).double()[:, 1:],
    ]
    return torch.cat(columns, dim=1).float()[: table.n_positions]


@dataclass(frozen=True)
class PaddedSites:
    """Sites as rectangles.

    Attributes:
        position: row of the Wyckoff table, 0 where padded (n_systems, length).
        element: atomic number, 0 where padded (n_systems, length).
        present: False where padded (n_systems, length).
        rows: row of each site in the batch it came from (n_systems, length).
    """

    position: Tensor
    element: Tensor
    present: Tensor
    rows: Tensor


def pad_sites(templates: TemplateBatch, generator: torch.Generator | None = None) -> PaddedSites:
    """Pad the sites of each system, in the order of the batch, or shuffled if a generator is given."""
    n_sites = len(templates.site_system)
    counts = torch.bincount(templates.site_system, minlength=templates.n_systems)
    order = torch.arange(n_sites, device=templates.device)
    if generator is not None:
        order = torch.randperm(n_sites, generator=generator).to(templates.device)
        order = order[templates.site_system[order].argsort(stable=True)]
    start = counts.cumsum(0) - counts
    column = torch.arange(n_sites, device=templates.device) - start[templates.site_system]
    rows = counts.new_zeros(templates.n_systems, int(counts.max()))
    present = torch.zeros_like(rows, dtype=torch.bool)
    rows[templates.site_system, column] = order
    present[templates.site_system, column] = True
    position = torch.where(present, templates.site_position[rows], 0)
    element = torch.where(present, templates.site_element[rows], 0)
    return PaddedSites(position, element, present, rows)
