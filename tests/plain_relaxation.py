"""One relaxation after another, by a BFGS in numpy: the plain version that batches are held against."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from pymatgen.core import Structure
from scipy.linalg import block_diag

from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.operations import Operations, operations
from matgen.relaxation.optimizer import HOPELESS_AFTER, HOPELESS_FACTOR, LONGEST_STEP, RISE
from matgen.relaxation.outcome import CONVERGED, OUT_OF_STEPS, Progress
from matgen.relaxation.problem import SHEAR_MODULUS
from matgen.relaxation.symmetric import ATOM_STIFFNESS, BULK_MODULUS
from matgen.structures.conversion import described, structures, without_symmetry
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import conventional_cell, expand
from matgen.templates.wyckoff import wyckoff_table


@dataclass(frozen=True)
class End:
    """How a relaxation ended."""

    structure: Structure
    reason: str
    steps: int
    energy: float  # eV/atom
    max_force: float


def relaxed(structure: Structure, surface: CHGNetSurface, config: RelaxConfig, ceiling: float = math.inf) -> End:
    """Relax one structure."""
    template, found = described(structure, config.symprec) if config.keep_symmetry else without_symmetry(structure)
    batch, geometry = TemplateBatch.of([template]), Geometry(found.lattice.double(), found.coords.double())
    symmetry, _ = operations(batch, expand(batch, geometry))
    problem = Problem(batch, geometry, symmetry, ceiling)
    optimizer = Optimizer(problem, point_at(problem, problem.x0, surface), config)
    while not (reason := optimizer.end()):
        optimizer.update(point_at(problem, optimizer.proposed(), surface))
    best = optimizer.best
    final = structures(expand(batch, problem.geometry(best.x)))[0]
    return End(final, reason, optimizer.steps, best.energy / problem.n_atoms, best.max_force)


def point_at(problem: "Problem", x: np.ndarray, surface: CHGNetSurface) -> "Point":
    """Energy and derivatives at free parameters."""
    geometry = problem.geometry(x)
    slope = surface.slope(problem.batch, geometry, problem.symmetry)
    return Point(
        x=x,
        energy=float(slope.energy[0]),
        slope=torch.cat([slope.lattice[0], slope.coords.ravel()]).numpy()[problem.free],
        max_force=problem.max_force(geometry, slope.coords.numpy()),
        max_stress=float(slope.stress[0].abs().max()),
        volume=float(slope.volume[0]),
    )


@dataclass(frozen=True)
class Point:
    """Energy and derivatives at one geometry of a relaxation.

    Attributes:
        x: free parameters (n_free,).
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


class Optimizer:
    """Damped BFGS; every step begins at the lowest point so far."""

    def __init__(self, problem: "Problem", first: Point, config: RelaxConfig) -> None:
        self.problem, self.first, self.best = problem, first, first
        self.steps = 0
        self._config, self._progress = config, Progress(config)
        self._hessian = problem.stiffness()
        self._trust = 1.0
        self._volume_ratio = 1.0

    def update(self, point: Point) -> None:
        """Update with the point at the proposed parameters."""
        self.steps += 1
        self._volume_ratio = point.volume / self.first.volume
        self._update_hessian(point.x - self.best.x, point.slope - self.best.slope)
        if point.energy <= self.best.energy + RISE * self.problem.n_atoms:
            self.best = point
            self._trust = min(1.0, self._trust * 1.5)
        else:  # also where it is not a number
            self._trust *= 0.4

    def end(self) -> str:
        """Why the relaxation ends; empty if it continues. Call it once per step."""
        best, n_atoms = self.best, self.problem.n_atoms
        energy, ceiling = best.energy / n_atoms, self.problem.ceiling
        failure = self._progress.failure(self.steps, energy, self._volume_ratio)
        gain = 0.5 * float(best.slope @ np.linalg.solve(self._hessian, best.slope)) / n_atoms
        if best.max_force < self._config.fmax and best.max_stress < self._config.smax:
            return CONVERGED
        if failure:
            return failure
        if self.steps >= HOPELESS_AFTER and energy - HOPELESS_FACTOR * gain > ceiling:
            return f"hopeless: still {energy:.3f} eV/atom, too high by {energy - ceiling:.3f}"
        return OUT_OF_STEPS if self.steps >= self._config.max_steps else ""

    def proposed(self) -> np.ndarray:
        """Free parameters of the next point (n_free,)."""
        step = -np.linalg.solve(self._hessian, self.best.slope)
        longest, limit = self.problem.length(self.best.x, step), LONGEST_STEP * self._trust
        return self.best.x + step * (limit / longest if longest > limit else 1.0)

    def _update_hessian(self, step: np.ndarray, change: np.ndarray) -> None:
        """Damped BFGS update (Nocedal and Wright, Numerical Optimization, procedure 18.2)."""
        carried = self._hessian @ step
        curvature, expected = float(step @ change), float(step @ carried)
        if not expected > 0 or not math.isfinite(curvature):
            return
        if curvature < 0.2 * expected:
            share = 0.8 * expected / (expected - curvature)
            change = share * change + (1 - share) * carried
        self._hessian += np.outer(change, change) / float(step @ change) - np.outer(carried, carried) / expected


