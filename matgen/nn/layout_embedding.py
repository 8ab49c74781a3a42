"""A memory of layouts: one learned vector for each free number of each layout that training knew.

A *layout* is a space group and its occupied positions, whatever sits on them. Some four thousand of them hold nearly
all known small crystals, and where their atoms lie is more easily remembered than worked out.
"""

import torch
from torch import Tensor, nn

from matgen.templates.batch import TemplateBatch

_ODD = (0x1F83D9ABFB41BD6B, 0x2545F4914F6CDD1D)  # odd multipliers, below 2^63


class LayoutEmbedding(nn.Module):
    """Vectors by (layout, number); zero where the layout is not known."""

    keys: Tensor
    first: Tensor

    def __init__(self, n_layouts: int, n_parameters: int, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(n_layouts, dtype=torch.long))
        self.register_buffer("first", torch.zeros(n_layouts, dtype=torch.long))
        self.vectors = nn.Embedding(n_parameters, size)
        nn.init.normal_(self.vectors.weight, std=0.1)
        self.out = nn.Linear(size, width, bias=False)
        nn.init.zeros_(self.out.weight)  # at first it remembers nothing

    def know(self, templates: TemplateBatch) -> None:
        """Make room for the layouts of these templates; `sizes` said how much is needed."""
        keys, count = _distinct(templates)
        self.keys.copy_(keys)
        self.first.copy_(count.cumsum(0) - count)

    def forward(self, templates: TemplateBatch, length: int) -> Tensor:
        """Vectors (n_systems, length, width) of the first `length` free numbers of each template."""
        n_layouts = len(self.keys)
        if n_layouts == 0:
            return self.out.weight.new_zeros(templates.n_systems, length, len(self.out.weight))
        key = layout_keys(templates)
        row = torch.searchsorted(self.keys, key).clamp(max=n_layouts - 1)
        known = self.keys[row] == key
        place = self.first[row][:, None] + torch.arange(length, device=key.device)
        vectors = self.out(self.vectors(place.clamp(max=len(self.vectors.weight) - 1)))
        return vectors * known[:, None, None]


def sizes(templates: TemplateBatch) -> tuple[int, int]:
    """How many layouts these templates have, and how many free numbers all of these together."""
    keys, count = _distinct(templates)
    return len(keys), int(count.sum())


def layout_keys(templates: TemplateBatch) -> Tensor:
    """A number (n_systems,) that tells layouts apart: a sum over sites of scrambled rows of the Wyckoff table."""
    scrambled = (templates.site_position + 1) * _ODD[0]
    scrambled = (scrambled ^ (scrambled >> 29)) * _ODD[1]
    scrambled = scrambled ^ (scrambled >> 32)
    return torch.zeros_like(templates.space_group).index_add(0, templates.site_system, scrambled)


def _distinct(templates: TemplateBatch) -> tuple[Tensor, Tensor]:
    """Keys of the distinct layouts, ascending, and how many free numbers each has."""
    n_free = templates.free_lattice.sum(1).index_add(0, templates.site_system, templates.free_coords.sum(1))
    keys, layout = layout_keys(templates).unique(return_inverse=True)
    return keys, torch.zeros_like(keys).index_copy(0, layout, n_free)
