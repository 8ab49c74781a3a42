"""Shortest and usual distances between pairs of elements in known crystals, and what follows from them.

Covalent radii cannot tell a short bond from an overlap: uranium and oxygen of uranyl are at 0.68 of the sum of their
radii, where sodium and chlorine never come closer than 0.92. `distances.npz` has, for each pair of elements, what
training crystals near the hull show; `scripts/build/build_distances.py` makes it.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from ase.data import covalent_radii

OF_SHORTEST = 0.85
"""Least distance allowed, in shortest distances of known crystals. docs/screen.md compares other values."""

OF_SHORTEST_OF_FEW = 0.8
"""The same where fewer than `ENOUGH` crystals show a pair, whose shortest distance is then less certain."""

OF_RADII = 0.7
"""Least distance allowed for pairs that hardly any known crystal shows, in sums of covalent radii."""

ENOUGH, FEW = 20, 5
"""Crystals that must show a pair before their shortest distance decides alone, and at all."""

OF_USUAL = 1.1
"""Longest bond, in usual distances of a pair; no bond is longer than `LONGEST_BOND`, in sums of covalent radii."""

LONGEST_BOND = 1.25

N_ELEMENTS = len(covalent_radii)


@dataclass(frozen=True)
class PairDistances:
    """Distances by atomic numbers, symmetric (N_ELEMENTS, N_ELEMENTS).

    Attributes:
        shortest: Å, over the closest contacts of the pair in each crystal; infinite for pairs that none shows.
        usual: Å, median of the same.
        crystals: number of crystals that show the pair.
        metal_volumes: measured Å³ per atom of elements that are metals, as such (N_ELEMENTS,); NaN for others.
    """

    shortest: np.ndarray
    usual: np.ndarray
    crystals: np.ndarray
    metal_volumes: np.ndarray


@cache
def pair_distances() -> PairDistances:
    """Load the shipped distances."""
    with (files("matgen.checks") / "distances.npz").open("rb") as file:
        raw = dict(np.load(file))
    first, second = raw["pairs"].T.astype(int)

    def square(values: np.ndarray, otherwise: float) -> np.ndarray:
        full = np.full((N_ELEMENTS, N_ELEMENTS), otherwise)
        full[first, second] = full[second, first] = values
        return full

    volumes = np.full(N_ELEMENTS, np.nan)
    volumes[: len(raw["metal_volumes"])] = raw["metal_volumes"]
    crystals = square(raw["crystals"], 0).astype(int)
    return PairDistances(square(raw["shortest"], np.inf), square(raw["usual"], np.inf), crystals, volumes)


def radii_sums() -> np.ndarray:
    """Return the sums of covalent radii (N_ELEMENTS, N_ELEMENTS), Å."""
    return np.add.outer(covalent_radii, covalent_radii)


@cache
def least_distances(*, pressed: bool = False) -> np.ndarray:
    """Return the least distance allowed of each pair of elements (N_ELEMENTS, N_ELEMENTS), Å.

    Args:
        pressed: whether crystals are under a pressure, where no distance of known crystals forbids a shorter one above
            `OF_RADII`.
    """
    known, by_radii = pair_distances(), OF_RADII * radii_sums()
    by_data = np.where(known.crystals >= ENOUGH, OF_SHORTEST, OF_SHORTEST_OF_FEW) * known.shortest
    lower = np.minimum(by_data, by_radii)
    return lower if pressed else np.where(known.crystals >= FEW, by_data, lower)


@cache
def longest_bonds() -> np.ndarray:
    """Return the longest bond of each pair of elements (N_ELEMENTS, N_ELEMENTS), Å."""
    known, by_radii = pair_distances(), LONGEST_BOND * radii_sums()
    return np.where(known.crystals >= FEW, np.minimum(OF_USUAL * known.usual, by_radii), by_radii)
