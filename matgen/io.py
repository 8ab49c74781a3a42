"""The only door to other packages' structures."""

import numpy as np
import torch
from pymatgen.core.structure import Structure
from torch import Tensor

from matgen.state import State
from matgen.templates.crystal import CrystalTemplate, Geometry, TemplateBatch
from matgen.templates.lattice import lattice_to_numbers
from matgen.templates.symmetry import check_atoms, describe
from matgen.templates.wyckoff import wyckoff_table


def structures(state: State) -> list[Structure]:
    """The periodic systems of a batch as pymatgen structures, coordinates in the cell."""
    counts = state.n_atoms.tolist()
    positions = state.positions.detach().double().cpu().split(counts)
    numbers = state.atomic_numbers.cpu().split(counts)
    cells = state.cell.detach().double().cpu().numpy()
    return [
        Structure(cell, z.numpy(), x.numpy(), coords_are_cartesian=True, to_unit_cell=True)
        for cell, z, x in zip(cells, numbers, positions, strict=True)
    ]


def state_of(crystals: list[Structure], dtype: torch.dtype = torch.float32) -> State:
    """Structures as one batch of which no symmetry is known."""
    counts = torch.tensor([len(crystal) for crystal in crystals])
    return State.of(
        positions=torch.cat([_tensor(crystal.cart_coords, dtype) for crystal in crystals]),
        atomic_numbers=torch.tensor([z for crystal in crystals for z in crystal.atomic_numbers]),
        cell=torch.stack([_tensor(crystal.lattice.matrix, dtype) for crystal in crystals]),
        pbc=torch.ones(len(crystals), 3, dtype=torch.bool),
        system_idx=torch.repeat_interleave(torch.arange(len(crystals)), counts),
    )


def described(crystal: Structure, symprec: float = 0.1) -> tuple[CrystalTemplate, Geometry]:
    """Template and free numbers of a structure.

    Raises:
        NoTemplateError: its symmetry could not be found.
    """
    found = describe(crystal.lattice.matrix, crystal.frac_coords, np.array(crystal.atomic_numbers), symprec)
    lattice, coords = torch.from_numpy(found.lattice), torch.from_numpy(found.coords)
    return found.template, Geometry(lattice[None].float(), coords.float())


def without_symmetry(crystal: Structure) -> tuple[CrystalTemplate, Geometry]:
    """The same as in P1, every atom a site of its own, cell and atoms as they are but for a rotation.

    Raises:
        NoTemplateError: it holds an element whose volume is unknown.
    """
    check_atoms(np.array(crystal.atomic_numbers))
    order = np.argsort(crystal.atomic_numbers, kind="stable")
    general = wyckoff_table().positions_of(1)[-1]
    template = CrystalTemplate(1, tuple((general, int(crystal.atomic_numbers[i])) for i in order))
    lattice = lattice_to_numbers(torch.tensor(crystal.lattice.matrix))
    lattice[5] -= TemplateBatch.of([template]).reference_number[0]
    return template, Geometry(lattice[None].float(), _tensor(crystal.frac_coords[order], torch.float32))


def _tensor(array: object, dtype: torch.dtype) -> Tensor:
    return torch.tensor(array, dtype=dtype)  # a copy: pymatgen hands out arrays that cannot be written
