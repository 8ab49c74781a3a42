"""The neighbour graphs of crystals, reduced to their symmetry-distinct parts.

A network that passes scalars along edges gives equal features to atoms, bonds and angles that the space group maps onto
each other. One of each kind is enough, if sums over neighbours weight it by the number of its images. A crystal of one
site in Fm-3m becomes one atom with a handful of edges. All crystals of a batch are reduced together, on the device of
the state.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from matgen.batch.neighbors import Edges, neighbors
from matgen.batch.state import State
from matgen.relaxation.operations import Operations

_SPAN = 128
"""Lattice translations of an edge lie within ±64, so that an edge packs into one integer."""


@dataclass(frozen=True)
class QuotientGraph:
    """Kinds of edges, bonds and angles of a batch; an edge and its reverse are one bond.

    Attributes:
        edges: those that `bond_edge` and `angle_edges` name, around one atom of each site.
        centre: site from which each kind of edge begins (n_kinds,).
        neighbor: site at which it ends (n_kinds,).
        bond: its bond (n_kinds,).
        count: edges of this kind around the atom (n_kinds,).
        bond_edge: one edge of each bond (n_bonds,).
        apex: site of each kind of angle (n_angles,).
        angle_bonds: first and second bond (n_angles, 2), both shorter than the angle cutoff.
        angle_edges: edges that enclose one angle of this kind (n_angles, 2).
        angle_count: angles of this kind at the two ends of one first bond (n_angles,).
    """

    edges: Edges
    centre: Tensor
    neighbor: Tensor
    bond: Tensor
    count: Tensor
    bond_edge: Tensor
    apex: Tensor
    angle_bonds: Tensor
    angle_edges: Tensor
    angle_count: Tensor


def quotient_graph(state: State, symmetry: Operations, cutoff: float, angle_cutoff: float) -> QuotientGraph:
    """Return the graph of symmetry-distinct parts of a batch.

    Args:
        state: atoms in the order of their sites, as `expand` gives them.
        symmetry: operations of each system.
        cutoff: longest edge, Å.
        angle_cutoff: longest bond of an angle, Å.
    """
    edges = neighbors(state, cutoff)
    length = edges.vectors(state).detach().norm(dim=1)
    images = _Images.of(state, edges, symmetry)
    n_edges = len(edges.centre)
    label, kind, count = torch.unique(images.lowest(images.key), return_inverse=True, return_counts=True)
    edge = _first(kind, len(label), n_edges)  # one of each kind
    reverse = images.lowest(images.reverse)[edge]
    both, bond = torch.unique(torch.minimum(label, reverse), return_inverse=True)
    first, second, angle_count = _angles(state, edges, length < angle_cutoff, (kind, edge, label), images)
    bond_edge, angle_edges = edge[_first(bond, len(both), len(edge))], torch.stack([first, second], dim=1)
    used, place = torch.unique(torch.cat([bond_edge, angle_edges.ravel()]), return_inverse=True)
    site = state.orbits.site_idx
    ends = 1 + (label == reverse)[kind[first]].long()  # the angles at the other end are of the same kinds
    return QuotientGraph(
        edges=Edges(edges.centre[used], edges.neighbor[used], edges.offset[used]),
        centre=site[edges.centre[edge]],
        neighbor=site[edges.neighbor[edge]],
        bond=bond,
        count=count,
        bond_edge=place[: len(both)],
        apex=site[edges.centre[first]],
        angle_bonds=torch.stack([bond[kind[first]], bond[kind[second]]], dim=1),
        angle_edges=place[len(both) :].reshape(-1, 2),
        angle_count=angle_count * ends,
    )


@dataclass(frozen=True)
class _Images:
    """Images of each edge under the operations of its system, one row for each pair, edge by edge.

    Attributes:
        edge: of each row (n_rows,).
        start: first row of each edge (n_edges,).
        key: an integer for each image of an edge (n_rows,), and of its reverse.
        reverse: the same of its reverse.
    """

    edge: Tensor
    start: Tensor
    key: Tensor
    reverse: Tensor

    @classmethod
    def of(cls, state: State, edges: Edges, symmetry: Operations) -> "_Images":
        system = state.system_idx[edges.centre]
        rows = symmetry.n_operations[system]
        edge = torch.repeat_interleave(rows)
        start = rows.cumsum(0) - rows
        rank = torch.arange(len(edge), device=edge.device) - start[edge]
        system = system[edge]
        first_atom = state.n_atoms.cumsum(0) - state.n_atoms
        table = symmetry.first_image[system] + rank * symmetry.n_atoms[system] - first_atom[system]
        centre, neighbor = table + edges.centre[edge], table + edges.neighbor[edge]
        digits = symmetry.image.new_tensor([_SPAN**2, _SPAN, 1])  # a lattice vector is packed by a product with these
        turning = (symmetry.rotation * digits).sum(2)[symmetry.first[system] + rank]
        shift = (symmetry.shift * digits).sum(1)
        offset = (edges.offset.round().long()[edge] * turning).sum(1) + shift[neighbor] - shift[centre]
        a, b = symmetry.image[centre] + first_atom[system], symmetry.image[neighbor] + first_atom[system]
        n, middle = len(state.system_idx), int(_SPAN // 2 * (_SPAN**2 + _SPAN + 1))
        key = (a * n + b) * _SPAN**3 + middle + offset
        return cls(edge, start, key, (b * n + a) * _SPAN**3 + middle - offset)

    def lowest(self, key: Tensor) -> Tensor:
        """The lowest key among the images of each edge (n_edges,)."""
        return _lowest(self.edge, key, len(self.start))


def _angles(
    state: State, edges: Edges, short: Tensor, kinds: tuple[Tensor, Tensor, Tensor], images: _Images
) -> tuple[Tensor, Tensor, Tensor]:
    """First and second edge of one angle of each kind, and the number of such angles with the same first edge.

    Angles with a common first edge are of one kind if an operation that keeps this edge maps their second edges onto
    each other: then the lowest images of the second edge, under the operations that give the first its lowest image,
    are equal. `kinds` holds the kind of each edge, and of each kind one edge and the lowest image.
    """
    (kind, edge, label), device = kinds, short.device
    near = short.nonzero().ravel()
    per_atom = torch.bincount(edges.centre[near], minlength=len(state.system_idx))
    start = per_atom.cumsum(0) - per_atom
    side = edge[short[edge]]
    centre = edges.centre[side]
    owner = torch.repeat_interleave(per_atom[centre])
    within = torch.arange(len(owner), device=device) - (per_atom[centre].cumsum(0) - per_atom[centre])[owner]
    first, second = side[owner], near[start[centre][owner] + within]
    proper = first != second
    first, second = first[proper], second[proper]

    rank = torch.arange(len(images.edge), device=device) - images.start[images.edge]
    keeps = images.key == label[kind[images.edge]]  # operations that give an edge its lowest image
    kept = torch.bincount(images.edge[keeps], minlength=len(images.start))
    kept_start, kept_rank = kept.cumsum(0) - kept, rank[keeps]
    angle = torch.repeat_interleave(kept[first])
    each = torch.arange(len(angle), device=device) - (kept[first].cumsum(0) - kept[first])[angle]
    operation = kept_rank[kept_start[first][angle] + each]
    lowest = _lowest(angle, images.key[images.start[second][angle] + operation], len(first))

    values, place = torch.unique(lowest, return_inverse=True)
    classes, member, count = torch.unique(first * len(values) + place, return_inverse=True, return_counts=True)
    chosen = _first(member, len(classes), len(first))
    return first[chosen], second[chosen], count


def _lowest(group: Tensor, value: Tensor, n_groups: int) -> Tensor:
    highest = torch.full((n_groups,), torch.iinfo(torch.long).max, device=value.device)
    return highest.scatter_reduce(0, group, value, "amin")


def _first(group: Tensor, n_groups: int, n: int) -> Tensor:
    """The lowest index in each group."""
    return _lowest(group, torch.arange(n, device=group.device), n_groups)
