"""Batches of templates, crystals and molecules alike, and their free parameters.

A molecule has space group 0, which stands for no group: its cell is fixed at 1 Å and not periodic, every atom is its
own site at `MOLECULE_SITE`, and the three free parameters of a site are Cartesian coordinates in Å. Samplers of free
parameters therefore handle both kinds.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
from torch import Tensor

from matgen.batch.graphs import Graphs, joined, take_sites
from matgen.chemistry.elements import atomic_volumes
from matgen.runtime.devices import placed
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.lattice import family_tables
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.wyckoff import MOLECULE_SITE, NO_GROUP, wyckoff_table

Template = CrystalTemplate | MoleculeTemplate
"""The discrete half of a material."""

K = TypeVar("K", CrystalTemplate, MoleculeTemplate)


@dataclass(frozen=True)
class TemplateBatch:
    """Templates with their sites concatenated.

    Attributes:
        space_group: 1..230, or 0 for a molecule (n_systems,).
        site_position: row of the Wyckoff table (n_sites,).
        site_element: atomic number (n_sites,).
        site_system: system of each site, ascending (n_sites,).
        graphs: molecular graphs.
        smiles: of each molecule, empty for a crystal; an empty tuple for a batch of crystals.
    """

    space_group: Tensor
    site_position: Tensor
    site_element: Tensor
    site_system: Tensor
    graphs: Graphs
    smiles: tuple[str, ...] = ()

    @classmethod
    def of(cls, templates: Sequence[Template]) -> Self:
        """Concatenate templates."""
        sites = [(p, z, i) for i, template in enumerate(templates) for p, z in _sites(template)]
        position, element, system = torch.tensor(sites, dtype=torch.long).reshape(-1, 3).T.contiguous().unbind()
        groups = [NO_GROUP if isinstance(t, MoleculeTemplate) else t.space_group for t in templates]
        counts = torch.bincount(system, minlength=len(templates)).tolist()
        molecular = [t.graph if isinstance(t, MoleculeTemplate) else None for t in templates]
        names = tuple(t.smiles if isinstance(t, MoleculeTemplate) else "" for t in templates)
        group = torch.tensor(groups, dtype=torch.long)
        return cls(group, position, element, system, Graphs.of(molecular, counts), names if any(names) else ())

    @classmethod
    def of_sites(cls, space_group: Tensor, site_position: Tensor, site_element: Tensor, site_system: Tensor) -> Self:
        """Return crystals from the columns of their sites."""
        graphs = Graphs.none(len(space_group), len(site_system), space_group.device)
        return cls(space_group, site_position, site_element, site_system, graphs)

    @classmethod
    def of_graphs(cls, element: Tensor, system: Tensor, graphs: Graphs, smiles: tuple[str, ...]) -> Self:
        """Return molecules from the columns of their atoms."""
        group = torch.full_like(graphs.pairs, NO_GROUP)
        return cls(group, torch.full_like(element, MOLECULE_SITE), element, system, graphs, smiles)

    def unbatch(self) -> list[Template]:
        """Return the single templates, with the sites of crystals ascending."""
        sites: list[list[tuple[int, int]]] = [[] for _ in range(self.n_systems)]
        rows = zip(self.site_position.tolist(), self.site_element.tolist(), self.site_system.tolist(), strict=True)
        for position, element, system in rows:
            sites[system].append((position, element))
        groups, names = self.space_group.tolist(), self.smiles or ("",) * self.n_systems
        return [
            MoleculeTemplate(name) if group == NO_GROUP else CrystalTemplate(group, tuple(sorted(s)))
            for group, s, name in zip(groups, sites, names, strict=True)
        ]

    @property
    def periodic(self) -> Tensor:
        """Which systems are crystals (n_systems,), bool."""
        return self.space_group != NO_GROUP

    @property
    def n_sites(self) -> Tensor:
        """Sites of each system (n_systems,)."""
        return torch.bincount(self.site_system, minlength=self.n_systems)

    @property
    def n_systems(self) -> int:
        """Number of templates."""
        return len(self.space_group)

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
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
        """Which lattice parameters are free (n_systems, 6)."""
        return family_tables(self.device)[0][self.space_group]

    @property
    def free_coords(self) -> Tensor:
        """Which site parameters are free (n_sites, 3)."""
        return wyckoff_table(self.device).free[self.site_position]

    @property
    def reference_parameter(self) -> Tensor:
        """Lattice parameter (n_systems,) of the cell volume expected of the composition; 0 for molecules."""
        volume = torch.zeros(self.n_systems, dtype=torch.float64, device=self.device)
        per_site = atomic_volumes(self.device)[self.site_element] * self.site_multiplicity
        primitive = wyckoff_table(self.device).primitive[self.space_group]
        conventional = volume.index_add(0, self.site_system, per_site) / torch.linalg.det(primitive)
        return torch.where(self.periodic, conventional.log() / math.sqrt(3), 0.0)

    def select(self, systems: Tensor) -> Self:
        """Return the templates of some systems, by indices that may repeat, in that order."""
        sites, site_system = take_sites(self.site_system, self.n_systems, systems)
        names = tuple(self.smiles[i] for i in systems.tolist()) if self.smiles else ()
        return type(self)(
            self.space_group[systems],
            self.site_position[sites],
            self.site_element[sites],
            site_system,
            self.graphs.select(self.site_system, systems, sites),
            names,
        )

    def to(self, device: torch.device | str) -> Self:
        """Return a copy on another device."""
        return placed(self, device)


@dataclass(frozen=True)
class Geometry:
    """The free parameters of a batch of templates; entries that are not free are zero.

    Attributes:
        lattice: shape (5) and log volume relative to that expected of the composition (n_systems, 6).
        coords: site parameters u on the unit torus for crystals, Cartesian coordinates in Å for molecules (n_sites, 3).
    """

    lattice: Tensor
    coords: Tensor

    def select(self, templates: TemplateBatch, systems: Tensor) -> Self:
        """Return the geometries of some systems of the batch `templates`."""
        sites, _ = take_sites(templates.site_system, templates.n_systems, systems)
        return type(self)(self.lattice[systems], self.coords[sites])

    def to(self, device: torch.device | str) -> Self:
        """Return a copy on another device."""
        return placed(self, device)


def concatenated(parts: Sequence[tuple[TemplateBatch, Geometry]]) -> tuple[TemplateBatch, Geometry]:
    """Concatenate batches."""
    batches, geometries = zip(*parts, strict=True)
    sizes = torch.tensor([0, *(batch.n_systems for batch in batches)]).cumsum(0).tolist()
    names = [batch.smiles or ("",) * batch.n_systems for batch in batches] if any(b.smiles for b in batches) else []
    templates = TemplateBatch(
        torch.cat([batch.space_group for batch in batches]),
        torch.cat([batch.site_position for batch in batches]),
        torch.cat([batch.site_element for batch in batches]),
        torch.cat([batch.site_system + shift for batch, shift in zip(batches, sizes, strict=False)]),
        joined([batch.graphs for batch in batches], [len(batch.site_system) for batch in batches]),
        tuple(name for some in names for name in some),
    )
    lattice = torch.cat([geometry.lattice for geometry in geometries])
    return templates, Geometry(lattice, torch.cat([geometry.coords for geometry in geometries]))


def crystals_of(templates: Iterable[Template]) -> list[CrystalTemplate]:
    """Return templates that must all be crystals.

    Raises:
        TypeError: one is a molecule.
    """
    return _all(templates, CrystalTemplate, "crystals only, got the molecule")


def molecules_of(templates: Iterable[Template]) -> list[MoleculeTemplate]:
    """Return templates that must all be molecules.

    Raises:
        TypeError: one is a crystal.
    """
    return _all(templates, MoleculeTemplate, "molecules only, got the crystal")


def _all(templates: Iterable[Template], kind: type[K], complaint: str) -> list[K]:
    found = list(templates)
    wanted = [template for template in found if isinstance(template, kind)]
    if len(wanted) < len(found):
        raise TypeError(f"expected {complaint} {next(one for one in found if not isinstance(one, kind))}")
    return wanted


def _sites(template: Template) -> Sequence[tuple[int, int]]:
    """Return (position, element) of each site."""
    if isinstance(template, MoleculeTemplate):
        return [(MOLECULE_SITE, z) for z in template.graph.elements.tolist()]
    return template.sites
