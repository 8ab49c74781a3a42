"""The two halves of a crystal: a discrete template and its free numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from matgen.devices import placed
from matgen.elements import SYMBOLS, atomic_volumes
from matgen.templates.lattice import family_tables
from matgen.templates.wyckoff import multiplicities, wyckoff_table


@dataclass(frozen=True)
class CrystalTemplate:
    """Space group and occupied Wyckoff positions of one crystal.

    Attributes:
        space_group: 1..230.
        sites: (row of the Wyckoff table, atomic number) of each site, ascending.
    """

    space_group: int
    sites: tuple[tuple[int, int], ...]

    @property
    def composition(self) -> dict[int, int]:
        """Atoms of each element in the primitive cell, by atomic number."""
        atoms, counts = multiplicities(), dict.fromkeys((z for _, z in self.sites), 0)
        for position, element in self.sites:
            counts[element] += atoms[position]
        return dict(sorted(counts.items()))

    @property
    def n_atoms(self) -> int:
        """Atoms in the primitive cell."""
        return sum(multiplicities()[position] for position, _ in self.sites)

    @property
    def formula(self) -> str:
        """Formula of the primitive cell in order of atomic number, such as `Na1Cl1`."""
        return "".join(f"{SYMBOLS[z]}{n}" for z, n in self.composition.items())

    def __str__(self) -> str:
        table = wyckoff_table()
        return f"{self.space_group}: " + ", ".join(f"{table.label(p)} {SYMBOLS[z]}" for p, z in self.sites)


@dataclass(frozen=True)
class TemplateBatch:
    """Many templates, their sites concatenated.

    Attributes:
        space_group: 1..230 (n_systems,).
        site_position: row of the Wyckoff table (n_sites,).
        site_element: atomic number (n_sites,).
        site_system: system of each site, ascending (n_sites,).
    """

    space_group: Tensor
    site_position: Tensor
    site_element: Tensor
    site_system: Tensor

    @classmethod
    def of(cls, templates: Sequence[CrystalTemplate]) -> Self:
        """Concatenate templates."""
        sites = [(p, z, i) for i, template in enumerate(templates) for p, z in template.sites]
        position, element, system = torch.tensor(sites, dtype=torch.long).reshape(-1, 3).T.contiguous().unbind()
        return cls(torch.tensor([t.space_group for t in templates], dtype=torch.long), position, element, system)

    def unbatch(self) -> list[CrystalTemplate]:
        """The single templates again, sites ascending."""
        sites: list[list[tuple[int, int]]] = [[] for _ in range(self.n_systems)]
        rows = zip(self.site_position.tolist(), self.site_element.tolist(), self.site_system.tolist(), strict=True)
        for position, element, system in rows:
            sites[system].append((position, element))
        groups = self.space_group.tolist()
        return [CrystalTemplate(group, tuple(sorted(s))) for group, s in zip(groups, sites, strict=True)]

    @property
    def n_systems(self) -> int:
        """Number of templates."""
        return len(self.space_group)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.space_group.device

    @property
    def site_multiplicity(self) -> Tensor:
        """Atoms of each site in the primitive cell (n_sites,)."""
        return wyckoff_table(self.device).multiplicity[self.site_position]

    @property
    def n_atoms(self) -> Tensor:
        """Atoms in each primitive cell (n_systems,)."""
        zeros = torch.zeros_like(self.space_group)
        return zeros.index_add(0, self.site_system, self.site_multiplicity)

    @property
    def free_lattice(self) -> Tensor:
        """Which lattice numbers are free (n_systems, 6)."""
        return family_tables(self.device)[0][self.space_group - 1]

    @property
    def free_coords(self) -> Tensor:
        """Which site numbers are free (n_sites, 3)."""
        return wyckoff_table(self.device).free[self.site_position]

    @property
    def reference_number(self) -> Tensor:
        """Lattice number of the conventional cell volume that the composition suggests (n_systems,)."""
        volume = torch.zeros(self.n_systems, dtype=torch.float64, device=self.device)
        per_site = atomic_volumes(self.device)[self.site_element] * self.site_multiplicity
        primitive = wyckoff_table(self.device).primitive[self.space_group - 1]
        return (volume.index_add(0, self.site_system, per_site) / torch.linalg.det(primitive)).log() / math.sqrt(3)

    def select(self, systems: Tensor) -> Self:
        """The templates of these systems (indices, repeats allowed), in that order."""
        sites, site_system = take_sites(self.site_system, self.n_systems, systems)
        return type(self)(self.space_group[systems], self.site_position[sites], self.site_element[sites], site_system)

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return placed(self, device)


@dataclass(frozen=True)
class Geometry:
    """The free numbers of a batch of templates; entries that are not free are zero.

    Attributes:
        lattice: shape (5) and log volume relative to what the composition suggests (n_systems, 6).
        coords: site numbers u on the unit torus (n_sites, 3).
    """

    lattice: Tensor
    coords: Tensor

    def select(self, templates: TemplateBatch, systems: Tensor) -> Self:
        """The geometries of these systems of the batch that `templates` describes."""
        sites, _ = take_sites(templates.site_system, templates.n_systems, systems)
        return type(self)(self.lattice[systems], self.coords[sites])

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return placed(self, device)


def concatenated(parts: Sequence[tuple[TemplateBatch, Geometry]]) -> tuple[TemplateBatch, Geometry]:
    """Batches one after another."""
    batches, geometries = zip(*parts, strict=True)
    sizes = torch.tensor([0, *(batch.n_systems for batch in batches)]).cumsum(0).tolist()
    templates = TemplateBatch(
        torch.cat([batch.space_group for batch in batches]),
        torch.cat([batch.site_position for batch in batches]),
        torch.cat([batch.site_element for batch in batches]),
        torch.cat([batch.site_system + shift for batch, shift in zip(batches, sizes, strict=False)]),
    )
    lattice = torch.cat([geometry.lattice for geometry in geometries])
    return templates, Geometry(lattice, torch.cat([geometry.coords for geometry in geometries]))


def take_sites(site_system: Tensor, n_systems: int, systems: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the sites of chosen systems, and the new system of each."""
    counts = torch.bincount(site_system, minlength=n_systems)
    starts = counts.cumsum(0) - counts
    chosen = counts[systems]
    new_system = torch.repeat_interleave(torch.arange(len(systems), device=counts.device), chosen)
    within = torch.arange(len(new_system), device=counts.device) - (chosen.cumsum(0) - chosen)[new_system]
    return starts[systems][new_system] + within, new_system
