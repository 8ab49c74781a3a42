"""Sites of an asymmetric unit expanded by symmetry operations into the atoms of a cell."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from matgen.structures.broken import BrokenStructureError
from matgen.structures.cif_elements import hydrogen
from matgen.structures.cif_sites import MOST_SITES, CifSite
from matgen.structures.operations import Numbers, Operations

ONE_SITE = 0.1
"""Å; images of a site within it are one atom on a special position, whose coordinates were rounded."""

ONE_POSITION = 0.02
"""Å; sites of the list within it share one position."""

FULL = 0.005
"""An occupancy that differs from 1 by less is 1: it was refined."""

OVERFULL = 1.05
"""Occupancies up to this are 1, with a remark."""


@dataclass
class Orbit:
    """The images of one site, and of the sites that share its position.

    Attributes:
        coords: fractional (n, 3), in the cell.
        labels: of the sites.
        amounts: occupancy of each element, at most 1 in sum once it is settled.
        full: whether each of its sites is fully occupied.
        multiplicities: that the file gives for its sites.
    """

    coords: Numbers
    labels: list[str]
    amounts: dict[str, float]
    full: bool
    multiplicities: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Expansion:
    """The atoms of a cell.

    Attributes:
        orbits: with their images.
        order: of the group, in this cell.
        remarks: what was read otherwise than written.
    """

    orbits: tuple[Orbit, ...]
    order: int
    remarks: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, float]:
        """Atoms of each element in the cell, isotopes as hydrogen."""
        counts: Counter[str] = Counter()
        for orbit in self.orbits:
            for symbol, amount in orbit.amounts.items():
                counts[hydrogen(symbol)] += len(orbit.coords) * amount  # type: ignore[assignment]
        return dict(counts)

    @property
    def n_positions(self) -> int:
        """Number of positions in the cell."""
        return sum(len(orbit.coords) for orbit in self.orbits)

    def structure(self, lattice: Lattice) -> Structure:
        """Return the crystal, with the least electronegative elements first."""
        species = [_elements(orbit.amounts) for orbit in self.orbits for _ in orbit.coords]
        coords = np.concatenate([orbit.coords for orbit in self.orbits])
        return Structure(lattice, species, coords).get_sorted_structure()


def _elements(amounts: dict[str, float]) -> dict[str, float]:
    """Return occupancies with isotopes as hydrogen."""
    found: dict[str, float] = {}
    for symbol, amount in amounts.items():
        found[hydrogen(symbol)] = found.get(hydrogen(symbol), 0.0) + amount
    return found


def expand_sites(sites: Sequence[CifSite], operations: Operations, lattice: Lattice) -> Expansion:
    """Expand sites by operations; images that nearly coincide are one atom.

    Raises:
        BrokenStructureError: different atoms share a position, or there are too many.
    """
    metric = lattice.matrix @ lattice.matrix.T
    orbits: list[Orbit] = []
    known = _Positions(metric)
    n_atoms = 0
    for site in sites:
        at = known.find(np.array(site.coords))
        orbit = None if at is None else _shared(orbits[at[0]], site, at[1])
        if orbit is None:
            coords = _images(np.array(site.coords), operations, metric)
            n_atoms += len(coords)
            if n_atoms > MOST_SITES:
                raise BrokenStructureError(f"more than {MOST_SITES} atoms are not read")
            orbit = Orbit(coords, [], {}, full=True)
            known.add(len(orbits), coords)
            orbits.append(orbit)
        orbit.labels.append(site.label)
        orbit.full &= abs(site.occupancy - 1) < FULL
        orbit.amounts[site.symbol] = orbit.amounts.get(site.symbol, 0.0) + site.occupancy
        orbit.multiplicities += [] if site.multiplicity is None else [site.multiplicity]
    remarks = [remark for orbit in orbits if (remark := _settle(orbit))]
    left = [orbit for orbit in orbits if orbit.amounts]
    if not left:
        raise BrokenStructureError("no site is occupied")
    return Expansion(tuple(left), len(operations), tuple(dict.fromkeys(remarks)))


class _Positions:
    """Positions that are taken, with the orbit of each."""

    def __init__(self, metric: Numbers) -> None:
        self._metric, self._n = metric, 0
        self._coords, self._orbit = np.empty((64, 3)), np.empty(64, dtype=int)

    def add(self, orbit: int, coords: Numbers) -> None:
        """Add the images of an orbit."""
        needed = self._n + len(coords)
        if needed > len(self._coords):
            self._coords = np.resize(self._coords, (2 * needed, 3))
            self._orbit = np.resize(self._orbit, 2 * needed)
        self._coords[self._n : needed] = coords
        self._orbit[self._n : needed] = orbit
        self._n = needed

    def find(self, coords: Numbers) -> tuple[int, float] | None:
        """Return the orbit at a position, and its distance, Å; None if there is none within `ONE_SITE`."""
        if not self._n:
            return None
        squares = _squares(self._coords[: self._n] - coords, self._metric)
        nearest = int(np.argmin(squares))
        distance = float(squares[nearest]) ** 0.5
        return (int(self._orbit[nearest]), distance) if distance < ONE_SITE else None


def _shared(orbit: Orbit, site: CifSite, distance: float) -> Orbit | None:
    """Return the orbit if a site at a distance from it is part of it; otherwise it has an orbit of its own."""
    again = orbit.full and abs(site.occupancy - 1) < FULL and set(orbit.amounts) == {site.symbol}
    return orbit if distance < ONE_POSITION or again else None


def _images(coords: Numbers, operations: Operations, metric: Numbers) -> Numbers:
    """Return the distinct images (n, 3) of a site, which is moved onto the special position that it nearly has."""
    if len(operations) == 1:
        return coords[None] % 1.0
    images = operations.rotations @ coords + operations.translations
    away = images - coords
    away -= np.rint(away)
    near = np.einsum("ni,ij,nj->n", away, metric, away) < ONE_SITE**2
    images = operations.rotations @ (coords + away[near].mean(axis=0)) + operations.translations
    images = _wrapped(images)
    left = np.ones(len(images), dtype=bool)
    kept = []
    for i in range(len(images)):
        if left[i]:
            kept.append(i)
            left &= _squares(images - images[i], metric) >= ONE_SITE**2
    return images[kept]


def _wrapped(coords: Numbers) -> Numbers:
    wrapped = coords % 1.0
    return np.where(wrapped > 1.0 - 1e-9, 0.0, wrapped)


def _squares(away: Numbers, metric: Numbers) -> Numbers:
    """Return squared lengths (n,), Å², of the shortest images of fractional vectors (n, 3)."""
    away = away - np.rint(away)
    return np.einsum("ni,ij,nj->n", away, metric, away)


def _settle(orbit: Orbit) -> str:
    """Make the amounts of an orbit occupancies of at most 1, and return a remark; empty if there is none.

    Raises:
        BrokenStructureError: more than one atom shares the position.
    """
    total, labels = sum(orbit.amounts.values()), ", ".join(orbit.labels[:5])
    if total < FULL:
        orbit.amounts = {}
        return f"{labels} left out: not occupied"
    if abs(total - 1) < FULL:
        orbit.amounts = {symbol: amount / total for symbol, amount in orbit.amounts.items() if amount > 0}
        return ""
    if total < 1:
        return ""
    if orbit.full and len(orbit.amounts) == 1:
        orbit.amounts = dict.fromkeys(orbit.amounts, 1.0)
        return f"{labels} are listed as several sites, and are one" if len(orbit.labels) > 1 else ""
    if total <= OVERFULL:
        orbit.amounts = {symbol: amount / total for symbol, amount in orbit.amounts.items()}
        return f"the occupancy {total:.4g} of {labels} is read as 1"
    raise BrokenStructureError(f"{labels} share a position, occupied {total:.4g} times in sum; correct the occupancies")
