"""Reverse diffusion in the free parameters of crystals and molecules: predictor and corrector.

Variance exploding (see `matgen.templates.noise`): at level σ (Å) every scaled free parameter carries Gaussian noise of
standard deviation σ, and levels fall to zero. The predictor is the stochastic sampler of Karras et al. 2022 (algorithm
2), wrapped on the torus. The noised densities of a sum of energies are *not* the exponentials of the summed noised
energies, so that the predictor alone does not compose; the Langevin corrector, which samples the density that the
summed scores define at its level, does (Du et al. 2023).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.energies.base import gradients
from matgen.samplers.initial_noise import noised
from matgen.samplers.langevin import langevin_step
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.noise import chosen, moved, scales
from matgen.templates.steps import bounded, clipped, finite, n_free, plus, product, times

Score = Callable[[Geometry, Tensor], Geometry]
"""Of a geometry and its σ (n_systems,): -dE/dx in scaled coordinates, 1/Å; for a denoiser D, (D(x) - x)/σ²."""

LONGEST_STEP = 0.5
"""Longest step of `settled`, root mean square over the free parameters, Å; states far from all data stay bounded."""


@dataclass(frozen=True)
class Schedule:
    """Noise levels of a reverse diffusion, and its steps at each.

    Attributes:
        levels: falling σ in Å, (n_levels,) or, with levels of their own for each system, (n_levels, n_systems).
        churn: noise that is added on the way, spread over the levels; the S_churn of Karras et al.
        heun: whether the predictor is of second order, at twice the cost.
        corrector_steps: Langevin steps at each level.
        corrector_step: their step size h, in units of σ². Unadjusted steps widen a Gaussian of spread σ by h/(4σ²).
    """

    levels: Tensor
    churn: float = 0.0
    heun: bool = False
    corrector_steps: int = 1
    corrector_step: float = 0.2


def diffuse(
    score: Score,
    templates: TemplateBatch,
    geometry: Geometry,
    *,
    schedule: Schedule,
    generator: torch.Generator,
    guidance: Score | None = None,
    max_guidance: float = 5.0,
    progress: Callable[[int, int, Geometry], None] | None = None,
) -> Geometry:
    """Return geometries at σ = 0 from noised ones.

    At each level: Langevin corrector steps, then a predictor step to the next level. Both follow score + guidance.
    Scales are recomputed from the cell at every step, lattice parameters are clamped to the bounds of
    `matgen.templates.steps`, and a system whose step is not finite keeps its geometry.

    Args:
        score: the learned score.
        templates: the discrete halves.
        geometry: samples at the first level, from `pure_noise` or `renoise`.
        schedule: noise levels, and the steps at each.
        generator: source of all randomness.
        guidance: score to add, such as that of property targets.
        max_guidance: longest guidance, in units of √n_free / σ, the typical length of the score.
        progress: called after each level with the number of finished levels and of all, and with the geometries.

    Returns:
        Geometries at σ = 0, coords in [0, 1).
    """
    total = _sum_of(templates, score, guidance, max_guidance)
    sigmas = schedule.levels.to(geometry.lattice).reshape(len(schedule.levels), -1).expand(-1, templates.n_systems)
    gamma = min(schedule.churn / len(sigmas), math.sqrt(2) - 1)
    for done, (sigma, lower) in enumerate(pairwise([*sigmas, torch.zeros_like(sigmas[0])]), start=1):
        for _ in range(schedule.corrector_steps):
            geometry = _correct(total, templates, geometry, sigma, schedule.corrector_step * sigma**2, generator)
        higher = torch.minimum(sigma * (1 + gamma), sigmas[0])
        if gamma > 0:
            geometry = noised(templates, geometry, (higher**2 - sigma**2).sqrt(), generator)
        heun = schedule.heun and bool((lower > 0).all())
        geometry = _predict(total, templates, geometry, higher, lower, heun=heun)
        if progress is not None:
            progress(done, len(sigmas), geometry)
    return geometry


def settled(
    score: Score,
    templates: TemplateBatch,
    geometry: Geometry,
    *,
    levels: Tensor,
    stride: float = 1.0,
    guidance: Score | None = None,
) -> Geometry:
    """Move geometries to a mode of the density by steps x ← x + ω σ² score(x, σ) without noise, one at each level.

    With ω = 1 each step ends at the denoised geometry. A mode of the density smoothed by σ is a fixed point (mean
    shift: Comaniciu & Meer 2002); as σ falls, it becomes a mode of the density itself. This removes the errors that a
    reverse diffusion leaves. Along soft directions, which a denoiser corrects only in part, ω > 1 (over-relaxation,
    Young 1954) converges faster.

    Args:
        score: the learned score.
        templates: the discrete halves.
        geometry: initial geometries.
        levels: falling σ, Å (n_levels,).
        stride: ω, below two; steps diverge above.
        guidance: score to add.
    """
    for sigma in levels.to(geometry.lattice).tolist():
        level = geometry.lattice.new_full((templates.n_systems,), sigma)
        slope = score(geometry, level) if guidance is None else plus(score(geometry, level), guidance(geometry, level))
        step = times(templates, stride * level**2, slope)
        step = clipped(templates, step, LONGEST_STEP * n_free(templates).sqrt())
        target = moved(templates, geometry, step, scales(templates, geometry), torch.ones_like(level))
        geometry = _sane(templates, target, geometry)
    return geometry


def _correct(
    score: Score, templates: TemplateBatch, geometry: Geometry, sigma: Tensor, h: Tensor, generator: torch.Generator
) -> Geometry:
    """One Langevin step at level σ."""
    scale = scales(templates, geometry)
    target = langevin_step(templates, geometry, score(geometry, sigma), scale, h, generator)
    return _sane(templates, target, geometry)


def _predict(
    score: Score, templates: TemplateBatch, geometry: Geometry, sigma: Tensor, lower: Tensor, *, heun: bool
) -> Geometry:
    """Predictor step from σ to a lower level along the probability flow dx/dσ = -σ score(x, σ)."""
    scale = scales(templates, geometry)
    flow = times(templates, sigma, score(geometry, sigma))
    target = _sane(templates, moved(templates, geometry, flow, scale, sigma - lower), geometry)
    if heun:
        flow = plus(flow, times(templates, lower, score(target, lower)))
        target = moved(templates, geometry, flow, scale, (sigma - lower) / 2)
    return _sane(templates, target, geometry)


def _sane(templates: TemplateBatch, target: Geometry, origin: Geometry) -> Geometry:
    return bounded(chosen(templates, finite(templates, target), target, origin))


def _sum_of(templates: TemplateBatch, score: Score, guidance: Score | None, max_guidance: float) -> Score:
    if guidance is None:
        return score

    longest = max_guidance * n_free(templates).sqrt()

    def total(geometry: Geometry, sigma: Tensor) -> Geometry:
        return plus(score(geometry, sigma), clipped(templates, guidance(geometry, sigma), longest / sigma))

    return total


def energy_score(energy: Callable[[State, Tensor], Tensor], templates: TemplateBatch) -> Score:
    """Return the score of an energy: minus its gradient, by the chain rule through `expand`, in scaled coordinates."""

    def score(geometry: Geometry, sigma: Tensor) -> Geometry:
        _, slope = gradients(energy, templates, geometry, sigma)
        return times(templates, -torch.ones_like(sigma), product(slope, scales(templates, geometry)))

    return score
