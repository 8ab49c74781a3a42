"""The neighbour graph of a crystal, reduced to its symmetry-distinct parts.

A network that passes scalars along edges gives equal features to atoms, bonds and angles that the space group maps onto
each other. One of each kind is enough, if sums over neighbours still run over all of them. A crystal of one site in
Fm-3m becomes one atom.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from matgen.batch.neighbors import Edges, neighbors
from matgen.batch.state import State
from matgen.templates.batch import TemplateBatch
from matgen.templates.wyckoff import wyckoff_table

_SPAN = 128
"""Lattice translations of an edge lie within ±64, so that an edge packs into one integer."""


class SymmetryMismatchError(ValueError):
    """Atoms that do not have the symmetry of their template."""


@dataclass(frozen=True)
class Operations:
    """How a space group acts on the atoms of one crystal; independent of the free parameters.

    Attributes:
        atom: image of each atom (n_operations, n_atoms).
        shift: lattice vector from that atom to the image (n_operations, n_atoms, 3).
        rotation: of row vectors of primitive fractional coordinates (n_operations, 3, 3), integers.
        to_representative: an operation that maps each atom to the first one of its site (n_atoms,).
    """

    atom: np.ndarray
    shift: np.ndarray
    rotation: np.ndarray
    to_representative: np.ndarray


@dataclass(frozen=True)
class QuotientGraph:
    """Edges around one atom of each site, and the kinds of bonds and angles among them, of a whole batch.

    Attributes:
        edges: around the representatives.
        centre: site of each edge's centre (n_edges,).
        neighbor: site of each edge's neighbour (n_edges,).
        bond: kind of bond of each edge; an edge and its reverse are of one kind (n_edges,).
        bond_edge: one edge of each kind of bond (n_bonds,).
        angles: site at the apex, kind and edge of the first bond, kind and edge of the second (n_angles, 5); all
            angles at both ends of one bond of each kind, where both bonds are shorter than the angle cutoff.
    """

    edges: Edges
    centre: Tensor
    neighbor: Tensor
    bond: Tensor
    bond_edge: Tensor
    angles: Tensor


def operations(templates: TemplateBatch, state: State) -> list[Operations]:
    """Return the operations of each crystal's space group on its atoms.

    Raises:
        SymmetryMismatchError: the atoms do not have the symmetry of the template.
    """
    site = state.orbits.site_idx.numpy()
    frac = torch.einsum("ni,nij->nj", state.positions, torch.linalg.inv(state.cell)[state.system_idx]).numpy()
    ends = np.cumsum(state.n_atoms.numpy())
    begins = ends - state.n_atoms.numpy()
    return [
        _operations(int(group), frac[begin:end], site[begin:end])
        for group, begin, end in zip(templates.space_group, begins, ends, strict=True)
    ]


def _operations(group: int, frac: np.ndarray, site: np.ndarray) -> Operations:
    table = wyckoff_table()
    general = table.positions_of(group)[-1]
    members = slice(int(table.member_offset[general]), int(table.member_offset[general + 1]))
    primitive = table.primitive[group].numpy()
    back = np.linalg.inv(primitive)
    rotation = np.round(primitive @ table.matrix[members].numpy().transpose(0, 2, 1) @ back)
    moved = frac @ rotation + (table.shift[members].numpy() @ back)[:, None]
    apart = moved[:, :, None] - frac  # (n_operations, n_atoms, n_atoms, 3)
    miss = np.abs(apart - np.round(apart)).max(-1) + (site[:, None] != site)
    atom = miss.argmin(-1)
    if np.take_along_axis(miss, atom[..., None], -1).max() > 1e-3:
        raise SymmetryMismatchError(f"the atoms do not have the symmetry of space group {group}")
    shift = np.round(np.take_along_axis(apart, atom[..., None, None], 2)[:, :, 0])
    first = np.searchsorted(site, site)
    return Operations(atom, shift.astype(np.int64), rotation.astype(np.int64), (atom == first).argmax(0))


def quotient_graph(state: State, symmetry: Sequence[Operations], cutoff: float, angle_cutoff: float) -> QuotientGraph:
    """Return the graph of symmetry-distinct parts of a batch.

    Args:
        state: atoms in the order of their sites, as `expand` gives them.
        symmetry: operations of each system.
        cutoff: longest edge, Å.
        angle_cutoff: longest bond of an angle, Å.
    """
    edges = neighbors(state, cutoff)
    length = edges.vectors(state).detach().norm(dim=1).numpy()
    site = state.orbits.site_idx.numpy()
    centre, neighbor = edges.centre.numpy(), edges.neighbor.numpy()
    offset = np.round(edges.offset.numpy()).astype(np.int64)
    atom_start = np.cumsum(state.n_atoms.numpy()) - state.n_atoms.numpy()
    system = state.system_idx.numpy()[centre]
    edge_end = np.searchsorted(system, np.arange(state.n_systems), side="right")
    bonds, bond_edges, angles = [], [], []
    begin, n_bonds = 0, 0
    for k, known in enumerate(symmetry):
        own = slice(begin, edge_end[k])
        bond, first, angle = _kinds(
            centre[own] - atom_start[k], neighbor[own] - atom_start[k], offset[own], length[own] < angle_cutoff, known
        )
        bonds.append(bond + n_bonds)
        bond_edges.append(first + begin)
        angles.append(angle + np.array([n_bonds, begin, n_bonds, begin]))
        begin, n_bonds = edge_end[k], n_bonds + len(first)
    found = np.concatenate(angles)
    apex = site[centre[found[:, 1]]]
    return QuotientGraph(
        edges,
        torch.from_numpy(site[centre]),
        torch.from_numpy(site[neighbor]),
        torch.from_numpy(np.concatenate(bonds)),
        torch.from_numpy(np.concatenate(bond_edges)),
        torch.from_numpy(np.column_stack([apex, found])),
    )


def _kinds(
    centre: np.ndarray, neighbor: np.ndarray, offset: np.ndarray, short: np.ndarray, known: Operations
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kind of bond of each edge of one system, one edge of each kind, and the angles at it (n_angles, 4)."""
    n_atoms = known.atom.shape[1]
    turned = np.einsum("ei,gij->gej", offset, known.rotation)
    turned += known.shift[:, neighbor] - known.shift[:, centre]
    images = known.atom[:, centre], known.atom[:, neighbor]
    label = np.minimum(_packed(*images, turned, n_atoms), _packed(*images[::-1], -turned, n_atoms)).min(0)
    _, first, bond = np.unique(label, return_index=True, return_inverse=True)
    chosen = first[short[first]]
    other_end = _reversed(centre, neighbor, offset, chosen, known)
    usable = other_end >= 0  # an edge exactly as long as the cutoff may lack its reverse by rounding
    sides = np.concatenate([chosen, other_end[usable]])
    owner = np.concatenate([chosen, chosen[usable]])
    near = np.flatnonzero(short)
    start = np.searchsorted(centre[near], centre[sides], side="left")
    count = np.searchsorted(centre[near], centre[sides], side="right") - start
    row = np.repeat(np.arange(len(sides)), count)
    second = near[np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + start[row]]
    proper = second != sides[row]
    row, second = row[proper], second[proper]
    return bond, first, np.column_stack([bond[owner[row]], sides[row], bond[second], second])


def _reversed(
    centre: np.ndarray, neighbor: np.ndarray, offset: np.ndarray, chosen: np.ndarray, known: Operations
) -> np.ndarray:
    """The edge around a representative that is equivalent to the reverse of each chosen edge; -1 if none."""
    n_atoms = known.atom.shape[1]
    operation = known.to_representative[neighbor[chosen]]
    a, b = neighbor[chosen], centre[chosen]
    turned = np.einsum("ei,eij->ej", -offset[chosen], known.rotation[operation])
    turned += known.shift[operation, b] - known.shift[operation, a]
    wanted = _packed(known.atom[operation, a], known.atom[operation, b], turned, n_atoms)
    keys = _packed(centre, neighbor, offset, n_atoms)
    order = np.argsort(keys)
    place = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    found = order[place]
    return np.where(keys[found] == wanted, found, -1)


def _packed(centre: np.ndarray, neighbor: np.ndarray, offset: np.ndarray, n_atoms: int) -> np.ndarray:
    """One integer for each edge."""
    far = offset + _SPAN // 2
    return ((centre * n_atoms + neighbor) * _SPAN**3) + (far[..., 0] * _SPAN + far[..., 1]) * _SPAN + far[..., 2]
