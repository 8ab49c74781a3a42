"""Families of crystals: one Wyckoff layout, with elements of the same chemical group on each site."""

from functools import cache

from pymatgen.core.periodic_table import Element

from matgen.chemistry.elements import HYDROGEN
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.prototypes import Layout, layout
from matgen.templates.wyckoff import alternatives, wyckoff_table

ACTINOIDS = 19
"""Chemical group of the actinoids, whose oxidation states differ from those of column 3."""

Family = tuple[Layout, tuple[tuple[int, int], ...]]


@cache
def chemical_group(z: int) -> int:
    """Return the column 1..18 of an element in the periodic table; 0 for hydrogen, 19 for an actinoid.

    Lanthanoids are in column 3 with scandium and yttrium, since all of them are trivalent. Hydrogen, which is not an
    alkali metal, and the actinoids have groups of their own.
    """
    element = Element.from_Z(z)
    if z == HYDROGEN:
        return 0
    return ACTINOIDS if element.is_actinoid else int(element.group)


def family(template: CrystalTemplate) -> Family:
    """Return what the members of a family share: the layout, and the chemical group on each of its positions.

    The choice among equivalent positions depends on the elements (sodium chloride has its cation on 4a, potassium
    chloride its anion), so the smallest of the equivalent descriptions is used.
    """
    start = wyckoff_table().positions_of(template.space_group).start
    groups = [(position - start, chemical_group(z)) for position, z in template.sites]
    choices = (choice.letters for choice in alternatives(template.space_group))
    described = (tuple(sorted((int(letters[i]), group) for i, group in groups)) for letters in choices)
    return layout(template), min(described)
