"""Conversion between pymatgen structures, batches of atoms, and templates."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from pymatgen.core.structure import Molecule, Structure
from torch import Tensor

from matgen.batch.graphs import Graphs
from matgen.batch.state import State
from matgen.structures.candidate import Material, kind_of
from matgen.templates.batch import Geometry, Template, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.lattice import lattice_to_parameters
from matgen.templates.molecule import MolecularGraph, MoleculeTemplate
from matgen.templates.symmetry import NoTemplateError, check_atoms, describe
from matgen.templates.wyckoff import wyckoff_table


def structures(state: State) -> list[Material]:
    """Return the systems of a batch as pymatgen objects: crystals wrapped into the cell, molecules with a charge."""
    counts = state.n_atoms.tolist()
    positions = state.positions.detach().double().cpu().split(counts)
    atomic_numbers = state.atomic_numbers.cpu().split(counts)
    charges = (torch.zeros_like(state.atomic_numbers) if state.graphs is None else state.graphs.charge).cpu()
    cells = state.cell.detach().double().cpu().numpy()
    return [
        Structure(cell, z.numpy(), x.numpy(), coords_are_cartesian=True, to_unit_cell=True)
        if periodic
        else Molecule(z.tolist(), x.numpy(), charge=int(charge.sum()))
        for cell, z, x, periodic, charge in zip(
            cells, atomic_numbers, positions, state.pbc.any(1).tolist(), charges.split(counts), strict=True
        )
    ]


def state_of(
    materials: Sequence[Material], dtype: torch.dtype = torch.float32, *, templates: Sequence[Template | str] = ()
) -> State:
    """Return crystals and molecules as one batch without symmetry.

    Args:
        materials: crystals and molecules.
        dtype: of positions and cells.
        templates: template or SMILES of each, with the atoms of a molecule in the order of its graph. Without them the
            state has no molecular graphs; those of crystals are ignored.

    Raises:
        ValueError: the atoms of a molecule are not those of its template, in the same order.
    """
    counts = [len(material) for material in materials]
    state = State.of(
        positions=torch.cat([_tensor(material.cart_coords, dtype) for material in materials]),
        atomic_numbers=torch.tensor([z for material in materials for z in material.atomic_numbers]),
        cell=torch.stack([_cell(material, dtype) for material in materials]),
        pbc=torch.tensor([[kind_of(material) == "crystal"] * 3 for material in materials]),
        system_idx=torch.repeat_interleave(torch.arange(len(materials)), torch.tensor(counts)),
    )
    if not templates:
        return state
    graphs = [_graph(material, template) for material, template in zip(materials, templates, strict=True)]
    return replace(state, graphs=Graphs.of(graphs, counts))


def _cell(material: Material, dtype: torch.dtype) -> Tensor:
    """Return row vectors (3, 3), Å; for a molecule the identity."""
    return torch.eye(3, dtype=dtype) if isinstance(material, Molecule) else _tensor(material.lattice.matrix, dtype)


def _graph(material: Material, template: Template | str) -> MolecularGraph | None:
    """Return the graph of a molecule, whose atoms must be in its order; None for a crystal."""
    if not isinstance(material, Molecule):
        return None
    graph = MoleculeTemplate(str(template)).graph
    if graph.elements.tolist() != list(material.atomic_numbers):
        raise ValueError(f"expected the atoms of {template} in the order of its graph, got {material.formula}")
    return graph


def described(crystal: Structure, symprec: float = 0.1) -> tuple[CrystalTemplate, Geometry]:
    """Return the template and the free parameters of a structure.

    Raises:
        NoTemplateError: its symmetry is not found.
    """
    found = describe(crystal.lattice.matrix, crystal.frac_coords, np.array(crystal.atomic_numbers), symprec)
    lattice, coords = torch.from_numpy(found.lattice), torch.from_numpy(found.coords)
    return found.template, Geometry(lattice[None].float(), coords.float())


def template_of(structure: Structure) -> CrystalTemplate | None:
    """Return the template of a structure; None if its symmetry cannot be found, or it has an unknown element."""
    try:
        return described(structure)[0]
    except NoTemplateError:
        return None


def without_symmetry(crystal: Structure) -> tuple[CrystalTemplate, Geometry]:
    """Return the template in P1, every atom its own site; cell and atoms are unchanged up to a rotation.

    Raises:
        NoTemplateError: the volume of an element is unknown.
    """
    check_atoms(np.array(crystal.atomic_numbers))
    order = np.argsort(crystal.atomic_numbers, kind="stable")
    general = wyckoff_table().positions_of(1)[-1]
    template = CrystalTemplate(1, tuple((general, int(crystal.atomic_numbers[i])) for i in order))
    lattice = lattice_to_parameters(torch.tensor(crystal.lattice.matrix))
    lattice[5] -= TemplateBatch.of([template]).reference_parameter[0]
    return template, Geometry(lattice[None].float(), _tensor(crystal.frac_coords[order], torch.float32))


def _tensor(array: object, dtype: torch.dtype) -> Tensor:
    return torch.tensor(array, dtype=dtype)  # a copy: arrays of pymatgen are read-only
