"""Families of crystals by chemistry: one layout, and on each site elements of one group of the periodic table."""

from functools import cache

from pymatgen.core.periodic_table import Element

from matgen.chemistry.elements import HYDROGEN
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.prototypes import Layout, layout
from matgen.templates.wyckoff import alternatives, wyckoff_table

ACTINOIDS = 19
"""In place of a column: the actinoids, whose oxidation states differ from those of column 3."""

Family = tuple[Layout, tuple[tuple[int, int], ...]]


@cache
def chemical_group(z: int) -> int:
    """Column 1..18 of an element in the periodic table; 0 for hydrogen, 19 for an actinoid.

    Lanthanoids stand in column 3, with scandium and yttrium: all of them are trivalent. Actinoids have a group of their
    own, and so has hydrogen, which is no alkali metal.
    """
    element = Element.from_Z(z)
    if z == HYDROGEN:
        return 0
    return ACTINOIDS if element.is_actinoid else int(element.group)


def family(template: CrystalTemplate) -> Family:
    """What members of one family share: their layout, and the group of the element on each of its positions.

    Which of several equivalent positions is named first depends on the elements (sodium chloride has its cation on 4a,
    potassium chloride its anion), so that the smallest of the equivalent descriptions is taken.
    """
    start = wyckoff_table().positions_of(template.space_group).start
    groups = [(position - start, chemical_group(z)) for position, z in template.sites]
    choices = (choice.letters for choice in alternatives(template.space_group))
    described = (tuple(sorted((int(letters[i]), group) for i, group in groups)) for letters in choices)
    return layout(template), min(described)
