"""Space group of a structure, and what it lies above."""

from functools import cache

import numpy as np
from pymatgen.core.structure import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError
from pymatgen.symmetry.groups import SYMM_DATA

from matgen.structures.candidate import SpaceGroup
from matgen.templates.wyckoff import multiplicities, wyckoff_table

SYMPREC = 0.1
"""Å; the tolerance at which the training data were labelled."""

NO_SYMMETRY = SpaceGroup(1, "P1")


def space_group(structure: Structure, symprec: float = SYMPREC) -> SpaceGroup:
    """Space group by spglib; P1 where the search finds none, as with atoms on top of each other."""
    if not np.isfinite(structure.frac_coords).all():
        return NO_SYMMETRY
    try:
        found = SpacegroupAnalyzer(structure, symprec=symprec)
    except SymmetryUndeterminedError:
        return NO_SYMMETRY
    return SpaceGroup(found.get_space_group_number(), found.get_space_group_symbol())


@cache
def contains(group: int, subgroup: int) -> bool:
    """Whether a space-group type is another one or lies above it with the same lattice of translations.

    A maximal subgroup keeps either all translations or the crystal class (Hermann, Z. Kristallogr. 69, 533, 1929),
    so that a chain of steps which each lower the order of the class loses no translation. Types that lie above each
    other only by a change of lattice, such as Fm-3m and Pm-3m, do not count: either would contain the other.
    """
    if group == subgroup:
        return True
    below = SYMM_DATA["maximal_subgroups"][str(group)]
    return any(_class_order(step) < _class_order(group) and contains(step, subgroup) for step in below)


def _class_order(group: int) -> int:
    """Order of the crystal class: the atoms of the general position, which is the last, in a primitive cell."""
    return multiplicities()[wyckoff_table().positions_of(group)[-1]]
