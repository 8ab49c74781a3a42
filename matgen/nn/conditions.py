"""Conditions of the learned priors: size, elements and properties of what is sampled, as one vector."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from matgen.nn.sites import ElementEmbedding
from matgen.runtime.devices import placed

N_ELEMENTS = 95

Grids = Mapping[str, tuple[float, float, int]]
"""Lowest value, highest value and number of points of the grid of each property, in the units of the labels."""

CRYSTAL_GRIDS: Grids = {"band_gap": (0.0, 8.0, 33), "e_form": (-4.5, 1.5, 25), "energy_above_hull": (0.0, 0.4, 17)}
"""eV, eV/atom, eV/atom."""

MOLECULE_GRIDS: Grids = {
    "gap": (0.0, 17.0, 69),
    "homo": (-12.0, -2.0, 41),
    "lumo": (-5.0, 6.0, 45),
    "dipole": (0.0, 12.0, 49),
    "polarizability": (0.0, 150.0, 51),
    "atomization_energy": (-120.0, 0.0, 49),
    "heat_capacity": (0.0, 60.0, 41),
}
"""eV, debye, cubic bohr, cal/(mol K)."""


@dataclass(frozen=True)
class Conditions:
    """Conditions of each system; any subset may be given.

    Attributes:
        n_atoms: atoms in the primitive cell of a crystal, or heavy atoms of a molecule (n_systems,); 0 where not given.
        elements: elements that must occur, of molecules without hydrogen (n_systems, 95), bool.
        complete: whether `elements` are all elements (n_systems,), bool.
        properties: in the order and units of the grids (n_systems, n_properties); NaN where not given.
    """

    n_atoms: Tensor
    elements: Tensor
    complete: Tensor
    properties: Tensor

    @classmethod
    def none(cls, n_systems: int, grids: Grids) -> Self:
        """Return conditions of which none is given."""
        return cls(
            torch.zeros(n_systems, dtype=torch.long),
            torch.zeros(n_systems, N_ELEMENTS, dtype=torch.bool),
            torch.zeros(n_systems, dtype=torch.bool),
            torch.full((n_systems, len(grids)), math.nan),
        )

    def select(self, rows: Tensor) -> Self:
        """Return the conditions of these systems."""
        return replace(
            self,
            n_atoms=self.n_atoms[rows],
            elements=self.elements[rows],
            complete=self.complete[rows],
            properties=self.properties[rows],
        )

    def to(self, device: torch.device | str) -> Self:
        """Return the same on another device."""
        return placed(self, device)


class ConditionEmbedding(nn.Module):
    """One vector for all conditions; a condition that is not given adds a learned vector for unknown."""

    def __init__(self, width: int, max_atoms: int, grids: Grids) -> None:
        super().__init__()
        self.limits = tuple(grids.values())
        self.n_atoms = nn.Embedding(max_atoms + 1, width)
        self.elements = ElementEmbedding(width)
        self.complete = nn.Embedding(2, width)
        self.grids = nn.ModuleList(nn.Linear(n + 1, width, bias=False) for _, _, n in self.limits)
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, conditions: Conditions) -> Tensor:
        """(n_systems, width)."""
        total = self.n_atoms(conditions.n_atoms) + self.complete(conditions.complete.long())
        total = total + conditions.elements.to(total.dtype) @ self.elements.table()
        columns = conditions.properties.unbind(1)
        for column, grid, (low, high, n) in zip(columns, self.grids, self.limits, strict=True):
            total = total + grid(soft_bins(column, low, high, n).to(total.dtype))
        return self.mix(total)


def soft_bins(values: Tensor, low: float, high: float, n: int) -> Tensor:
    """Return linear interpolation weights on a grid (n_systems, n + 1); the last column marks unknown values (NaN)."""
    place = ((values.nan_to_num() - low) / (high - low)).clamp(0, 1) * (n - 1)
    weights = (1 - (place[:, None] - torch.arange(n, device=values.device)).abs()).clamp(min=0)
    unknown = values.isnan()[:, None]
    return torch.cat([weights * ~unknown, unknown.to(weights.dtype)], dim=1)
