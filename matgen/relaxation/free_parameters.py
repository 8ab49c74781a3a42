"""Relaxation in the free numbers of a template, many crystals side by side.

A crystal of high symmetry has a handful of free numbers; a quasi-Newton walk in them, from a guess at the stiffness of
lattice and atoms, needs some ten evaluations, and cannot leave the space group. Each crystal walks on its own; they
share no more than the calls of the network.
"""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from pymatgen.core.structure import Structure
from scipy.linalg import block_diag

from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.quotient_graph import Operations, SymmetryMismatchError
from matgen.relaxation.symmetric import ATOM_STIFFNESS, BULK_MODULUS, CONVERGED, RelaxConfig
from matgen.structures.candidate import Relaxation, as_crystal
from matgen.structures.conversion import described, structures, without_symmetry
from matgen.templates.batch import Geometry, TemplateBatch, concatenated
from matgen.templates.expand import conventional_cell, expand
from matgen.templates.symmetry import NoTemplateError
from matgen.templates.wyckoff import wyckoff_table

SHEAR_MODULUS = BULK_MODULUS * 0.46  # of Poisson's ratio 0.3
LONGEST_STEP = 0.15
"""Å, or strain, in one step."""

RISE = 1e-4
"""eV/atom by which a step may go up: what float32 and a cutoff cannot tell."""

HOPELESS_AFTER = 3
HOPELESS_FACTOR = 4.0
"""A walk is given up when, after so many steps, so many times what the quadratic model still promises to gain would
leave it too high."""


@dataclass(frozen=True)
class Point:
    """One place on a walk.

    Attributes:
        x: free numbers (n_free,).
        energy: eV per cell.
        slope: of the energy (n_free,), eV.
        max_force: largest force on an atom, eV/Å.
        max_stress: largest component of the stress, eV/Å³.
        volume: Å³.
    """

    x: np.ndarray
    energy: float
    slope: np.ndarray
    max_force: float
    max_stress: float
    volume: float


@dataclass(frozen=True)
class Course:
    """What a relaxation does not change, and the coordinates it walks in.

    Attributes:
        index: of the structure.
        batch: its template.
        start: its free numbers, in float64.
        symmetry: operations on its atoms.
        ceiling: energy in eV/atom above which it need not be pursued; infinite for none.
    """

    index: int
    batch: TemplateBatch
    start: Geometry
    symmetry: Operations
    ceiling: float = math.inf
    started: float = field(default_factory=time.perf_counter)

    @cached_property
    def free(self) -> np.ndarray:
        """Which of the lattice numbers and coordinates, in this order, are free."""
        return torch.cat([self.batch.free_lattice.ravel(), self.batch.free_coords.ravel()]).numpy()

    @cached_property
    def n_atoms(self) -> int:
        """Atoms in the primitive cell."""
        return int(self.batch.n_atoms[0])

    @property
    def origin(self) -> np.ndarray:
        """The free numbers of the start (n_free,)."""
        return _flat(self.start)[self.free]

    def at(self, x: np.ndarray) -> Geometry:
        """The geometry at free numbers (n_free,)."""
        full = self._spread(x, _flat(self.start))
        return Geometry(torch.from_numpy(full[None, :6]), torch.from_numpy(full[6:].reshape(-1, 3)))

    def stiffness(self) -> np.ndarray:
        """A guess at the second derivatives of the energy (n_free, n_free), eV.

        Each atom is tied to its place with `ATOM_STIFFNESS`; the cell is isotropic, lattice numbers are its strain.
        """
        volume = float(torch.linalg.det(expand(self.batch, self.start).cell[0]).abs())
        lattice = np.full(6, 2 * SHEAR_MODULUS)
        lattice[5] = 3 * BULK_MODULUS
        sites = [ATOM_STIFFNESS * block for block in self._site_metric(self.start)]
        whole = block_diag(np.diag(volume * lattice), *sites)
        return whole[np.ix_(self.free, self.free)]

    def max_force(self, geometry: Geometry, by_coords: np.ndarray) -> float:
        """Largest force on an atom, eV/Å, of the slope in the coordinates (n_sites, 3).

        The forces f of a symmetric crystal are a combination J a of the directions in which its free numbers u move
        the atoms, and ∂E/∂u = -Jᵀ f, so that |f|² = (∂E/∂u)ᵀ (JᵀJ)⁻¹ ∂E/∂u, shared by the atoms of a site.
        """
        inverse = np.linalg.pinv(self._site_metric(geometry), hermitian=True)
        squares = np.einsum("si,sij,sj->s", by_coords, inverse, by_coords)
        return float(np.sqrt(np.maximum(squares, 0) / self.batch.site_multiplicity.numpy()).max())

    def length(self, x: np.ndarray, step: np.ndarray) -> float:
        """The largest move of an atom (Å) or change of a lattice number that a step makes."""
        spread = self._spread(step, np.zeros(len(self.free)))
        moved = spread[6:].reshape(-1, 3)
        squares = np.einsum("si,sij,sj->s", moved, self._site_metric(self.at(x)), moved)
        atoms = np.sqrt(np.maximum(squares, 0) / self.batch.site_multiplicity.numpy())
        return max(float(np.abs(spread[:6]).max()), float(atoms.max()))

    def _spread(self, x: np.ndarray, full: np.ndarray) -> np.ndarray:
        full[self.free] = x
        return full

    def _site_metric(self, geometry: Geometry) -> np.ndarray:
        """JᵀJ = Σ over the atoms of a site of ∂r/∂u_i · ∂r/∂u_j (n_sites, 3, 3), Å²; zero where not free."""
        table = wyckoff_table()
        first = table.member_offset[self.batch.site_position]
        along = torch.einsum("sji,jk->sik", table.matrix[first], conventional_cell(self.batch, geometry.lattice)[0])
        return (along @ along.mT * self.batch.site_multiplicity[:, None, None]).numpy()


