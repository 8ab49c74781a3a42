"""Superlattices of a lattice by their index, one of each class that symmetry makes equal.

A superlattice is the upper triangular integer matrix whose rows are its vectors in those of the lattice, in Hermite's
normal form (Hart & Forcade, Phys. Rev. B 77, 224115, 2008).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

Integers = np.ndarray
"""An array of integers."""

Rows = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]


@dataclass(frozen=True)
class Superlattice:
    """One superlattice of a class.

    Attributes:
        rows: its vectors (3, 3).
        n_equal: number of superlattices in the class.
        kept: positions of the rotations that map it onto itself.
    """

    rows: Rows
    n_equal: int
    kept: tuple[int, ...]


def n_superlattices(index: int) -> int:
    """Return how many superlattices of an index there are, symmetry aside."""
    return sum(d * f * f for _, d, f in _diagonals(index))


def superlattices(index: int, rotations: Integers) -> Iterator[Superlattice]:
    """Yield one superlattice of each class.

    Args:
        index: volume over that of the lattice.
        rotations: the point group, matrices (n, 3, 3) on columns of coordinates in the vectors of the lattice.
    """
    met: set[Rows] = set()
    for rows in _all(index):
        if rows in met:
            continue
        images = [normal_form(np.array(rows) @ rotation.T) for rotation in rotations]
        met.update(images)
        kept = tuple(place for place, image in enumerate(images) if image == rows)
        yield Superlattice(rows, len(set(images)), kept)


def normal_form(vectors: Integers) -> Rows:
    """Return Hermite's normal form of the rows (3, 3) of a superlattice."""
    rows = [[int(x) for x in row] for row in vectors]
    for column in range(3):
        for below in range(column + 1, 3):
            while rows[below][column]:
                times = rows[column][column] // rows[below][column]
                rows[column] = [x - times * y for x, y in zip(rows[column], rows[below], strict=True)]
                rows[column], rows[below] = rows[below], rows[column]
        if rows[column][column] < 0:
            rows[column] = [-x for x in rows[column]]
        for above in range(column):
            times = rows[above][column] // rows[column][column]
            rows[above] = [x - times * y for x, y in zip(rows[above], rows[column], strict=True)]
    first, second, third = ((row[0], row[1], row[2]) for row in rows)
    return first, second, third


def points(rows: Rows) -> Integers:
    """Return the lattice points (n, 3) in one cell of a superlattice."""
    ranges = [np.arange(rows[axis][axis]) for axis in range(3)]
    return np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)


def places(vectors: Integers, rows: Rows) -> Integers:
    """Return the position in `points` of the lattice points (..., 3), up to vectors of the superlattice."""
    left = vectors.copy()
    for axis in range(3):
        left -= (left[..., axis] // rows[axis][axis])[..., None] * np.array(rows[axis])
    return (left[..., 0] * rows[1][1] + left[..., 1]) * rows[2][2] + left[..., 2]


def _all(index: int) -> Iterator[Rows]:
    for a, d, f in _diagonals(index):
        for b in range(d):
            for c in range(f):
                for e in range(f):
                    yield (a, b, c), (0, d, e), (0, 0, f)


def _diagonals(index: int) -> Iterator[tuple[int, int, int]]:
    for a in range(1, index + 1):
        if index % a == 0:
            yield from ((a, d, index // a // d) for d in range(1, index // a + 1) if index // a % d == 0)
