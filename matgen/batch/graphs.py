"""The molecular graphs of a batch as tensors; crystals have none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

RELATIONS = 8
"""0 the atom itself, 1 to 4 single, double, triple and aromatic bonds, 5 and 6 two and three bonds apart, 7 farther."""

TWO_APART, FARTHER = 5, 7
STEREO_SITES = 5
"""Sites of a stereo element."""

TETRAHEDRAL, DOUBLE_BOND = 0, 1
"""Kinds of stereo elements."""


@dataclass(frozen=True)
class Graphs:
    """The molecular graphs of a batch.

    Attributes:
        charge: formal charge of each site (n_sites,).
        relation: of every ordered pair of sites of one molecule, molecule by molecule, row by row (n_pairs,).
        pairs: number of pairs of each system, n² for a molecule of n atoms and 0 for a crystal (n_systems,).
        stereo_sites: four neighbours and the central site of each stereo element, ascending by system (n_stereo, 5);
            of a double bond a-b=c-d the sites a, b, c, d and b.
        stereo_kind: `TETRAHEDRAL` or `DOUBLE_BOND` (n_stereo,).
        stereo_sign: the specified stereoisomer, +1 or -1 (n_stereo,); see `matgen.nn.stereo`.
    """

    charge: Tensor
    relation: Tensor
    pairs: Tensor
    stereo_sites: Tensor
    stereo_kind: Tensor
    stereo_sign: Tensor

    @classmethod
    def none(cls, n_systems: int, n_sites: int, device: torch.device | None = None) -> Self:
        """Return the empty graphs of crystals."""
        zeros = torch.zeros(n_systems, dtype=torch.long, device=device)
        empty = zeros[:0]
        charge = torch.zeros(n_sites, dtype=torch.long, device=device)
        return cls(charge, empty.to(torch.uint8), zeros, empty.reshape(0, STEREO_SITES), empty, empty)

    @classmethod
    def of(cls, graphs: Sequence[Any], counts: Sequence[int]) -> Self:
        """Concatenate the graphs of molecules; None for a crystal.

        Args:
            graphs: a `matgen.templates.molecule.MolecularGraph` or None for each system.
            counts: sites of each system.
        """
        if all(graph is None for graph in graphs):
            return cls.none(len(graphs), sum(counts))
        charge, relation, stereo, start = [], [], [], 0
        for graph, count in zip(graphs, counts, strict=True):
            if graph is None:
                charge.append(torch.zeros(count, dtype=torch.long))
            else:
                charge.append(torch.from_numpy(graph.charges))
                relation.append(torch.from_numpy(graph.relations.ravel()))
                stereo.append(torch.from_numpy(graph.stereo + np.array([0, *[start] * STEREO_SITES, 0])))
            start += count
        rows = torch.cat(stereo)
        pairs = torch.tensor([0 if g is None else n * n for g, n in zip(graphs, counts, strict=True)])
        return cls(torch.cat(charge), torch.cat(relation), pairs, rows[:, 1:6], rows[:, 0], rows[:, 6])

    def select(self, site_system: Tensor, systems: Tensor, sites: Tensor) -> Self:
        """Return the graphs of some systems.

        Args:
            site_system: system of each site of this batch (n_sites,).
            systems: indices of systems; may repeat.
            sites: rows of their sites, from `take_sites`.
        """
        n_systems, device = len(self.pairs), self.pairs.device
        first = self.pairs.cumsum(0) - self.pairs
        rows = _ranges(first[systems], self.pairs[systems])
        if len(self.stereo_sign) == 0:
            return type(self)(
                self.charge[sites],
                self.relation[rows],
                self.pairs[systems],
                self.stereo_sites,
                self.stereo_sign,
                self.stereo_sign,
            )
        stereo_system = site_system[self.stereo_sites[:, 0]]
        many = torch.bincount(stereo_system, minlength=n_systems)
        chosen = _ranges((many.cumsum(0) - many)[systems], many[systems])
        size = torch.bincount(site_system, minlength=n_systems)
        shift = (size[systems].cumsum(0) - size[systems]) - (size.cumsum(0) - size)[systems]
        owner = torch.repeat_interleave(torch.arange(len(systems), device=device), many[systems])
        return type(self)(
            self.charge[sites],
            self.relation[rows],
            self.pairs[systems],
            self.stereo_sites[chosen] + shift[owner, None],
            self.stereo_kind[chosen],
            self.stereo_sign[chosen],
        )

    def without_stereo(self, forget: Tensor, site_system: Tensor) -> Self:
        """Return the graphs without stereo elements in the systems where `forget` (n_systems,), bool, is true."""
        keep = ~forget[site_system[self.stereo_sites[:, 0]]]
        return replace(
            self,
            stereo_sites=self.stereo_sites[keep],
            stereo_kind=self.stereo_kind[keep],
            stereo_sign=self.stereo_sign[keep],
        )

    def edges(self, n_sites: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return all ordered pairs of different sites of each molecule.

        Args:
            n_sites: sites of each system (n_systems,).

        Returns:
            Centre, neighbour and relation (n_edges,), sorted by centre.
        """
        start = n_sites.cumsum(0) - n_sites
        system = torch.repeat_interleave(torch.arange(len(n_sites), device=n_sites.device), self.pairs)
        within = torch.arange(len(system), device=system.device) - (self.pairs.cumsum(0) - self.pairs)[system]
        size = n_sites[system]
        first, second = start[system] + within // size, start[system] + within % size
        off = first != second
        return first[off], second[off], self.relation[off].long()


def joined(parts: Sequence[Graphs], n_sites: Sequence[int]) -> Graphs:
    """Concatenate the graphs of several batches with `n_sites` sites each."""
    offsets = torch.tensor([0, *n_sites]).cumsum(0).tolist()
    shifted = [part.stereo_sites + offset for part, offset in zip(parts, offsets, strict=False)]
    return Graphs(
        torch.cat([part.charge for part in parts]),
        torch.cat([part.relation for part in parts]),
        torch.cat([part.pairs for part in parts]),
        torch.cat(shifted),
        torch.cat([part.stereo_kind for part in parts]),
        torch.cat([part.stereo_sign for part in parts]),
    )


def take_sites(site_system: Tensor, n_systems: int, systems: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of the sites of some systems, and the new system of each."""
    counts = torch.bincount(site_system, minlength=n_systems)
    return take_rows(counts.cumsum(0) - counts, counts, systems)


def take_rows(first: Tensor, counts: Tensor, systems: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of some systems, and the new system of each, given the first row and row count of all systems."""
    chosen = counts[systems]
    new_system = torch.repeat_interleave(torch.arange(len(systems), device=counts.device), chosen)
    within = torch.arange(len(new_system), device=counts.device) - (chosen.cumsum(0) - chosen)[new_system]
    return first[systems][new_system] + within, new_system


def _ranges(starts: Tensor, counts: Tensor) -> Tensor:
    """Return the integers starts[i] … starts[i] + counts[i] - 1, one range after another."""
    owner = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    within = torch.arange(len(owner), device=counts.device) - (counts.cumsum(0) - counts)[owner]
    return starts[owner] + within
