"""Embedding of Wyckoff layouts: one learned vector for each free parameter of each layout of the training crystals.

A *Wyckoff layout* is a space group and its occupied positions, whatever elements are on them. Some four thousand
layouts hold nearly all known small crystals, and their geometries are easier to store than to predict.
"""

import torch
from torch import Tensor, nn

from matgen.templates.batch import TemplateBatch

_ODD = (0x1F83D9ABFB41BD6B, 0x2545F4914F6CDD1D)  # odd multipliers, below 2^63


class LayoutEmbedding(nn.Module):
    """Vectors by layout and free parameter; zero where the layout is not known."""

    keys: Tensor
    first: Tensor

    def __init__(self, n_layouts: int, n_parameters: int, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(n_layouts, dtype=torch.long))
        self.register_buffer("first", torch.zeros(n_layouts, dtype=torch.long))
        self.vectors = nn.Embedding(n_parameters, size)
        nn.init.normal_(self.vectors.weight, std=0.1)
        self.out = nn.Linear(size, width, bias=False)
        nn.init.zeros_(self.out.weight)  # the embedding is zero before training

    def register(self, templates: TemplateBatch) -> None:
        """Make the layouts of these templates the known ones; their number must be that of `sizes`."""
        keys, count = _distinct(templates)
        self.keys.copy_(keys)
        self.first.copy_(count.cumsum(0) - count)

    def forward(self, templates: TemplateBatch, length: int) -> Tensor:
        """Return vectors (n_systems, length, width) of the first `length` free parameters of each template."""
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
    """Return the number of layouts of these templates, and the number of free parameters of all these layouts."""
    keys, count = _distinct(templates)
    return len(keys), int(count.sum())


def layout_keys(templates: TemplateBatch) -> Tensor:
    """Return a hash (n_systems,) of each layout: a sum over sites of scrambled rows of the Wyckoff table."""
    scrambled = (templates.site_position + 1) * _ODD[0]
    scrambled = (scrambled ^ (scrambled >> 29)) * _ODD[1]
    scrambled = scrambled ^ (scrambled >> 32)
    return torch.zeros_like(templates.space_group).index_add(0, templates.site_system, scrambled)


def _distinct(templates: TemplateBatch) -> tuple[Tensor, Tensor]:
    """Return the keys of the distinct layouts, ascending, and the number of free parameters of each."""
    n_free = templates.free_lattice.sum(1).index_add(0, templates.site_system, templates.free_coords.sum(1))
    keys, layout = layout_keys(templates).unique(return_inverse=True)
    return keys, torch.zeros_like(keys).index_copy(0, layout, n_free)