class Walk:
    """A relaxation under way: damped BFGS with a trust radius, from the lowest point so far."""

    def __init__(self, course: Course, first: Point) -> None:
        self.course, self.first, self.best = course, first, first
        self.steps = 0
        self._hessian = course.stiffness()
        self._trust = 1.0
        self._record, self._record_step = math.inf, 0
        self._swelling = 1.0

    def arrive(self, point: Point) -> None:
        """Learn from the point that was asked for."""
        self.steps += 1
        self._swelling = point.volume / self.first.volume
        self._learn(point.x - self.best.x, point.slope - self.best.slope)
        if point.energy <= self.best.energy + RISE * self.course.n_atoms:
            self.best = point
            self._trust = min(1.0, self._trust * 1.5)
        else:  # also where it is not a number
            self._trust *= 0.4

    def end(self, config: RelaxConfig) -> str:
        """Why the walk is over; empty if it goes on."""
        energy = self.best.energy / self.course.n_atoms
        if energy < self._record - config.progress:
            self._record, self._record_step = energy, self.steps
        gain = 0.5 * float(self.best.slope @ np.linalg.solve(self._hessian, self.best.slope)) / self.course.n_atoms
        if self.best.max_force < config.fmax and self.best.max_stress < config.smax:
            return CONVERGED
        if not math.isfinite(energy) or not 1 / config.max_volume_change < self._swelling < config.max_volume_change:
            return f"exploded: {self._swelling:.2f} of its first volume, {energy:.3g} eV/atom"
        if self.steps - self._record_step >= config.patience:
            return f"stalled: no {config.progress:g} eV/atom gained in {config.patience} steps"
        if self.steps >= HOPELESS_AFTER and energy - HOPELESS_FACTOR * gain > self.course.ceiling:
            return f"hopeless: still {energy:.3f} eV/atom, too high by {energy - self.course.ceiling:.3f}"
        return "out of steps" if self.steps >= config.max_steps else ""

    def next(self) -> np.ndarray:
        """Where the energy is wanted next (n_free,)."""
        step = -np.linalg.solve(self._hessian, self.best.slope)
        longest, limit = self.course.length(self.best.x, step), LONGEST_STEP * self._trust
        return self.best.x + step * (limit / longest if longest > limit else 1.0)

    def _learn(self, step: np.ndarray, change: np.ndarray) -> None:
        """Damped BFGS update (Nocedal and Wright, Numerical Optimization, procedure 18.2)."""
        carried = self._hessian @ step
        curvature, expected = float(step @ change), float(step @ carried)
        if not expected > 0 or not math.isfinite(curvature):
            return
        if curvature < 0.2 * expected:
            share = 0.8 * expected / (expected - curvature)
            change = share * change + (1 - share) * carried
        self._hessian += np.outer(change, change) / float(step @ change) - np.outer(carried, carried) / expected


