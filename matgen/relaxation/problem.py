"""The relaxations of a batch of crystals as minimisations over their free parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Self

import torch
from torch import Tensor

from matgen.relaxation.operations import Operations
from matgen.relaxation.operations import joined as joined_operations
from matgen.relaxation.symmetric import ATOM_STIFFNESS, BULK_MODULUS
from matgen.templates.batch import Geometry, TemplateBatch, concatenated
from matgen.templates.expand import conventional_cell
from matgen.templates.wyckoff import wyckoff_table

SHEAR_MODULUS = BULK_MODULUS * 0.46  # of Poisson's ratio 0.3


@dataclass(frozen=True)
class RelaxationProblems:
    """What is constant in the relaxations of a batch of crystals.

    The free parameters of each crystal, first of its lattice, then of its sites, are a row of a matrix as wide as the
    crystal with the most; unused entries are zero.

    Attributes:
        templates: the discrete halves.
        initial: initial geometries, in float64.
        symmetry: operations on the atoms.
        ceiling: energy in eV/atom above which a relaxation is not worth finishing (n_systems,); infinite for none.
        index: of each structure among those given.
        started: time at which each relaxation began, s.
    """

    templates: TemplateBatch
    initial: Geometry
    symmetry: Operations
    ceiling: Tensor
    index: tuple[int, ...]
    started: tuple[float, ...]

    def select(self, systems: Tensor) -> Self:
        """Return the problems of some systems, by indices."""
        rows = systems.tolist()
        return type(self)(
            self.templates.select(systems),
            self.initial.select(self.templates, systems),
            self.symmetry.select(systems),
            self.ceiling[systems],
            tuple(self.index[i] for i in rows),
            tuple(self.started[i] for i in rows),
        )

    @cached_property
    def n_atoms(self) -> Tensor:
        """Atoms in each primitive cell (n_systems,)."""
        return self.templates.n_atoms

    @cached_property
    def n_free(self) -> Tensor:
        """Free parameters of each crystal (n_systems,)."""
        of_sites = torch.zeros_like(self.n_atoms).index_add(
            0, self.templates.site_system, self.templates.free_coords.sum(1)
        )
        return self.templates.free_lattice.sum(1) + of_sites

    @cached_property
    def width(self) -> int:
        """Free parameters of the crystal with the most."""
        return int(self.n_free.max())

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        """Column of each lattice parameter (n_systems, 6) and coordinate (n_sites, 3); `width` if it is not free."""
        lattice, coords = self.templates.free_lattice, self.templates.free_coords
        owner = self.templates.site_system
        n_lattice, n_coords = lattice.sum(1), coords.sum(1)
        before = (self.n_free - n_lattice).cumsum(0) - (self.n_free - n_lattice)  # free coordinates of earlier systems
        first = n_coords.cumsum(0) - n_coords - before[owner] + n_lattice[owner]
        by_site = first[:, None] + coords.cumsum(1) - 1
        return torch.where(lattice, lattice.cumsum(1) - 1, self.width), torch.where(coords, by_site, self.width)

    def parameters(self, geometry: Geometry) -> Tensor:
        """Return the free entries of lattice parameters and coordinates (n_systems, width)."""
        lattice, coords = self._places
        system = torch.arange(len(lattice), device=lattice.device)[:, None]
        found = geometry.lattice.new_zeros(len(lattice), self.width + 1)
        found = found.index_put((system, lattice), geometry.lattice)
        found = found.index_put((self.templates.site_system[:, None], coords), geometry.coords)
        return found[:, : self.width]

    def geometry(self, x: Tensor) -> Geometry:
        """Return the geometries at free parameters x (n_systems, width)."""
        moved = self.spread(x)
        return Geometry(
            torch.where(self.templates.free_lattice, moved.lattice, self.initial.lattice),
            torch.where(self.templates.free_coords, moved.coords, self.initial.coords),
        )

    def spread(self, x: Tensor) -> Geometry:
        """Return parameters x as lattice parameters and coordinates, zero where they are not free."""
        lattice, coords = self._places
        padded = torch.nn.functional.pad(x, (0, 1))
        return Geometry(padded.gather(1, lattice), padded[self.templates.site_system].gather(1, coords))

    def stiffness(self) -> Tensor:
        """Return a guess of the second derivatives of the energy (n_systems, width, width), eV.

        Each atom is bound to its position with `ATOM_STIFFNESS`; the cell is isotropic, with the lattice parameters as
        its strain. Unused parameters have the unit matrix.
        """
        lattice, coords = self._places
        owner, width = self.templates.site_system, self.width
        primitive = wyckoff_table(owner.device).primitive[self.templates.space_group]
        cells = conventional_cell(self.templates, self.initial.lattice)
        volume = torch.linalg.det(primitive @ cells).abs()
        modulus = volume.new_tensor([2 * SHEAR_MODULUS] * 5 + [3 * BULK_MODULUS])
        found = torch.diag_embed((torch.arange(width + 1, device=owner.device) >= self.n_free[:, None]).to(volume))
        system = torch.arange(len(lattice), device=owner.device)[:, None]
        found = found.index_put((system, lattice, lattice), volume[:, None] * modulus)
        rows, columns = coords[:, :, None].expand(-1, -1, 3), coords[:, None].expand(-1, 3, -1)
        blocks = ATOM_STIFFNESS * self.site_metric(self.initial)
        found = found.index_put((owner[:, None, None], rows, columns), blocks)
        return found[:, :width, :width]

    def max_force(self, geometry: Geometry, by_coords: Tensor) -> Tensor:
        """Return the largest force on an atom (n_systems,), eV/Å.

        The forces f of a symmetric crystal are a combination J a of the directions in which its free parameters u move
        the atoms, and ∂E/∂u = -Jᵀ f, so that |f|² = (∂E/∂u)ᵀ (JᵀJ)⁻¹ ∂E/∂u, shared by the atoms of a site.

        Args:
            geometry: of the crystals.
            by_coords: derivatives in the coordinates (n_sites, 3), eV; zero where not free.
        """
        fixed = torch.diag_embed((~self.templates.free_coords).to(by_coords))
        solved, _ = torch.linalg.solve_ex(self.site_metric(geometry) + fixed, by_coords)
        return self._largest((by_coords * solved).sum(1))

    def length(self, geometry: Geometry, step: Tensor) -> Tensor:
        """Return the largest displacement of an atom (Å) or change of a lattice parameter in a step (n_systems,)."""
        moved = self.spread(step)
        squares = torch.einsum("si,sij,sj->s", moved.coords, self.site_metric(geometry), moved.coords)
        return torch.maximum(moved.lattice.abs().amax(1), self._largest(squares))

    def site_metric(self, geometry: Geometry) -> Tensor:
        """Return JᵀJ = Σ over the atoms of a site of ∂r/∂u_i · ∂r/∂u_j (n_sites, 3, 3), Å²; zero where not free."""
        table = wyckoff_table(geometry.lattice.device)
        first = table.member_offset[self.templates.site_position]
        cells = conventional_cell(self.templates, geometry.lattice)[self.templates.site_system]
        along = table.matrix[first].mT @ cells
        return along @ along.mT * self.templates.site_multiplicity[:, None, None]

    def _largest(self, squares: Tensor) -> Tensor:
        """The largest root mean square over the atoms of a site (n_systems,), of sums over its atoms (n_sites,)."""
        each = (squares.clamp(min=0) / self.templates.site_multiplicity).sqrt()
        return each.new_zeros(len(self.index)).scatter_reduce(0, self.templates.site_system, each, "amax")


def joined(parts: Sequence[RelaxationProblems]) -> RelaxationProblems:
    """Concatenate problems."""
    templates, initial = concatenated([(part.templates, part.initial) for part in parts])
    return RelaxationProblems(
        templates,
        initial,
        joined_operations([part.symmetry for part in parts]),
        torch.cat([part.ceiling for part in parts]),
        tuple(chain.from_iterable(part.index for part in parts)),
        tuple(chain.from_iterable(part.started for part in parts)),
    )
