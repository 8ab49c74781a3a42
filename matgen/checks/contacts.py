"""The closest contact of a structure, against covalent radii and against distances in known crystals."""

from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii
from pymatgen.core.structure import Structure

from matgen.checks.pair_distances import least_distances, radii_sums


@dataclass(frozen=True)
class Contact:
    """Two atoms and their distance.

    Attributes:
        ratio: distance over the sum of covalent radii.
        distance: Å.
        symbols: the two elements.
        limit: least distance allowed of this pair of elements, Å.
    """

    ratio: float
    distance: float
    symbols: tuple[str, str]
    limit: float


def closest_contact(structure: Structure) -> Contact:
    """Return the pair with the smallest ratio of distance to summed covalent radii, periodic images included.

    Radii: Cordero et al., Dalton Trans. 2008, 2832, as in ASE. An atom's own images count.
    """
    return _closest(structure, radii_sums(), least_distances())


def nearest_limit(structure: Structure, *, pressed: bool = False) -> Contact:
    """Return the pair with the smallest ratio of distance to the least distance allowed, periodic images included.

    Args:
        structure: of a crystal.
        pressed: whether it is under a pressure.
    """
    limits = least_distances(pressed=pressed)
    return _closest(structure, limits, limits)


def _closest(structure: Structure, scale: np.ndarray, limits: np.ndarray) -> Contact:
    """Return the pair with the smallest ratio of distance to the scale of its elements, a table by atomic numbers."""
    numbers = np.array(structure.atomic_numbers)
    present = np.unique(numbers)
    largest = float(scale[np.ix_(present, present)].max())
    factor = 2.0
    while True:
        centre, neighbour, _, distance = structure.get_neighbor_list(factor * largest)
        first, second = numbers[centre], numbers[neighbour]
        ratio = distance / scale[first, second]
        if len(ratio) and ratio.min() <= factor:  # beyond the cutoff every ratio is greater
            break
        factor *= 2.0
    k = int(np.argmin(ratio))
    pair = (structure[int(centre[k])].specie.symbol, structure[int(neighbour[k])].specie.symbol)
    of_radii = float(distance[k] / (covalent_radii[first[k]] + covalent_radii[second[k]]))
    return Contact(of_radii, float(distance[k]), (min(pair), max(pair)), float(limits[first[k], second[k]]))
