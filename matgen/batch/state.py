"""Batches of atomic systems as plain tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Self

import torch
from torch import Tensor

from matgen.batch.graphs import Graphs, take_sites
from matgen.runtime.devices import placed


@dataclass(frozen=True)
class Orbits:
    """The symmetry-distinct sites of a batch, and the symmetry images of each.

    Attributes:
        site_idx: site of each atom (n_atoms,).
        representatives: one atom of each site (n_sites,).
        rotations: Cartesian rotation R from the representative to the atom, acting on column vectors
            (n_atoms, 3, 3): a vector feature v of the representative is R v at the atom.
        multiplicity: atoms of each site (n_sites,).
    """

    site_idx: Tensor
    representatives: Tensor
    rotations: Tensor
    multiplicity: Tensor

    @classmethod
    def trivial(cls, positions: Tensor) -> Self:
        """Return orbits without symmetry: every atom is its own site."""
        n = len(positions)
        index = torch.arange(n, device=positions.device)
        identity = torch.eye(3, dtype=positions.dtype, device=positions.device).expand(n, 3, 3)
        return cls(index, index, identity, torch.ones_like(index))


@dataclass(frozen=True)
class State:
    """Crystals and molecules of one batch, concatenated over systems.

    Attributes:
        positions: Cartesian (n_atoms, 3), Å.
        atomic_numbers: (n_atoms,).
        cell: row vectors (n_systems, 3, 3), Å.
        pbc: periodic directions (n_systems, 3), bool.
        system_idx: system of each atom, ascending (n_atoms,).
        orbits: symmetry-distinct sites of the batch.
        graphs: molecular graphs, atom by atom; None if unknown.
    """

    positions: Tensor
    atomic_numbers: Tensor
    cell: Tensor
    pbc: Tensor
    system_idx: Tensor
    orbits: Orbits
    graphs: Graphs | None = None

    @classmethod
    def of(cls, positions: Tensor, atomic_numbers: Tensor, cell: Tensor, pbc: Tensor, system_idx: Tensor) -> Self:
        """Return a state without symmetry."""
        return cls(positions, atomic_numbers, cell, pbc, system_idx, Orbits.trivial(positions))

    @property
    def n_systems(self) -> int:
        """Number of systems."""
        return len(self.cell)

    @property
    def n_atoms(self) -> Tensor:
        """Atoms of each system (n_systems,)."""
        return torch.bincount(self.system_idx, minlength=self.n_systems)

    @property
    def volume(self) -> Tensor:
        """Cell volume of each system (n_systems,), Å³."""
        return torch.linalg.det(self.cell).abs()

    @property
    def site_system(self) -> Tensor:
        """System of each symmetry-distinct site (n_sites,)."""
        return self.system_idx[self.orbits.representatives]

    def select(self, systems: Tensor) -> Self:
        """Return some systems, by indices without repeats, in that order."""
        atoms, system_idx = take_sites(self.system_idx, self.n_systems, systems)
        sites, _ = take_sites(self.site_system, self.n_systems, systems)
        new_atom, new_site = _places(atoms, len(self.positions)), _places(sites, len(self.site_system))
        orbits = Orbits(
            new_site[self.orbits.site_idx[atoms]],
            new_atom[self.orbits.representatives[sites]],
            self.orbits.rotations[atoms],
            self.orbits.multiplicity[sites],
        )
        return type(self)(
            self.positions[atoms],
            self.atomic_numbers[atoms],
            self.cell[systems],
            self.pbc[systems],
            system_idx,
            orbits,
            None if self.graphs is None else self.graphs.select(self.system_idx, systems, atoms),
        )

    def without_symmetry(self) -> Self:
        """Return the same atoms, each its own site."""
        return replace(self, orbits=Orbits.trivial(self.positions))

    def to(self, device: torch.device | str) -> Self:
        """Return a copy on another device."""
        return placed(self, device)


def concatenated(states: Sequence[State]) -> State:
    """Concatenate batches of crystals; molecular graphs are dropped."""
    atoms = _offsets([len(s.positions) for s in states])
    sites = _offsets([len(s.orbits.representatives) for s in states])
    systems = _offsets([s.n_systems for s in states])
    orbits = Orbits(
        torch.cat([s.orbits.site_idx + start for s, start in zip(states, sites, strict=True)]),
        torch.cat([s.orbits.representatives + start for s, start in zip(states, atoms, strict=True)]),
        torch.cat([s.orbits.rotations for s in states]),
        torch.cat([s.orbits.multiplicity for s in states]),
    )
    return State(
        torch.cat([s.positions for s in states]),
        torch.cat([s.atomic_numbers for s in states]),
        torch.cat([s.cell for s in states]),
        torch.cat([s.pbc for s in states]),
        torch.cat([s.system_idx + start for s, start in zip(states, systems, strict=True)]),
        orbits,
    )


def _offsets(counts: Sequence[int]) -> list[int]:
    """Return the first index of each of several concatenated parts."""
    return [0, *accumulate(counts)][:-1]


def _places(rows: Tensor, n: int) -> Tensor:
    """Return the new index of each of n old rows; meaningless for rows that are not chosen."""
    return rows.new_zeros(n).index_copy(0, rows, torch.arange(len(rows), device=rows.device))
