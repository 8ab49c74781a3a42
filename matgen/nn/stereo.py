"""How well a geometry shows the hands that its graph asks for: what lets an energy tell mirror images apart.

A stereo element is four atoms and a hand h = ±1, a pseudoscalar: relabelling two atoms, or a mirror, turns its sign.
With softened directions and the triple product, which a mirror turns too,

    neighbours a, b, c, d of a centre e:   p = 0.3 h (a' - d') · ((b' - d') × (c' - d')),   a' … d' from e to a … d
    double bond a-b=c-d:                   p = h (u × w) · (v × w),       u, v, w from b to a, c to d, b to c

The directions of its bonds, not the places of its neighbours, make the hand of a centre: rings may tie the neighbours
together on one side of it. A lone pair stands in d's place with d' = 0. (Where all four bonds point to one side too,
RDKit decides by three of them, and 18 of 10,917 centres of QM9 have another hand there than here.)

p is positive where the hand is the one asked for. So p is a scalar of geometry and graph together, and a mirror of the
geometry alone turns its sign; where no hand is asked for, there is no p, and nothing that knows the hand. h ∂p/∂u and
its like are vectors along which an atom moves to the right side, defined where p itself is zero.
"""

import torch
from torch import Tensor

from matgen.batch.graphs import TETRAHEDRAL, Graphs
from matgen.batch.state import State
from matgen.nn.radial import softened

N_FEATURES = 6
"""Three bumps of p for each kind of element."""

OF_CENTRE = 0.3
"""Brings p of a centre to 0.6 to 0.86 (80 % of QM9), where the bumps tell it from a flat one and from a wrong one."""


def chirality(state: State, graphs: Graphs) -> tuple[Tensor, Tensor]:
    """P of each stereo element (n_stereo,), and the push on each of its five atoms (n_stereo, 5, 3)."""
    a, b, c, d, e = state.positions[graphs.stereo_sites].unbind(1)
    centre = (graphs.stereo_kind == TETRAHEDRAL)[:, None]
    last = softened(d - e)[0] * centre
    u = softened(a - torch.where(centre, e, b))[0] - last
    v = softened(torch.where(centre, b - e, d - c))[0] - last
    w = softened(torch.where(centre, c - e, c - b))[0] - last
    weight = graphs.stereo_sign.to(u)[:, None] * torch.where(centre, OF_CENTRE, 1.0)
    to_u, to_v, to_w = torch.linalg.cross(v, w), torch.linalg.cross(w, u), torch.linalg.cross(u, v)
    still = torch.zeros_like(u)
    of_centre = torch.stack([to_u, to_v, to_w, -(to_u + to_v + to_w), still], dim=1)
    square = (w * w).sum(1, keepdim=True)
    up = v * square - w * (v * w).sum(1, keepdim=True)
    down = u * square - w * (u * w).sum(1, keepdim=True)
    of_bond = torch.stack([up, -up, -down, down, still], dim=1)
    displacement = weight[..., None] * torch.where(centre[..., None], of_centre, of_bond)
    value = weight * torch.where(centre, (u * to_u).sum(1, keepdim=True), (u * up).sum(1, keepdim=True))
    return value.squeeze(1), displacement


def chirality_features(state: State, graphs: Graphs) -> tuple[Tensor, Tensor]:
    """What each atom is told of the hands it has a part in: bumps of p (n_atoms, 6) and a push (n_atoms, 3)."""
    scalars = state.positions.new_zeros(len(state.positions), N_FEATURES)
    pair_displacements = torch.zeros_like(state.positions)
    if len(graphs.stereo_sign) == 0:
        return scalars, pair_displacements
    value, displacement = chirality(state, graphs)
    places = value.new_tensor([-0.5, 0.0, 0.5])
    bumps = torch.exp(-0.5 * ((value[:, None] - places) / 0.3) ** 2)
    centre = (graphs.stereo_kind == TETRAHEDRAL)[:, None]
    both = torch.cat([bumps * centre, bumps * ~centre], dim=1)
    four = graphs.stereo_sites[:, :4].reshape(-1)
    scalars = scalars.index_add(0, four, both.repeat_interleave(4, dim=0))
    return scalars, pair_displacements.index_add(0, graphs.stereo_sites.reshape(-1), displacement.reshape(-1, 3))
