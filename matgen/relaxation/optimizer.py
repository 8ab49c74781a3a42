"""Damped BFGS with a trust radius, in the free parameters of many crystals at once.

The crystals of a batch are minimised independently, each with its own approximate Hessian; every step begins at the
lowest point so far. A decision is a mask, so that nothing waits for the device before the reasons are read.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.outcome import CONVERGED, OUT_OF_STEPS, exploded, stalled
from matgen.relaxation.problem import RelaxationProblems
from matgen.relaxation.problem import joined as joined_problems

LONGEST_STEP = 0.15
"""Å, or strain, in one step."""

RISE = 1e-4
"""eV/atom by which a step may raise the energy: the error of float32 and of the cutoff."""

HOPELESS_AFTER = 3
HOPELESS_FACTOR = 4.0
"""A relaxation is given up if, after HOPELESS_AFTER steps, a gain of HOPELESS_FACTOR times what the quadratic model
predicts would leave it above its ceiling."""

_CONTINUES, _OUT_OF_STEPS, _HOPELESS, _STALLED, _EXPLODED, _CONVERGED = range(6)


@dataclass(frozen=True)
class Points:
    """Energies and derivatives at one geometry of each crystal.

    Attributes:
        x: free parameters (n_systems, width).
        energy: eV per cell (n_systems,).
        slope: of the energy (n_systems, width), eV.
        max_force: largest force on an atom (n_systems,), eV/Å.
        max_stress: largest component of the stress (n_systems,), eV/Å³.
        volume: Å³ (n_systems,).
    """

    x: Tensor
    energy: Tensor
    slope: Tensor
    max_force: Tensor
    max_stress: Tensor
    volume: Tensor


@dataclass(frozen=True)
class Minimisation:
    """The state of the relaxations of a batch; before its first point, a crystal has made -1 steps.

    Attributes:
        problems: what is constant.
        best: lowest points so far.
        hessian: (n_systems, width, width), eV; the unit matrix for unused parameters.
        first_energy, first_volume: at the first points (n_systems,).
        steps: made (n_systems,).
        trust: share of the longest step that is allowed (n_systems,).
        volume_ratio: of the latest over the first points (n_systems,).
        lowest: energy that counted as progress (n_systems,), eV/atom.
        lowest_step: step at which it was reached (n_systems,).
    """

    problems: RelaxationProblems
    best: Points
    hessian: Tensor
    first_energy: Tensor
    first_volume: Tensor
    steps: Tensor
    trust: Tensor
    volume_ratio: Tensor
    lowest: Tensor
    lowest_step: Tensor

    @classmethod
    def of(cls, problems: RelaxationProblems) -> Self:
        """Begin at the initial geometries, which are proposed first."""
        x = problems.parameters(problems.initial)
        infinite, one = torch.full_like(x[:, 0], torch.inf), torch.ones_like(x[:, 0])
        best = Points(x, infinite, torch.zeros_like(x), infinite, infinite, one)
        none = torch.full_like(problems.n_atoms, -1)
        return cls(problems, best, problems.stiffness(), infinite, one, none, one, one, infinite, none + 1)

    def select(self, systems: Tensor) -> Self:
        """Return the minimisations of some systems, by indices."""
        problems = self.problems.select(systems)
        rows = {name: value[systems] for name, value in _tensors(self).items()}
        best = Points(**{name: value[systems] for name, value in _tensors(self.best).items()})
        return replace(self, problems=problems, best=best, **rows).sized(problems.width)

    def proposed(self) -> Tensor:
        """Return the free parameters of the next points (n_systems, width)."""
        step, _ = torch.linalg.solve_ex(self.hessian, -self.best.slope)
        longest = self.problems.length(self.problems.geometry(self.best.x), step)
        limit = LONGEST_STEP * self.trust
        proposed = self.best.x + step * torch.where(longest > limit, limit / longest, 1.0)[:, None]
        sound = proposed.isfinite().all(1, keepdim=True)  # a Hessian may turn singular
        return torch.where(sound, proposed, self.best.x)

    def updated(self, point: Points, config: RelaxConfig) -> Self:
        """Return the state after the points at the proposed parameters."""
        first, n_atoms = self.steps < 0, self.problems.n_atoms
        # An energy that is not a number is not accepted either.
        accept = first | (point.energy <= self.best.energy + RISE * n_atoms)
        best = Points(**{name: _where(accept, new, old) for name, new, old in _pairs(point, self.best)})
        first_volume = torch.where(first, point.volume, self.first_volume)
        steps, energy = self.steps + 1, best.energy / n_atoms
        progress = energy < self.lowest - config.progress
        return replace(
            self,
            best=best,
            hessian=_where(first, self.hessian, self._next_hessian(point)),
            first_energy=torch.where(first, point.energy, self.first_energy),
            first_volume=first_volume,
            steps=steps,
            trust=torch.where(accept, (self.trust * 1.5).clamp(max=1.0), self.trust * 0.4),
            volume_ratio=point.volume / first_volume,
            lowest=torch.where(progress, energy, self.lowest),
            lowest_step=torch.where(progress, steps, self.lowest_step),
        )

    def ends(self, config: RelaxConfig) -> list[str]:
        """Return why each relaxation ends; empty if it continues."""
        best, n_atoms, most = self.best, self.problems.n_atoms, config.max_volume_change
        energy = best.energy / n_atoms
        solved, _ = torch.linalg.solve_ex(self.hessian, best.slope)
        gain = 0.5 * (best.slope * solved).sum(1) / n_atoms
        above = energy - HOPELESS_FACTOR * gain > self.problems.ceiling
        ratio = self.volume_ratio
        beyond = ~energy.isfinite() | ~((ratio > 1 / most) & (ratio < most))
        found = torch.where(self.steps >= config.max_steps, _OUT_OF_STEPS, _CONTINUES)
        found = torch.where((self.steps >= HOPELESS_AFTER) & above, _HOPELESS, found)
        found = torch.where(self.steps - self.lowest_step >= config.patience, _STALLED, found)
        found = torch.where(beyond, _EXPLODED, found)
        found = torch.where((best.max_force < config.fmax) & (best.max_stress < config.smax), _CONVERGED, found)
        rows = torch.stack([found.to(energy), energy, ratio, self.problems.ceiling], dim=1).tolist()
        return [_reason(int(code), energy, ratio, ceiling, config) for code, energy, ratio, ceiling in rows]

    def _next_hessian(self, point: Points) -> Tensor:
        """Damped BFGS update (Nocedal and Wright, Numerical Optimization, procedure 18.2)."""
        step, change = point.x - self.best.x, point.slope - self.best.slope
        carried = torch.einsum("nij,nj->ni", self.hessian, step)
        curvature, expected = (step * change).sum(1), (step * carried).sum(1)
        usable = (expected > 0) & curvature.isfinite()
        share = 0.8 * expected / (expected - curvature)
        damped = _where(curvature < 0.2 * expected, share[:, None] * change + (1 - share[:, None]) * carried, change)
        gained = damped[:, :, None] * damped[:, None] / (step * damped).sum(1)[:, None, None]
        lost = carried[:, :, None] * carried[:, None] / expected[:, None, None]
        return _where(usable, self.hessian + gained - lost, self.hessian)

    def sized(self, width: int) -> Self:
        """Return the same with parameters padded, or cut, to another width."""
        old = self.hessian.shape[1]
        if width == old:
            return self
        more = (0, width - old)  # a negative number cuts
        pad = torch.nn.functional.pad
        hessian = pad(self.hessian, (*more, *more))
        unit = (torch.arange(width, device=hessian.device) >= old).to(hessian)
        best = replace(self.best, x=pad(self.best.x, more), slope=pad(self.best.slope, more))
        return replace(self, best=best, hessian=hessian + torch.diag(unit))


def joined(one: Minimisation, other: Minimisation) -> Minimisation:
    """Concatenate the states of two batches."""
    problems = joined_problems([one.problems, other.problems])
    one, other = one.sized(problems.width), other.sized(problems.width)
    rows = {name: torch.cat([a, b]) for name, a, b in _pairs(one, other)}
    best = Points(**{name: torch.cat([a, b]) for name, a, b in _pairs(one.best, other.best)})
    return Minimisation(problems, best, **rows)


def _reason(code: int, energy: float, ratio: float, ceiling: float, config: RelaxConfig) -> str:
    if code == _HOPELESS:
        return f"hopeless: still {energy:.3f} eV/atom, too high by {energy - ceiling:.3f}"
    fixed = {_OUT_OF_STEPS: OUT_OF_STEPS, _STALLED: stalled(config), _CONVERGED: CONVERGED, _CONTINUES: ""}
    return exploded(ratio, energy) if code == _EXPLODED else fixed[code]


def _tensors(value: Any) -> dict[str, Tensor]:
    return {f.name: part for f in fields(value) if isinstance(part := getattr(value, f.name), Tensor)}


def _pairs(one: Any, other: Any) -> list[tuple[str, Tensor, Tensor]]:
    return [(name, value, getattr(other, name)) for name, value in _tensors(one).items()]


def _where(mask: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Rows of one tensor where the mask (n,) holds, of the other elsewhere."""
    return torch.where(mask.reshape(-1, *[1] * (one.dim() - 1)), one, other)
