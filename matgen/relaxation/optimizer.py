"""Damped BFGS with a trust radius, in the free parameters of one crystal."""

import math
from dataclasses import dataclass

import numpy as np

from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.outcome import CONVERGED, OUT_OF_STEPS, Progress
from matgen.relaxation.problem import RelaxationProblem

LONGEST_STEP = 0.15
"""Å, or strain, in one step."""

RISE = 1e-4
"""eV/atom by which a step may raise the energy: the error of float32 and of the cutoff."""

HOPELESS_AFTER = 3
HOPELESS_FACTOR = 4.0
"""A relaxation is given up if, after HOPELESS_AFTER steps, a gain of HOPELESS_FACTOR times what the quadratic model
predicts would leave it above its ceiling."""


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

    def __init__(self, problem: RelaxationProblem, first: Point, config: RelaxConfig) -> None:
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