@dataclass(frozen=True)
class Problem:
    """What is constant in the relaxation of one crystal: template, symmetry, initial geometry.

    Attributes:
        batch: its template, as a batch of one.
        initial: initial geometry, in float64.
        symmetry: operations on its atoms.
        ceiling: energy in eV/atom above which the relaxation is not worth finishing; infinite for none.
    """

    batch: TemplateBatch
    initial: Geometry
    symmetry: Operations
    ceiling: float = math.inf

    @cached_property
    def free(self) -> np.ndarray:
        """Which of the lattice parameters and coordinates, in this order, are free (6 + 3 n_sites,), bool."""
        return torch.cat([self.batch.free_lattice.ravel(), self.batch.free_coords.ravel()]).numpy()

    @cached_property
    def n_atoms(self) -> int:
        """Atoms in the primitive cell."""
        return int(self.batch.n_atoms[0])

    @property
    def x0(self) -> np.ndarray:
        """The free parameters of the initial geometry (n_free,)."""
        return _flat(self.initial)[self.free]

    def geometry(self, x: np.ndarray) -> Geometry:
        """The geometry at free parameters x (n_free,)."""
        full = self._spread(x, _flat(self.initial))
        return Geometry(torch.from_numpy(full[None, :6]), torch.from_numpy(full[6:].reshape(-1, 3)))

    def stiffness(self) -> np.ndarray:
        """Guess of the second derivatives of the energy (n_free, n_free), eV.

        Each atom is bound to its position with `ATOM_STIFFNESS`; the cell is isotropic, with the lattice parameters as
        its strain.
        """
        volume = float(torch.linalg.det(expand(self.batch, self.initial).cell[0]).abs())
        lattice = np.full(6, 2 * SHEAR_MODULUS)
        lattice[5] = 3 * BULK_MODULUS
        sites = [ATOM_STIFFNESS * block for block in self._site_metric(self.initial)]
        whole = block_diag(np.diag(volume * lattice), *sites)
        return whole[np.ix_(self.free, self.free)]

    def max_force(self, geometry: Geometry, by_coords: np.ndarray) -> float:
        """Largest force on an atom, eV/Å, from the derivatives in the coordinates (n_sites, 3), eV.

        The forces f of a symmetric crystal are a combination J a of the directions in which its free parameters u move
        the atoms, and ∂E/∂u = -Jᵀ f, so that |f|² = (∂E/∂u)ᵀ (JᵀJ)⁻¹ ∂E/∂u, shared by the atoms of a site.
        """
        inverse = np.linalg.pinv(self._site_metric(geometry), hermitian=True)
        squares = np.einsum("si,sij,sj->s", by_coords, inverse, by_coords)
        return float(np.sqrt(np.maximum(squares, 0) / self.batch.site_multiplicity.numpy()).max())

    def length(self, x: np.ndarray, step: np.ndarray) -> float:
        """The largest displacement of an atom (Å) or change of a lattice parameter in a step from x."""
        spread = self._spread(step, np.zeros(len(self.free)))
        moved = spread[6:].reshape(-1, 3)
        squares = np.einsum("si,sij,sj->s", moved, self._site_metric(self.geometry(x)), moved)
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


def _flat(geometry: Geometry) -> np.ndarray:
    return torch.cat([geometry.lattice.ravel(), geometry.coords.ravel()]).numpy().copy()
