"""Agreement of a geometry with the stereo of its graph, by which an energy distinguishes mirror images.

A stereo element consists of four atoms and a chirality h = ±1, a pseudoscalar: exchanging two labels, or a reflection,
changes its sign. With softened directions and the triple product, whose sign a reflection changes too,

    neighbours a, b, c, d of a centre e:   p = 0.3 h (a' - d') · ((b' - d') × (c' - d')),   a' … d' from e to a … d
    double bond a-b=c-d:                   p = h (u × w) · (v × w),       u, v, w from b to a, c to d, b to c

The chirality of a centre is defined by the directions of its bonds, not by the positions of its neighbours, which rings
may hold on one side of it. A lone pair takes the place of d, with d' = 0. (Where all four bonds point to one side as
well, RDKit uses three of them, and 18 of 10,917 centres of QM9 have another chirality there than here.)

p is positive where the geometry has the chirality of the graph. It is a scalar of geometry and graph together, and a
reflection of the geometry alone changes its sign. Without stereo in the graph there is no p, and no feature depends on
chirality. Vectors such as h ∂p/∂u point to the correct side, also where p is zero.
"""

import torch
from torch import Tensor

from matgen.batch.graphs import TETRAHEDRAL, Graphs
from matgen.batch.state import State
from matgen.nn.radial import softened

N_FEATURES = 6
"""Three Gaussians of p for each kind of stereo element."""

OF_CENTRE = 0.3
"""Scale by which p of a centre is 0.6 to 0.86 (80 % of QM9), where the Gaussians separate it from zero and from -p."""


def chirality(state: State, graphs: Graphs) -> tuple[Tensor, Tensor]:
    """Return p of each stereo element (n_stereo,), and its gradient on each of its five atoms (n_stereo, 5, 3)."""
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
    """Return stereo features of each atom: Gaussians of p (n_atoms, 6) and a displacement (n_atoms, 3)."""
    scalars = state.positions.new_zeros(len(state.positions), N_FEATURES)
    vectors = torch.zeros_like(state.positions)
    if len(graphs.stereo_sign) == 0:
        return scalars, vectors
    value, displacement = chirality(state, graphs)
    places = value.new_tensor([-0.5, 0.0, 0.5])
    bumps = torch.exp(-0.5 * ((value[:, None] - places) / 0.3) ** 2)
    centre = (graphs.stereo_kind == TETRAHEDRAL)[:, None]
    both = torch.cat([bumps * centre, bumps * ~centre], dim=1)
    four = graphs.stereo_sites[:, :4].reshape(-1)
    scalars = scalars.index_add(0, four, both.repeat_interleave(4, dim=0))
    return scalars, vectors.index_add(0, graphs.stereo_sites.reshape(-1), displacement.reshape(-1, 3))
