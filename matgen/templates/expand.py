"""Expansion of a template and its free parameters into the atoms of the primitive cell, or of the molecule."""

from dataclasses import replace

import torch
from torch import Tensor

from matgen.batch.graphs import Graphs
from matgen.batch.state import Orbits, State
from matgen.runtime.devices import per_device
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.lattice import family_tables, parameters_to_lattice
from matgen.templates.wyckoff import wyckoff_table


@per_device
def cartesian_rotations() -> Tensor:
    """Return the rotation from the first member of each position to each member (n_members, 3, 3), on column vectors.

    A cell exp(S) whose S obeys the crystal family commutes with the rotations of the group, so these do not depend on
    the free lattice parameters.
    """
    table = wyckoff_table()
    cell = parameters_to_lattice(family_tables()[1])  # (231, 3, 3)
    group = torch.repeat_interleave(table.space_group, table.multiplicity)
    return cell[group].mT @ table.rotation @ torch.linalg.inv(cell[group].mT)


def conventional_cell(templates: TemplateBatch, lattice: Tensor) -> Tensor:
    """Return conventional cells (n_systems, 3, 3) in Å from the lattice parameters of a `Geometry`."""
    mask, fixed = (t[templates.space_group] for t in family_tables(lattice.device))
    parameters = torch.where(mask, lattice, fixed.to(lattice.dtype))
    shift = torch.zeros_like(parameters)
    shift[:, 5] = templates.reference_parameter.to(lattice.dtype)
    return parameters_to_lattice(parameters + shift)


def expand(templates: TemplateBatch, geometry: Geometry) -> State:
    """Return the atoms of the primitive cells, differentiable in the geometry.

    Args:
        templates: templates to expand.
        geometry: lattice (n_systems, 6) and coords (n_sites, 3).

    Returns:
        A state with atoms in the order of the sites, the first member of each site first.
    """
    device, dtype = geometry.lattice.device, geometry.lattice.dtype
    table = wyckoff_table(device)
    cell = conventional_cell(templates, geometry.lattice)
    multiplicity = templates.site_multiplicity
    first = multiplicity.cumsum(0) - multiplicity
    site_idx = torch.repeat_interleave(torch.arange(len(multiplicity), device=device), multiplicity)
    within = torch.arange(len(site_idx), device=device) - first[site_idx]
    member = table.member_offset[templates.site_position][site_idx] + within
    system_idx = templates.site_system[site_idx]
    coords = torch.where(templates.free_coords, geometry.coords, 0.0)
    matrix, shift = table.matrix[member].to(dtype), table.shift[member].to(dtype)
    frac = torch.einsum("nij,nj->ni", matrix, coords[site_idx]) + shift
    return State(
        positions=torch.einsum("ni,nij->nj", frac, cell[system_idx]),
        atomic_numbers=templates.site_element[site_idx],
        cell=table.primitive[templates.space_group].to(dtype) @ cell,
        pbc=templates.periodic[:, None].expand(-1, 3),
        system_idx=system_idx,
        orbits=Orbits(site_idx, first, cartesian_rotations(device)[member].to(dtype), multiplicity),
        graphs=_of_atoms(templates.graphs, first, site_idx),
    )


def _of_atoms(graphs: Graphs, first: Tensor, site_idx: Tensor) -> Graphs:
    """Return the graphs with atom indices instead of site indices."""
    return replace(graphs, charge=graphs.charge[site_idx], stereo_sites=first[graphs.stereo_sites])


def unit_directions(templates: TemplateBatch, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Return how a representative atom moves with each of its free parameters.

    Returns:
        Unit Cartesian directions (n_sites, 3 parameters, 3) and the length in Å of one unit of each parameter
        (n_sites, 3), which is 1 if the parameter is not free.
    """
    table = wyckoff_table(geometry.lattice.device)
    cell = conventional_cell(templates, geometry.lattice)
    first = table.member_offset[templates.site_position]
    matrix = table.matrix[first].to(geometry.lattice.dtype)
    directions = torch.einsum("sij,sik->sjk", matrix, cell[templates.site_system])
    length = torch.where(templates.free_coords, directions.norm(dim=-1), 1.0)
    return directions / length.unsqueeze(-1), length


def wrapped(templates: TemplateBatch, geometry: Geometry) -> Geometry:
    """Return the geometry with the coords of crystals wrapped into [0, 1)."""
    return replace(geometry, coords=geometry.coords - turns(templates, geometry.coords.floor()))


def turns(templates: TemplateBatch, whole: Tensor) -> Tensor:
    """Return integer turns of the torus (n_sites, 3), zero for molecules."""
    return torch.where(templates.periodic[templates.site_system, None], whole, 0.0)
