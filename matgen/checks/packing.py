"""How the atoms of a dilute crystal hold together: a framework, or molecules, chains and layers that touch.

A volume far above the sum of those of the atoms is no fault of zeolites and of molecular crystals, whose atoms are at
usual distances of their neighbours. It is one where atoms have lost their neighbours, as in a cell that is too large,
or where groups of atoms are apart, as in a layer with vacuum.
"""

from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii
from ase.data.vdw_alvarez import vdw_radii
from pymatgen.core.structure import Structure

from matgen.checks.pair_distances import longest_bonds

TOUCHING = 1.4
"""Longest contact of atoms that touch, in sums of van der Waals radii (Alvarez, Dalton Trans. 42, 8617, 2013); PBE,
which lacks dispersion, has them too long."""

HYDROGEN = 1.3
"""Van der Waals radius of hydrogen, Å; the 1.2 of the source is less than zero-point motion leaves in the solid."""

NOBLE_GASES = (2, 10, 18, 36, 54, 86)
_WITHOUT_RADIUS = 0.9  # Å, which van der Waals radii exceed covalent ones by

_WORDS = {0: "molecules", 1: "chains", 2: "layers", 3: "a framework"}


@dataclass(frozen=True)
class Packing:
    """How a crystal holds together.

    Attributes:
        groups: of bonded atoms, in words.
        fault: why they do not hold together; empty if they do.
    """

    groups: str
    fault: str


def packing(structure: Structure) -> Packing:
    """Return how the atoms of a crystal hold together: by bonds into groups, and these by van der Waals contacts."""
    numbers = np.array(structure.atomic_numbers)
    radii = _van_der_waals()[numbers]
    bonds = longest_bonds()
    cutoff = max(TOUCHING * 2.0 * float(radii.max()), float(bonds[np.ix_(numbers, numbers)].max()))
    first, second, images, distance = structure.get_neighbor_list(cutoff)
    bonded = distance <= bonds[numbers[first], numbers[second]]
    single = np.setdiff1d(np.arange(len(numbers)), first[bonded])
    dimensions = _dimensions(len(numbers), first[bonded], second[bonded], images[bonded])
    groups = " and ".join(_WORDS[k] for k in sorted(set(dimensions), reverse=True))
    if len(single) == len(numbers):
        groups = "single atoms"
    lost = sorted({structure[int(i)].specie.symbol for i in single if numbers[i] not in NOBLE_GASES})
    if lost:
        return Packing(groups, f"{', '.join(lost)} without a neighbour at the distance of a bond")
    touch = bonded | (distance <= TOUCHING * (radii[first] + radii[second]))
    if _dimensions(len(numbers), first[touch], second[touch], images[touch]) != [3]:
        return Packing(groups, f"{groups} with gaps between them")
    return Packing(groups, "")


def _van_der_waals() -> np.ndarray:
    """Return van der Waals radii by atomic number, Å; where unknown, from covalent ones."""
    found = np.full(len(covalent_radii), np.nan)
    found[: len(vdw_radii)] = vdw_radii[: len(found)]
    found[1] = HYDROGEN
    return np.where(np.isnan(found), covalent_radii + _WITHOUT_RADIUS, found)


def _dimensions(n: int, first: np.ndarray, second: np.ndarray, images: np.ndarray) -> list[int]:
    """Return in how many directions each connected group of atoms repeats.

    Args:
        n: number of atoms.
        first: atoms from which links go (m,).
        second: atoms to which they go (m,).
        images: cell of the second atom (m, 3).
    """
    links: list[list[tuple[int, np.ndarray]]] = [[] for _ in range(n)]
    for one, other, image in zip(first.tolist(), second.tolist(), images, strict=True):
        links[one].append((other, image))
    cell_of: dict[int, np.ndarray] = {}
    found = []
    for seed in range(n):
        if seed in cell_of:
            continue
        cell_of[seed], waiting = np.zeros(3), [seed]
        translations = [np.zeros(3)]
        while waiting:
            one = waiting.pop()
            for other, image in links[one]:
                place = cell_of[one] + image
                if other not in cell_of:
                    cell_of[other] = place
                    waiting.append(other)
                elif (place != cell_of[other]).any():
                    translations.append(place - cell_of[other])
        found.append(int(np.linalg.matrix_rank(np.unique(translations, axis=0))))
    return found
