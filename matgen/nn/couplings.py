"""Spherical harmonics and Wigner 3j symbols up to degree two, in e3nn's basis.

The components of each degree are matrices M_a: the unit matrix (degree 0), the antisymmetric ε_a (degree 1, in the
order x, y, z), and the symmetric traceless Q_a (degree 2, in the order xz, xy, y² − ½(x² + z²), yz, ½√3 (z² − x²)).
The 3j symbol is the only invariant of three such matrices, tr(M_a M_b M_c), normalised. Both functions equal those of
`e3nn.o3` (tested), whose import takes as long as that of torch.
"""

import math

import torch
from torch import Tensor

NEGATIVE = frozenset({(0, 1, 1), (1, 2, 2)})
"""Degrees, ascending, for which the symbol of e3nn has the sign opposite to that of the trace."""


def symmetric_basis() -> Tensor:
    """Return symmetric traceless matrices of unit norm for the components of degree 2 (5, 3, 3), float64."""
    basis = torch.zeros(5, 3, 3, dtype=torch.float64)
    for component, (i, j) in ((0, (0, 2)), (1, (0, 1)), (3, (1, 2))):
        basis[component, i, j] = basis[component, j, i] = math.sqrt(1 / 2)
    basis[2] = torch.tensor([-1.0, 2.0, -1.0], dtype=torch.float64).diag() / math.sqrt(6)
    basis[4] = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64).diag() / math.sqrt(2)
    return basis


def wigner_3j(l1: int, l2: int, l3: int) -> Tensor:
    """Return the Wigner 3j symbol (2 l1 + 1, 2 l2 + 1, 2 l3 + 1) of degrees up to two, of unit norm, float64."""
    antisymmetric = torch.zeros(3, 3, 3, dtype=torch.float64)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        antisymmetric[i, j, k], antisymmetric[i, k, j] = 1.0, -1.0
    matrices = torch.eye(3, dtype=torch.float64)[None], antisymmetric, symmetric_basis()
    traces = torch.einsum("aij,bjk,cki->abc", matrices[l1], matrices[l2], matrices[l3])
    sign = -1.0 if tuple(sorted((l1, l2, l3))) in NEGATIVE else 1.0
    return sign * traces / traces.norm()


def harmonics(directions: Tensor) -> Tensor:
    """Return solid harmonics of degree 0, 1, 2 of vectors (n, 3): (n, 9), of norm √(2l + 1) for unit vectors."""
    x, y, z = directions.unbind(-1)
    columns = [
        torch.ones_like(x),
        math.sqrt(3) * x,
        math.sqrt(3) * y,
        math.sqrt(3) * z,
        math.sqrt(15) * x * z,
        math.sqrt(15) * x * y,
        math.sqrt(5) * (y.square() - 0.5 * (x.square() + z.square())),
        math.sqrt(15) * y * z,
        math.sqrt(15) / 2 * (z.square() - x.square()),
    ]
    return torch.stack(columns, dim=-1)