def relax_batch(
    initial_geometries: Iterable[tuple[int, Structure, float]],
    surface: CHGNetSurface,
    config: RelaxConfig | None = None,
    slots: int = 16,
) -> Iterator[tuple[int, Structure, Relaxation]]:
    """Relax structures, up to `slots` at a time; each result as soon as it is there.

    A structure is left out that cannot be told in free numbers: its elements are unknown to us, its symmetry is not
    found, its atoms do not have the symmetry that is, or one of them has no neighbours.

    Args:
        initial_geometries: index, structure, and the energy in eV/atom above which it need not be pursued.
        surface: the potential.
        config: thresholds.
        slots: crystals under way at once.
    """
    config = config or RelaxConfig()
    courses = filter(None, (_course(*start, surface, config) for start in initial_geometries))
    walks: list[Walk] = []
    while True:
        fresh = list(islice(courses, slots - len(walks)))
        if not fresh and not walks:
            return
        asked = [(course, course.origin) for course in fresh] + [(walk.course, walk.next()) for walk in walks]
        points = _points(asked, surface)
        for walk, point in zip(walks, points[len(fresh) :], strict=True):
            walk.arrive(point)
        walks += [Walk(course, point) for course, point in zip(fresh, points, strict=False)]
        ends = [walk.end(config) for walk in walks]
        yield from (_ended(walk, reason, surface.name) for walk, reason in zip(walks, ends, strict=True) if reason)
        walks = [walk for walk, reason in zip(walks, ends, strict=True) if not reason]


def _course(
    index: int, structure: Structure, ceiling: float, surface: CHGNetSurface, config: RelaxConfig
) -> Course | None:
    """Where a relaxation begins; nothing where there is no description to walk in."""
    if not (np.isfinite(structure.frac_coords).all() and np.isfinite(structure.lattice.matrix).all()):
        return None
    try:
        template, told = described(structure, config.symprec) if config.keep_symmetry else without_symmetry(structure)
        batch, geometry = TemplateBatch.of([template]), Geometry(told.lattice.double(), told.coords.double())
        (symmetry,) = surface.symmetry(batch, geometry)
    except (NoTemplateError, SymmetryMismatchError):
        return None
    if surface.isolated(batch, geometry).any():
        return None
    return Course(index, batch, geometry, symmetry, ceiling)


def _points(asked: list[tuple[Course, np.ndarray]], surface: CHGNetSurface) -> list[Point]:
    """Energy and slope at free numbers of each course."""
    places = [course.at(x) for course, x in asked]
    batch, geometry = concatenated([(course.batch, place) for (course, _), place in zip(asked, places, strict=True)])
    slope = surface.slope(batch, geometry, [course.symmetry for course, _ in asked])
    by_coords = slope.coords.split([len(course.batch.site_position) for course, _ in asked])
    return [
        Point(
            x=x,
            energy=float(slope.energy[k]),
            slope=torch.cat([slope.lattice[k], by_coords[k].ravel()]).numpy()[course.free],
            max_force=course.max_force(places[k], by_coords[k].numpy()),
            max_stress=float(slope.stress[k].abs().max()),
            volume=float(slope.volume[k]),
        )
        for k, (course, x) in enumerate(asked)
    ]


def _ended(walk: Walk, reason: str, potential: str) -> tuple[int, Structure, Relaxation]:
    course, best = walk.course, walk.best
    report = Relaxation(
        converged=reason == CONVERGED,
        reason=reason,
        steps=walk.steps,
        energy=best.energy / course.n_atoms,
        energy_before=walk.first.energy / course.n_atoms,
        max_force=best.max_force,
        max_stress=best.max_stress,
        seconds=time.perf_counter() - course.started,
        potential=potential,
    )
    crystal = as_crystal(structures(expand(course.batch, course.at(best.x)))[0])
    return course.index, crystal, report


def _flat(geometry: Geometry) -> np.ndarray:
    return torch.cat([geometry.lattice.ravel(), geometry.coords.ravel()]).numpy().copy()
