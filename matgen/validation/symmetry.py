"""Space group of a structure, and what it lies above."""

from functools import cache

import numpy as np
from pymatgen.core.structure import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError
from pymatgen.symmetry.groups import SpaceGroup as Tables

from matgen.candidate import SpaceGroup

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


@cache  # the tables take about a second
def contains(group: int, subgroup: int) -> bool:
    """Whether a space-group type is another one or a supergroup of it."""
    if subgroup in {group, 1}:
        return True
    return Tables.from_int_number(group).is_supergroup(Tables.from_int_number(subgroup))
