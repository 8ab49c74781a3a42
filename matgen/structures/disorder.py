"""A partially occupied crystal: its primitive cell, groups of equivalent sites, and what occupies them."""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import spglib
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure

from matgen.structures.broken import BrokenStructureError
from matgen.structures.cif_elements import hydrogen
from matgen.structures.spglib_failures import searched
from matgen.structures.superlattices import Superlattice, places, points

TOLERANCE = 0.02
"""Difference between an occupancy and a whole number of sites that is rounded away."""

EXACT = 0.002
"""Difference that is no rounding: occupancies are given with three digits."""

SAME_SITE = 0.01
"""Å; tolerance of symmetry."""

MOST_SITES = 500
"""Sites in the cell as given."""

VACANT = ""
"""Stands for no atom among the occupants of a site."""

Numbers = np.ndarray
"""An array of numbers."""


@dataclass(frozen=True, eq=False)
class Disorder:
    """The primitive cell of a crystal with partially occupied sites.

    Attributes:
        lattice: row vectors (3, 3), Å.
        coords: fractional (n_sites, 3).
        groups: for each site the number of its group of equivalent sites.
        amounts: for each group the occupancy of each element, and of `VACANT`; 1 in sum.
        rotations: of the operations of symmetry (n, 3, 3).
        images: the site (n, n_sites) onto which each operation maps each site.
        shifts: lattice vectors (n, n_sites, 3) from there to the image.
    """

    lattice: Numbers
    coords: Numbers
    groups: Numbers
    amounts: tuple[dict[str, float], ...]
    rotations: Numbers
    images: Numbers
    shifts: Numbers

    @classmethod
    def of(cls, structure: Structure) -> "Disorder":
        """Return the disorder of a crystal.

        Raises:
            BrokenStructureError: it has no volume, too many sites, or an occupant that is no element.
        """
        if len(structure) > MOST_SITES:
            raise BrokenStructureError(f"disordered: {len(structure)} sites; more than {MOST_SITES} are not ordered")
        occupants = [_amounts(site) for site in structure]
        kinds = list(dict.fromkeys(map(_key, occupants)))
        amounts_of = {_key(one): one for one in occupants}
        cell: Any = (structure.lattice.matrix, structure.frac_coords, [kinds.index(_key(one)) + 1 for one in occupants])
        primitive = searched(spglib.standardize_cell, cell, to_primitive=True, no_idealize=True, symprec=SAME_SITE)
        if primitive is not None and len(primitive[2]) < len(structure):
            cell = primitive
        lattice, coords, types = (np.array(one) for one in cell)
        rotations, images, shifts = _operations(lattice, coords, types)
        first = images.min(axis=0)  # of the orbit of each site
        numbers = {site: place for place, site in enumerate(sorted(set(first.tolist())))}
        return cls(
            lattice,
            coords,
            np.array([numbers[site] for site in first.tolist()]),
            tuple(amounts_of[kinds[types[site] - 1]] for site in numbers),
            rotations,
            images,
            shifts,
        )

    def counts(self, n_cells: int) -> tuple[dict[str, int], ...] | None:
        """Return how many sites of each group have each occupant in so many cells; None if they are no whole numbers.

        No element may vanish.
        """
        sizes = np.bincount(self.groups) * n_cells
        rounded = [_rounded(amounts, int(size)) for amounts, size in zip(self.amounts, sizes, strict=True)]
        for amounts, numbers, size in zip(self.amounts, rounded, sizes, strict=True):
            if any(abs(numbers[one] / size - amounts[one]) > TOLERANCE + 1e-9 for one in amounts):
                return None
        elements = {one for amounts in self.amounts for one in amounts} - {VACANT}
        return tuple(rounded) if all(any(n.get(one) for n in rounded) for one in elements) else None

    def is_rounded(self, counts: tuple[dict[str, int], ...], n_cells: int) -> bool:
        """Return whether numbers of sites differ from the occupancies."""
        sizes = np.bincount(self.groups) * n_cells
        pairs = zip(self.amounts, counts, sizes, strict=True)
        return any(abs(n[one] / size - amounts[one]) > EXACT for amounts, n, size in pairs for one in amounts)

    def permutations(self, shape: Superlattice) -> Numbers:
        """Return the group (n, n_sites in the supercell) of symmetry as permutations of sites.

        The sites of the supercell are those of the cell, each at all `points`.
        """
        at = points(shape.rows)
        n_points = len(at)
        kept = list(shape.kept)
        moved = np.einsum("oij,pj->opi", self.rotations[kept], at)[:, None] + self.shifts[kept][:, :, None]
        moved = moved[:, None] + at[None, :, None, None]  # (operations, shifts, n_sites, n_points, 3)
        sites = self.images[kept][:, None, :, None] * n_points + places(moved, shape.rows)
        return sites.reshape(len(kept) * n_points, -1)


def _amounts(site: Any) -> dict[str, float]:
    """Return the occupancy of each element of a site and of its vacancy."""
    found: dict[str, float] = defaultdict(float)
    for specie, amount in site.species.items():
        element = getattr(specie, "element", specie)
        if not isinstance(element, Element):
            raise BrokenStructureError(f"{specie} is no element")
        found[hydrogen(element.symbol)] += float(amount)
    if not all(math.isfinite(x) and x > 0 for x in found.values()) or not found:
        raise BrokenStructureError(f"expected occupancies from 0 to 1, got {site.species_string!r}")
    total = sum(found.values())
    if total > 1 + EXACT:
        raise BrokenStructureError(f"a site is occupied {total:.4g} times in sum ({site.species_string}); correct it")
    vacant = {VACANT: 1 - total} if total < 1 - EXACT else {}
    scale = 1.0 if vacant else 1 / total
    return {symbol: scale * found[symbol] for symbol in sorted(found)} | vacant


def _key(amounts: dict[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple((symbol, round(amount, 3)) for symbol, amount in amounts.items())


def _rounded(amounts: dict[str, float], size: int) -> dict[str, int]:
    """Return whole numbers with the sum `size`, nearest to shares of it (largest remainders)."""
    exact = {one: amount * size for one, amount in amounts.items()}
    whole = {one: math.floor(x + 1e-6) for one, x in exact.items()}
    order = sorted(exact, key=lambda one: whole[one] - exact[one])
    for one in order[: size - sum(whole.values())]:
        whole[one] += 1
    return whole


def _operations(lattice: Numbers, coords: Numbers, types: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return rotations, images of sites and shifts; the identity alone where no symmetry is found."""
    identity = np.eye(3, dtype=int)[None], np.arange(len(coords))[None], np.zeros((1, len(coords), 3), dtype=int)
    found = searched(spglib.get_symmetry, (lattice, coords, types), symprec=SAME_SITE)
    if found is None:
        return identity
    kept = []
    for rotation, translation in zip(found["rotations"], found["translations"], strict=True):
        moved = coords @ rotation.T + translation
        away = moved[:, None] - coords[None]
        squares = (((away - np.rint(away)) @ lattice) ** 2).sum(axis=-1)
        squares[types[:, None] != types[None]] = np.inf
        image = squares.argmin(axis=1)
        if len(set(image.tolist())) < len(coords):
            return identity
        kept.append((rotation, image, np.rint(moved - coords[image]).astype(int)))
    rotations, images, shifts = zip(*kept, strict=True)
    return np.array(rotations), np.array(images), np.array(shifts)
