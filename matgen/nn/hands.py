"""How well a geometry shows the hands that its graph asks for: what lets an energy tell mirror images apart.

A stereo element is four atoms and a hand h = ±1, a pseudoscalar: relabelling two atoms, or a mirror, turns its sign.
With softened directions u, v, w and the triple product, which a mirror turns too,

    tetrahedral centre, neighbours a, b, c, d:   p = h u · (v × w),            u, v, w from d to a, b, c
    double bond a-b=c-d:                         p = h (u × w) · (v × w),      u, v, w from b to a, c to d, b to c

p is positive where the hand is the one asked for. So p is a scalar of geometry and graph together, and a mirror of the
geometry alone turns its sign; where no hand is asked for, there is no p, and nothing that knows the hand. h ∂p/∂u and
its like are vectors along which an atom moves to the right side, defined where p itself is zero.
"""

import torch
from torch import Tensor

from matgen.graphs import TETRAHEDRAL, Graphs
from matgen.nn.radial import softened
from matgen.state import State

N_FEATURES = 6
"""Three bumps of p for each kind of element."""


def handedness(state: State, graphs: Graphs) -> tuple[Tensor, Tensor]:
    """P of each stereo element (n_stereo,), and the push on each of its four atoms (n_stereo, 4, 3)."""
    a, b, c, d = state.positions[graphs.stereo_sites].unbind(1)
    centre = (graphs.stereo_kind == TETRAHEDRAL)[:, None]
    u = softened(a - torch.where(centre, d, b))[0]
    v = softened(torch.where(centre, b, d) - torch.where(centre, d, c))[0]
    w = softened(torch.where(centre, c - d, c - b))[0]
    hand = graphs.hand.to(u)[:, None]
    to_u, to_v, to_w = torch.linalg.cross(v, w), torch.linalg.cross(w, u), torch.linalg.cross(u, v)
    of_centre = torch.stack([to_u, to_v, to_w, -(to_u + to_v + to_w)], dim=1)
    square = (w * w).sum(1, keepdim=True)
    up = v * square - w * (v * w).sum(1, keepdim=True)
    down = u * square - w * (u * w).sum(1, keepdim=True)
    of_bond = torch.stack([up, -up, -down, down], dim=1)
    push = hand[..., None] * torch.where(centre[..., None], of_centre, of_bond)
    value = hand * torch.where(centre, (u * to_u).sum(1, keepdim=True), (u * up).sum(1, keepdim=True))
    return value.squeeze(1), push


def hand_features(state: State, graphs: Graphs) -> tuple[Tensor, Tensor]:
    """What each atom is told of the hands it has a part in: bumps of p (n_atoms, 6) and a push (n_atoms, 3)."""
    scalars = state.positions.new_zeros(len(state.positions), N_FEATURES)
    pushes = torch.zeros_like(state.positions)
    if len(graphs.hand) == 0:
        return scalars, pushes
    value, push = handedness(state, graphs)
    places = value.new_tensor([-0.5, 0.0, 0.5])
    bumps = torch.exp(-0.5 * ((value[:, None] - places) / 0.3) ** 2)
    centre = (graphs.stereo_kind == TETRAHEDRAL)[:, None]
    both = torch.cat([bumps * centre, bumps * ~centre], dim=1)
    sites = graphs.stereo_sites.reshape(-1)
    scalars = scalars.index_add(0, sites, both.repeat_interleave(4, dim=0))
    return scalars, pushes.index_add(0, sites, push.reshape(-1, 3))
