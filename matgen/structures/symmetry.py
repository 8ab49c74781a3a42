"""Space group of a structure, and group–subgroup relations."""

from functools import cache

import numpy as np
from pymatgen.core.structure import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError
from pymatgen.symmetry.groups import SYMM_DATA

from matgen.structures.candidate import SpaceGroup
from matgen.templates.wyckoff import multiplicities, wyckoff_table

SYMPREC = 0.1
"""Tolerance of the labels of the training data, Å."""

ANGLE = 5.0
"""Tolerance of angles, degrees."""

TIGHT = 0.01
"""Tolerance that tells a distorted crystal from the one that it is nearly, Å."""

TOLERANCES = {"angstrom": SYMPREC, "degrees": ANGLE, "tight_angstrom": TIGHT}

NO_SYMMETRY = SpaceGroup(1, "P1")


def space_group(structure: Structure, symprec: float = SYMPREC) -> SpaceGroup:
    """Return the space group by spglib; P1 if the search fails, as with overlapping atoms."""
    if not np.isfinite(structure.frac_coords).all():
        return NO_SYMMETRY
    try:
        found = SpacegroupAnalyzer(structure, symprec=symprec, angle_tolerance=ANGLE)
    except SymmetryUndeterminedError:
        return NO_SYMMETRY
    return SpaceGroup(found.get_space_group_number(), found.get_space_group_symbol())


def within(group: SpaceGroup, symprec: float = SYMPREC) -> str:
    """Return a space group and its tolerance in words, such as `Pm-3m (221) within 0.1 Å`."""
    return f"{group.symbol} ({group.number}) within {symprec:g} Å"


@cache
def contains(group: int, subgroup: int) -> bool:
    """Return whether a space-group type equals another one or is a supergroup with the same lattice of translations.

    A maximal subgroup keeps either all translations or the crystal class (Hermann, Z. Kristallogr. 69, 533, 1929),
    so a chain of steps that each lower the order of the class keeps all translations. Types that are supergroups of
    each other by a change of lattice, such as Fm-3m and Pm-3m, do not count.
    """
    if group == subgroup:
        return True
    below = SYMM_DATA["maximal_subgroups"][str(group)]
    return any(_class_order(step) < _class_order(group) and contains(step, subgroup) for step in below)


def _class_order(group: int) -> int:
    """Return the order of the crystal class: the atoms of the general position, the last one, in a primitive cell."""
    return multiplicities()[wyckoff_table().positions_of(group)[-1]]
