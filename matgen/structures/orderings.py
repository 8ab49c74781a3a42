"""Ordered supercells of a partially occupied crystal: the smallest ones, each once, ranked by electrostatic energy."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from matgen.chemistry.elements import ATOMIC_NUMBERS, SYMBOLS, reduced
from matgen.chemistry.formal_charges import quick_charges
from matgen.structures.arrangements import TooManyError, arrangements, cliques, distinct
from matgen.structures.broken import BrokenStructureError
from matgen.structures.disorder import TOLERANCE, VACANT, Disorder, Numbers
from matgen.structures.superlattices import Superlattice, n_superlattices, points, superlattices

MOST_ATOMS = 64
"""Atoms of an ordered supercell at most."""

MOST_CELLS = 100
"""Primitive cells of a supercell whose size is told, though it is not made."""

MOST_POSITIONS = 256
"""Positions, occupied or not, in a supercell at most."""

MOST_ARRANGEMENTS = 300_000
"""Arrangements that are enumerated at most, in superlattices of all shapes."""

MOST_WORK = 500_000
"""Number of shapes times the square of the number of positions, at most."""

SPLIT = 1.0
"""Å; of partially occupied sites that are closer, at most one is occupied: they are positions of one atom."""

ADVICE = "search for one that is low in energy by pymatgen's OrderDisorderedStructureTransformation"

EQUAL = 1e-5
"""Difference of energies that is none, eV/atom."""


@dataclass(frozen=True)
class Ordering:
    """One ordered supercell.

    Attributes:
        structure: ordered crystal.
        energy: electrostatic energy above that of the best one, eV/atom; NaN if there are no charges.
        n_equal: number of arrangements that symmetry makes equal to it, in supercells of all shapes.
    """

    structure: Structure
    energy: float
    n_equal: int


@dataclass(frozen=True)
class Orderings:
    """The best orderings of a crystal.

    Attributes:
        best: some of them, best first.
        n_distinct: how many there are in supercells of this size, equal ones by symmetry counted once.
        n_all: how many there are, equal ones counted.
        n_cells: primitive cells in the supercell.
        charges: by symbol, e; empty if none balance, and then those of highest symmetry come first.
        as_given: atoms in the supercell by the occupancies.
        as_ordered: atoms in the supercell.
        rounded: whether occupancies were rounded.
        same_energy: whether all have the same electrostatic energy.
    """

    best: tuple[Ordering, ...]
    n_distinct: int
    n_all: int
    n_cells: int
    charges: Mapping[str, float]
    as_given: Mapping[str, float]
    as_ordered: Mapping[str, int]
    rounded: bool
    same_energy: bool


def orderings(structure: Structure, most: int) -> Orderings:
    """Return the best orderings in the smallest supercells in which occupancies are whole numbers of sites.

    The number of sites of each kind that have each element may differ from the occupancy by `TOLERANCE` of the sites.

    Args:
        structure: with partially occupied or mixed sites.
        most: orderings at most.

    Raises:
        BrokenStructureError: there are none, or too many to enumerate.
    """
    disorder = Disorder.of(structure)
    _check_split(disorder)
    blocked = False
    n_cells = 0
    while True:
        n_cells += 1
        if _least_atoms(disorder) * n_cells > MOST_ATOMS:
            raise BrokenStructureError(_no_supercell(disorder, blocked=blocked))
        counts = disorder.counts(n_cells)
        if counts is None or _n_atoms(counts) > MOST_ATOMS:
            continue
        try:
            found = _Enumeration(disorder, n_cells, counts).orderings(most)
        except TooManyError as error:
            if blocked:
                raise BrokenStructureError(_no_supercell(disorder, blocked=True)) from error
            raise BrokenStructureError(
                f"disordered: {error} in supercells of {_n_atoms(counts)} atoms are not enumerated; {ADVICE}"
            ) from error
        if found is not None:
            return found
        blocked = True


def _check_split(disorder: Disorder) -> None:
    """Refuse positions of one atom that are occupied more often than once in sum.

    Raises:
        BrokenStructureError: some are.
    """
    amounts = np.array([1.0 - disorder.amounts[group].get(VACANT, 0.0) for group in disorder.groups])
    distances = Lattice(disorder.lattice).get_all_distances(disorder.coords, disorder.coords)
    partial = amounts < 1
    split = (distances < SPLIT) & partial[:, None] & partial[None] & ~np.eye(len(amounts), dtype=bool)
    near = [frozenset(np.flatnonzero(row).tolist()) for row in split]
    for one in cliques(np.arange(len(near)), near):
        if (total := float(amounts[sorted(one)].sum())) > 1 + TOLERANCE * len(one):
            raise BrokenStructureError(
                f"disordered: {len(one)} sites within {SPLIT:g} Å of each other are positions of one atom, and are "
                f"occupied {total:.3g} times in sum; correct the occupancies"
            )


def _least_atoms(disorder: Disorder) -> float:
    """Return the atoms of a cell if all occupancies are rounded down."""
    sizes = np.bincount(disorder.groups)
    shares = (sum(x for one, x in amounts.items() if one != VACANT) for amounts in disorder.amounts)
    return max(0.5, sum(size * max(share - TOLERANCE, 0.0) for size, share in zip(sizes, shares, strict=True)))


def _n_atoms(counts: tuple[dict[str, int], ...]) -> int:
    return sum(n for one in counts for symbol, n in one.items() if symbol != VACANT)


def _no_supercell(disorder: Disorder, *, blocked: bool) -> str:
    mixed = [amounts for amounts in disorder.amounts if len(amounts) > 1]
    each = dict.fromkeys(", ".join(f"{one}:{x:.3g}" for one, x in amounts.items() if one) for amounts in mixed)
    said = "; ".join(list(each)[:4])
    if blocked:
        said = f"sites closer than {SPLIT:g} Å, of which one is occupied at a time, cannot be occupied by {said}"
        return f"disordered: {said}, in the supercells that were tried; correct the occupancies"
    smallest = next((found for n in range(1, MOST_CELLS + 1) if (found := disorder.counts(n)) is not None), None)
    needed = f"more than {MOST_CELLS} primitive cells" if smallest is None else f"{_n_atoms(smallest):,} atoms"
    return (
        f"disordered: occupancies {said} are whole numbers of sites (within {TOLERANCE:g}, and no element lost) in "
        f"supercells of {needed} and more; more than {MOST_ATOMS} atoms are not ordered; {ADVICE}"
    )


@dataclass(frozen=True, eq=False)
class _Shape:
    """A superlattice, with the arrangements in it."""

    lattice: Superlattice
    found: Numbers
    classes: list[tuple[int, int]]
    n_operations: int


@dataclass(frozen=True, eq=False)
class _Enumeration:
    """All arrangements in supercells of one size."""

    disorder: Disorder
    n_cells: int
    counts: tuple[dict[str, int], ...]

    @cached_property
    def elements(self) -> list[str]:
        """Symbols; their place, from 1, stands for them in arrangements."""
        return sorted({one for numbers in self.counts for one, n in numbers.items() if n} - {VACANT})

    @cached_property
    def groups(self) -> Numbers:
        """The group of each site of the supercell."""
        return np.repeat(self.disorder.groups, self.n_cells)

    def orderings(self, most: int) -> Orderings | None:
        """Return the best orderings; None if sites that exclude each other leave none.

        Raises:
            TooManyError: there are too many.
        """
        shapes = self._shapes()
        amounts = Counter[str]()
        given: dict[str, float] = defaultdict(float)
        sizes = np.bincount(self.groups)
        for numbers, shares, size in zip(self.counts, self.disorder.amounts, sizes, strict=True):
            amounts.update({one: n for one, n in numbers.items() if one != VACANT and n})
            for one in shares.keys() - {VACANT}:
                given[one] += shares[one] * float(size)
        if not any(len(shape.found) for shape in shapes):
            return None
        charges = self._charges(amounts)
        merits = [
            (energy, -shape.n_operations // size, place, first, size)
            for place, shape in enumerate(shapes)
            for (first, size), energy in zip(shape.classes, self._energies(shape, charges), strict=True)
        ]
        least = min(energy for energy, *_ in merits)
        merits = [((energy - least) / sum(amounts.values()), *rest) for energy, *rest in merits]
        merits.sort(key=lambda one: (round(one[0] / EQUAL), *one[1:]))
        best = tuple(
            Ordering(
                self._structure(shapes[place], first),
                max(energy, 0.0) if charges else math.nan,
                size * shapes[place].lattice.n_equal,
            )
            for energy, _, place, first, size in merits[:most]
        )
        n_all = sum(len(shape.found) * shape.lattice.n_equal for shape in shapes)
        same = merits[-1][0] < EQUAL
        rounded = self.disorder.is_rounded(self.counts, self.n_cells)
        return Orderings(best, len(merits), n_all, self.n_cells, charges, given, amounts, rounded, same)

    def _shapes(self) -> list[_Shape]:
        n_positions = len(self.groups)
        if n_positions > MOST_POSITIONS:
            raise TooManyError(f"more than {MOST_POSITIONS} positions")
        rotations = self.disorder.rotations
        n_shapes = n_superlattices(self.n_cells)
        if n_shapes / len(rotations) * n_positions**2 > MOST_WORK:
            raise TooManyError(f"{n_shapes:,} shapes")
        self._check_number(n_shapes / len(rotations))
        shapes: list[_Shape] = []
        left = MOST_ARRANGEMENTS
        for lattice in superlattices(self.n_cells, rotations):
            found = self._arrangements(lattice, left)
            permutations = self.disorder.permutations(lattice)
            shapes.append(_Shape(lattice, found, distinct(found, permutations), len(permutations)))
            left -= len(found)
            if len(shapes) * n_positions**2 > MOST_WORK:
                raise TooManyError(f"more than {len(shapes) - 1} shapes")
        return shapes

    def _check_number(self, n_shapes: float) -> None:
        """Refuse without enumeration where the number of arrangements is known: no sites exclude each other."""
        if any(self._near(lattice).count(frozenset()) < len(self.groups) for lattice in _first(self.n_cells)):
            return
        logs = math.log(max(n_shapes, 1.0))
        for numbers in self.counts:
            logs += math.lgamma(1 + sum(numbers.values())) - sum(math.lgamma(1 + n) for n in numbers.values())
        if logs > math.log(MOST_ARRANGEMENTS) + 1e-9:
            said = f"{math.exp(logs):.2g}" if logs < 300 else f"10^{logs / math.log(10):.0f}"
            raise TooManyError(f"at least {said} arrangements (limit {MOST_ARRANGEMENTS:,})")

    def _arrangements(self, lattice: Superlattice, most: int) -> Numbers:
        numbers = [
            np.array([group.get(VACANT, 0), *(group.get(one, 0) for one in self.elements)]) for group in self.counts
        ]
        groups = [np.flatnonzero(self.groups == group) for group in range(len(self.counts))]
        try:
            return arrangements(groups, numbers, self._near(lattice), most)
        except TooManyError as error:
            raise TooManyError(f"more than {MOST_ARRANGEMENTS:,} arrangements") from error

    def _near(self, lattice: Superlattice) -> list[frozenset[int]]:
        """Return for each site those that exclude it: partially occupied ones within `SPLIT`."""
        partial = np.array([numbers.get(VACANT, 0) > 0 for numbers in self.counts])[self.groups]
        cell, coords = self._cell(lattice)
        close = cell.get_all_distances(coords, coords) < SPLIT
        close &= partial[:, None] & partial[None] & ~np.eye(len(coords), dtype=bool)
        return [frozenset(np.flatnonzero(row).tolist()) for row in close]

    def _cell(self, lattice: Superlattice) -> tuple[Lattice, Numbers]:
        """Return a compact cell of the supercell, and the fractional coordinates of its sites."""
        rows = np.array(lattice.rows)
        at = (self.disorder.coords[:, None] + points(lattice.rows)).reshape(-1, 3)
        cell = Lattice(rows @ self.disorder.lattice)
        if self.n_cells > 1:
            cell = cell.get_lll_reduced_lattice()
        return cell, cell.get_fractional_coords(at @ self.disorder.lattice) % 1.0

    def _charges(self, amounts: Mapping[str, int]) -> dict[str, float]:
        """Return the charges of the elements, e; empty if none balance."""
        found = quick_charges(reduced({ATOMIC_NUMBERS[one]: n for one, n in amounts.items()}))
        return {SYMBOLS[z]: charge for z, charge in (found or {}).items()}

    def _energies(self, shape: _Shape, charges: Mapping[str, float]) -> Numbers:
        """Return the electrostatic energy of each class, eV; zero without charges."""
        if not charges or not shape.classes:
            return np.zeros(len(shape.classes))
        cell, coords = self._cell(shape.lattice)
        pairs = EwaldSummation(Structure(cell, ["H+"] * len(coords), coords)).total_energy_matrix
        of_label = np.array([0.0, *(charges[one] for one in self.elements)])
        q = of_label[shape.found[[first for first, _ in shape.classes]]]
        return np.einsum("ni,ij,nj->n", q, pairs, q, optimize=True)

    def _structure(self, shape: _Shape, place: int) -> Structure:
        cell, coords = self._cell(shape.lattice)
        labels = shape.found[place]
        full = np.flatnonzero(labels)
        return Structure(cell, [self.elements[labels[i] - 1] for i in full], coords[full]).get_sorted_structure()


def _first(n_cells: int) -> list[Superlattice]:
    """Return the superlattice along the last axis, in which all neighbours occur."""
    return [Superlattice(((1, 0, 0), (0, 1, 0), (0, 0, n_cells)), 1, ())]
