"""The smallest supercell that keeps the point group and separates an atom from its images."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import spglib
from pymatgen.core.structure import Structure

from matgen.structures.spglib_failures import searched

SHORTER = 0.25
"""Å by which the wanted length is lowered until a supercell fits the limit of atoms."""

ROUNDING = 1e-6


class SupercellError(ValueError):
    """The primitive cell alone is above the limit of atoms."""


def smallest_supercell(crystal: Structure, length: float, max_atoms: int, symprec: float) -> np.ndarray:
    """Return the integer matrix (3, 3) whose columns are the vectors of the supercell, in those of the crystal.

    Among the sublattices that the point group maps onto themselves, it is the smallest without a vector shorter than
    `length`, and among those as small the one whose shortest vector is longest. Where none fits, `length` is lowered.

    Args:
        crystal: primitive cell.
        length: of the shortest vector of the supercell, Å.
        max_atoms: most atoms of the supercell.
        symprec: tolerance of the symmetry, Å.

    Raises:
        SupercellError: the primitive cell has more atoms than that.
    """
    most = max_atoms // len(crystal)
    if not most:
        raise SupercellError(f"its primitive cell has {len(crystal)} atoms, at most {max_atoms} fit the supercell")
    rotations, matrix = _rotations(crystal, symprec), crystal.lattice.matrix
    kept: dict[int, np.ndarray] = {}
    while True:
        for size in range(least_size(crystal.volume, length), most + 1):
            if size not in kept:
                kept[size] = _invariant(_sublattices(size), rotations)
            apart = _without(kept[size], _vectors(matrix, length))
            if len(apart):
                return _compact(max(apart, key=lambda rows: shortest(rows @ matrix)), crystal)
        length -= SHORTER


def least_size(volume: float, length: float) -> int:
    """Cells that a supercell has at least: no lattice of vectors of a length is denser than close packing."""
    return max(1, math.ceil(length**3 / math.sqrt(2) / volume - ROUNDING))


def shortest(cell: np.ndarray) -> float:
    """Length of the shortest lattice vector of a cell of row vectors (3, 3), Å."""
    reduced = _reduced(cell)
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    return float(np.sort(np.linalg.norm(steps @ reduced, axis=1))[1])


def _reduced(cell: np.ndarray) -> np.ndarray:
    return np.asarray(spglib.niggli_reduce(cell))


def _compact(rows: np.ndarray, crystal: Structure) -> np.ndarray:
    """The same sublattice by its shortest vectors, of positive volume, as columns."""
    matrix = crystal.lattice.matrix
    short = np.round(_reduced(rows @ matrix) @ np.linalg.inv(matrix)).astype(int)
    return (short if np.linalg.det(short) > 0 else -short).T


def _rotations(crystal: Structure, symprec: float) -> np.ndarray:
    """Of the point group, on columns of fractional coordinates (n, 3, 3)."""
    cell: Any = (crystal.lattice.matrix, crystal.frac_coords, crystal.atomic_numbers)
    found = searched(spglib.get_symmetry, cell, symprec=symprec)
    return np.eye(3, dtype=int)[None] if found is None else np.unique(found["rotations"], axis=0)


def _sublattices(size: int) -> np.ndarray:
    """All sublattices of an index, by their Hermite normal forms of row vectors (n, 3, 3)."""
    found = []
    for a, b, c in _factors(size):
        grids = np.meshgrid(np.arange(b), np.arange(c), np.arange(c), indexing="ij")
        forms = np.zeros((grids[0].size, 3, 3), dtype=int)
        forms[:, 0, 0], forms[:, 1, 1], forms[:, 2, 2] = a, b, c
        forms[:, 0, 1], forms[:, 0, 2], forms[:, 1, 2] = (grid.ravel() for grid in grids)
        found.append(forms)
    return np.concatenate(found)


def _factors(size: int) -> Iterator[tuple[int, int, int]]:
    for a in range(1, size + 1):
        for b in range(1, size // a + 1):
            if size % (a * b) == 0:
                yield a, b, size // (a * b)


def _invariant(cells: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Those that every rotation maps onto themselves."""
    for rotation in rotations:
        images = cells @ rotation.T @ np.linalg.inv(cells)
        cells = cells[(np.abs(images - np.round(images)) < 1e-6).all((1, 2))]
    return cells


def _vectors(cell: np.ndarray, length: float) -> np.ndarray:
    """The lattice vectors shorter than a length, one of each pair ±, as integers (n, 3)."""
    spans = np.ceil(length * np.linalg.norm(np.linalg.inv(cell), axis=0)).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-span, span + 1) for span in spans), indexing="ij"), -1).reshape(-1, 3)
    grid = grid[len(grid) // 2 + 1 :]
    return grid[np.linalg.norm(grid @ cell, axis=1) < length]


def _without(cells: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Those sublattices that none of these vectors belongs to."""
    if not (len(cells) and len(vectors)):
        return cells
    images = np.einsum("vi,nij->nvj", vectors, np.linalg.inv(cells))
    inside = (np.abs(images - np.round(images)) < 1e-6).all(2)
    return cells[~inside.any(1)]
