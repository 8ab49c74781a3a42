"""The space groups of a batch of crystals, as permutations of their atoms."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from matgen.batch.graphs import take_rows
from matgen.batch.state import State
from matgen.templates.batch import TemplateBatch
from matgen.templates.wyckoff import wyckoff_table

MOST_MISS = 1e-3
"""Fractional distance within which the image of an atom must be an atom."""


@dataclass(frozen=True)
class Operations:
    """How space groups act on the atoms of a batch; independent of the free parameters.

    The rows of a system follow those of the one before; its n_operations × n_atoms images are listed operation by
    operation.

    Attributes:
        n_operations: of each system, without centring translations (n_systems,).
        n_atoms: of each system (n_systems,).
        rotation: of row vectors of primitive fractional coordinates (n_operations of all, 3, 3), integers.
        image: of each atom under each operation, counted within the system (n_images,).
        shift: lattice vector from that atom to the image (n_images, 3).
    """

    n_operations: Tensor
    n_atoms: Tensor
    rotation: Tensor
    image: Tensor
    shift: Tensor

    @property
    def first(self) -> Tensor:
        """First operation of each system (n_systems,)."""
        return _starts(self.n_operations)

    @property
    def first_image(self) -> Tensor:
        """First image of each system (n_systems,)."""
        return _starts(self.n_operations * self.n_atoms)

    @property
    def system(self) -> Tensor:
        """System of each operation (n_operations of all,)."""
        return _owners(self.n_operations)

    def select(self, systems: Tensor) -> Self:
        """Return the operations of some systems, by indices."""
        rows, _ = take_rows(self.first, self.n_operations, systems)
        images, _ = take_rows(self.first_image, self.n_operations * self.n_atoms, systems)
        counts = self.n_operations[systems], self.n_atoms[systems]
        return type(self)(*counts, self.rotation[rows], self.image[images], self.shift[images])


def joined(parts: Sequence[Operations]) -> Operations:
    """Concatenate the operations of several batches."""
    return Operations(
        torch.cat([part.n_operations for part in parts]),
        torch.cat([part.n_atoms for part in parts]),
        torch.cat([part.rotation for part in parts]),
        torch.cat([part.image for part in parts]),
        torch.cat([part.shift for part in parts]),
    )


def operations(templates: TemplateBatch, state: State) -> tuple[Operations, Tensor]:
    """Return the operations of each crystal's space group on its atoms.

    Args:
        templates: crystals.
        state: their atoms, as `expand` gives them.

    Returns:
        The operations, and whether the atoms of each crystal have the symmetry of its template (n_systems,), bool;
        images are meaningless where they have not.
    """
    table = wyckoff_table(templates.device)
    general = table.group_offset[templates.space_group] - 1
    n_operations, n_atoms = table.multiplicity[general], state.n_atoms
    system = _owners(n_operations)
    member = table.member_offset[general][system] + _ranks(n_operations)
    primitive = table.primitive[templates.space_group][system]
    back = torch.linalg.inv_ex(primitive).inverse
    rotation = (primitive @ table.matrix[member].mT @ back).round()
    translation = torch.einsum("gi,gij->gj", table.shift[member], back)

    cell = state.cell.detach().double()
    to_frac = torch.linalg.inv_ex(cell).inverse
    frac = torch.einsum("ni,nij->nj", state.positions.detach().double(), to_frac[state.system_idx])
    operation = torch.repeat_interleave(n_atoms[system])
    atom = _starts(n_atoms)[system][operation] + _ranks(n_atoms[system])
    moved = torch.einsum("ni,nij->nj", frac[atom], rotation[operation]) + translation[operation]
    image, miss = _nearest(moved, atom, frac, state)
    shift = (moved - frac[image]).round().long()
    owner = system[operation]
    largest = miss.new_zeros(state.n_systems).scatter_reduce(0, owner, miss, "amax")
    found = Operations(n_operations, n_atoms, rotation.long(), image - _starts(n_atoms)[owner], shift)
    return found, largest <= MOST_MISS


def _nearest(moved: Tensor, atom: Tensor, frac: Tensor, state: State) -> tuple[Tensor, Tensor]:
    """The atom of the same site that is closest to each image, modulo lattice vectors, and its distance."""
    multiplicity, site = state.orbits.multiplicity, state.orbits.site_idx[atom]
    row = torch.repeat_interleave(multiplicity[site])
    other = state.orbits.representatives[site][row] + _ranks(multiplicity[site])
    apart = moved[row] - frac[other]
    miss = (apart - apart.round()).abs().amax(1)
    least = miss.new_full((len(atom),), torch.inf).scatter_reduce(0, row, miss, "amin")
    closest = torch.where(miss == least[row], other, len(frac))
    first = torch.full_like(atom, len(frac)).scatter_reduce(0, row, closest, "amin")
    return first.clamp(max=len(frac) - 1), least.nan_to_num(nan=torch.inf)


def _starts(counts: Tensor) -> Tensor:
    return counts.cumsum(0) - counts


def _owners(counts: Tensor) -> Tensor:
    """0 repeated counts[0] times, 1 repeated counts[1] times, and so on."""
    return torch.repeat_interleave(counts)


def _ranks(counts: Tensor) -> Tensor:
    """0 to counts[0] - 1, 0 to counts[1] - 1, and so on."""
    owner = _owners(counts)
    return torch.arange(len(owner), device=counts.device) - _starts(counts)[owner]
