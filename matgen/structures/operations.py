"""Symmetry operations of a crystal as integers: parsed, tested for being a group, and compared with a cell."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import gemmi
import numpy as np
import spglib
from pymatgen.core.operations import SymmOp

from matgen.structures.spglib_failures import searched

Numbers = np.ndarray
"""An array of numbers."""

PARTS = 5040
"""Translations are multiples of its inverse, which has all denominators up to 10, and 12, 16, 24 and 48."""

MOST = 1000
"""Operations at most; the largest groups have 192, and cells of several primitive ones more."""

METRIC = 0.01
"""Relative difference of a cell from the metric that an operation asks for; cells are given with less rounding."""


@dataclass(frozen=True, eq=False)
class Operations:
    """Operations x' = R x + t on fractional coordinates.

    Attributes:
        rotations: integers (n, 3, 3).
        shifts: translations in units of 1/`PARTS`, integers (n, 3).
    """

    rotations: Numbers
    shifts: Numbers

    def __len__(self) -> int:
        """Order of the group in this cell, with its centring translations."""
        return len(self.rotations)

    @cached_property
    def translations(self) -> Numbers:
        """Fractional translations (n, 3)."""
        return self.shifts / PARTS

    @cached_property
    def keys(self) -> Numbers:
        """One integer (n,) for each operation."""
        return _keys(self.rotations, self.shifts)

    @cached_property
    def is_group(self) -> bool:
        """Whether each product of two operations is one of them."""
        rotations = np.einsum("aij,bjk->abik", self.rotations, self.rotations).reshape(-1, 3, 3)
        shifts = (np.einsum("aij,bj->abi", self.rotations, self.shifts) + self.shifts[:, None]).reshape(-1, 3)
        within = bool((np.abs(rotations) <= 1).all())
        return within and bool(np.isin(_keys(rotations, shifts % PARTS), self.keys).all())

    @cached_property
    def number(self) -> int:
        """Number of the space-group type; 0 if they are no group."""
        if len(self) == 1:
            return 1
        if not self.is_group:
            return 0
        found = searched(spglib.get_spacegroup_type_from_symmetry, self.rotations, self.translations)
        return 0 if found is None else int(found.number)

    def fit(self, lattice: Numbers) -> bool:
        """Return whether they keep lengths and angles of a cell, whose rows are its vectors (3, 3)."""
        metric = lattice @ lattice.T
        moved = np.einsum("nji,jk,nkl->nil", self.rotations, metric, self.rotations)
        edges = np.sqrt(np.diag(metric))
        return bool((np.abs(moved - metric) <= METRIC * np.outer(edges, edges)).all())


def of_group(group: gemmi.GroupOps) -> Operations:
    """Return the operations of a group of gemmi, with its centring."""
    several = list(group)
    rotations = np.array([op.rot for op in several]) // gemmi.Op.DEN
    shifts = np.array([op.tran for op in several]) * (PARTS // gemmi.Op.DEN)
    return Operations(rotations, shifts % PARTS)


def products(first: Operations, second: Operations) -> Operations:
    """Return the products of two sets, such as operations and centring translations, without repetition.

    Raises:
        ValueError: there are too many.
    """
    if len(first) * len(second) > MOST:
        raise ValueError(f"{len(first) * len(second)} are more than {MOST}")
    rotations = np.einsum("aij,bjk->abik", second.rotations, first.rotations).reshape(-1, 3, 3)
    shifts = np.einsum("aij,bj->abi", second.rotations, first.shifts) + second.shifts[:, None]
    return _distinct(rotations, shifts.reshape(-1, 3))


LONGEST = 100
"""Most characters of an operation."""


@lru_cache(maxsize=1024)
def parsed(texts: Sequence[str]) -> Operations:
    """Parse operations such as `-y, x-y, z+1/3`; the identity is added if it is missing.

    Raises:
        ValueError: a text is no operation of a crystal.
    """
    if len(texts) > MOST:
        raise ValueError(f"{len(texts)} are more than {MOST}")
    pairs = [_parsed_one(text) for text in ("x,y,z", *texts)]
    return _distinct(np.array([one[0] for one in pairs]), np.array([one[1] for one in pairs]))


def _parsed_one(text: str) -> tuple[Numbers, Numbers]:
    if len(text) > LONGEST:  # the parser takes the third power of the length
        raise ValueError(f"{text[:20]}… is no symmetry operation of a crystal")
    if re.search(r"[-+]\s*[-+]", text):  # of which parsers take the last
        raise ValueError(f"{text} is no symmetry operation of a crystal: it has two signs in a row")
    try:
        op = gemmi.Op(text.replace('"', "").replace("'", ""))
        rotation = np.array(op.rot) / gemmi.Op.DEN
        shift = np.array(op.tran) / gemmi.Op.DEN
    except (RuntimeError, ValueError):
        other = SymmOp.from_xyz_str(text)
        rotation, shift = other.rotation_matrix, other.translation_vector
    whole = np.rint(rotation).astype(int)
    if np.abs(rotation - whole).max() > 1e-6 or abs(round(float(np.linalg.det(whole)))) != 1 or np.abs(whole).max() > 1:
        raise ValueError(f"{text} is no symmetry operation of a crystal")
    return whole, np.rint(shift * PARTS).astype(int) % PARTS


def _distinct(rotations: Numbers, shifts: Numbers) -> Operations:
    shifts = shifts % PARTS
    first = np.sort(np.unique(_keys(rotations, shifts), return_index=True)[1])
    return Operations(rotations[first], shifts[first])


def _keys(rotations: Numbers, shifts: Numbers) -> Numbers:
    thirds = (rotations.reshape(-1, 9) + 1) @ 3 ** np.arange(9, dtype=np.int64)
    return (thirds << 40) + shifts @ np.array([1, 1 << 13, 1 << 26], dtype=np.int64)
