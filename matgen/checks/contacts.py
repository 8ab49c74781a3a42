"""The closest contact of a structure, in covalent radii."""

from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii
from pymatgen.core.structure import Structure


@dataclass(frozen=True)
class Contact:
    """The pair of atoms that is closest relative to their covalent radii.

    Attributes:
        ratio: distance over the sum of covalent radii.
        distance: Å.
        symbols: the two elements.
    """

    ratio: float
    distance: float
    symbols: tuple[str, str]


def closest_contact(structure: Structure) -> Contact:
    """Return the pair with the smallest ratio of distance to summed covalent radii, periodic images included.

    Radii: Cordero et al., Dalton Trans. 2008, 2832, as in ASE. An atom's own images count.
    """
    radii = covalent_radii[list(structure.atomic_numbers)]
    # Beyond the cutoff every ratio exceeds 2, so that a smaller one inside is the smallest of all.
    cutoff = 4.0 * radii.max()
    while True:
        centre, neighbour, _, distance = structure.get_neighbor_list(cutoff)
        if len(distance):
            break
        cutoff *= 2.0
    ratio = distance / (radii[centre] + radii[neighbour])
    k = int(np.argmin(ratio))
    pair = (structure[int(centre[k])].specie.symbol, structure[int(neighbour[k])].specie.symbol)
    return Contact(float(ratio[k]), float(distance[k]), (min(pair), max(pair)))
