"""Six lattice parameters k of every cell, with a mask of the free ones for each crystal family.

With the metric G = L Lᵀ of a cell L of row vectors, S = ½ log G = Σ_b k_b B_b in a trace-orthonormal basis of
symmetric matrices (DiffCSP++, Jiao et al., ICLR 2024, eq. 6). L = exp(S) is then a cell with that metric in a
fixed orientation, and its volume is exp(√3 k_6).
"""

import math

import torch
from torch import Tensor

from matgen.runtime.devices import per_device

SQUARINGS, DEGREE = 4, 10
"""Of the matrix exponential on a GPU."""

HEXAGONAL_SHEAR = -math.sqrt(2) / 4 * math.log(3)  # the k_1 of γ = 120°, a = b

# Which of (xy, xz, yz, a-b, a+b-2c, volume) are free.
FAMILY_MASKS = {
    "triclinic": (1, 1, 1, 1, 1, 1),
    "monoclinic": (0, 1, 0, 1, 1, 1),
    "orthorhombic": (0, 0, 0, 1, 1, 1),
    "tetragonal": (0, 0, 0, 0, 1, 1),
    "hexagonal": (0, 0, 0, 0, 1, 1),
    "cubic": (0, 0, 0, 0, 0, 1),
}
FAMILY_ENDS = {"triclinic": 2, "monoclinic": 15, "orthorhombic": 74, "tetragonal": 142, "hexagonal": 194, "cubic": 230}


def crystal_family(space_group: int) -> str:
    """Return the name of the crystal family; trigonal groups count as hexagonal."""
    return next(name for name, end in FAMILY_ENDS.items() if space_group <= end)


@per_device
def basis() -> Tensor:
    """Return the trace-orthonormal basis B_b of symmetric 3×3 matrices (6, 3, 3)."""
    b = torch.zeros(6, 3, 3, dtype=torch.float64)
    for i, (row, column) in enumerate(((0, 1), (0, 2), (1, 2))):
        b[i, row, column] = b[i, column, row] = 1 / math.sqrt(2)
    b[3] = torch.diag(torch.tensor([1.0, -1, 0], dtype=b.dtype)) / math.sqrt(2)
    b[4] = torch.diag(torch.tensor([1.0, 1, -2], dtype=b.dtype)) / math.sqrt(6)
    b[5] = torch.eye(3, dtype=b.dtype) / math.sqrt(3)
    return b


@per_device
def family_tables() -> tuple[Tensor, Tensor]:
    """Return the mask of free lattice parameters (231, 6) and the values of the others (231, 6), by space group.

    For molecules, space group 0, no parameter is free and the cell is 1 Å: fractional coordinates are Cartesian.
    """
    families = [crystal_family(number) for number in range(1, 231)]
    mask = torch.tensor([(0,) * 6, *(FAMILY_MASKS[family] for family in families)], dtype=torch.bool)
    fixed = torch.zeros(231, 6, dtype=torch.float64)
    fixed[[i for i, family in enumerate(families, start=1) if family == "hexagonal"], 0] = HEXAGONAL_SHEAR
    return mask, fixed


def lattice_to_parameters(cell: Tensor) -> Tensor:
    """Return the lattice parameters (..., 6) of cells (..., 3, 3) in Å; the last is √3 × the mean log length."""
    values, vectors = torch.linalg.eigh(cell @ cell.mT)
    log_metric = (vectors * values.log().unsqueeze(-2)) @ vectors.mT
    return 0.5 * torch.einsum("...ij,bij->...b", log_metric, basis(cell.device).to(cell.dtype))


def parameters_to_lattice(parameters: Tensor) -> Tensor:
    """Return cells (..., 3, 3) in Å whose rows have the metric of lattice parameters (..., 6)."""
    matrices = torch.einsum("...b,bij->...ij", parameters, basis(parameters.device).to(parameters.dtype))
    return torch.linalg.matrix_exp(matrices) if matrices.device.type == "cpu" else exponential(matrices)


def exponential(matrices: Tensor) -> Tensor:
    """Return the exponentials of 3×3 matrices (..., 3, 3), as `torch.linalg.matrix_exp`, which waits for a GPU often.

    The trace, a factor, is taken out; a Taylor series of the rest over 2^SQUARINGS is squared as often. For shapes of
    norm 4, far beyond those of crystals, the relative error is below 1e-12.
    """
    trace = matrices.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    unit = torch.eye(3, dtype=matrices.dtype, device=matrices.device)
    small = (matrices - trace * unit) / 2**SQUARINGS
    found = unit + small / DEGREE
    for order in range(DEGREE - 1, 0, -1):  # Horner
        found = unit + (small @ found) / order
    for _ in range(SQUARINGS):
        found = found @ found
    return trace.exp() * found
