r"""Langevin dynamics in the free parameters of crystals, with and without Metropolis correction.

In scaled coordinates x (Å; `matgen.templates.noise`), with time step h (Å²) and energy E:

    y = x + drift(x) + √h ξ,    drift(x) = -(h/2) ∇E(x), shortened where it is long,    ξ ~ N(0, 1)

The move is accepted with probability min(1, exp(E(x) - E(y)) q(y → x) / q(x → y)) (Roberts & Tweedie 1996). Because
the shortening is the same function of x in q(x → y) and in q(y → x), detailed balance is exact.

The torus needs no sum over images: the unwrapped displacement δ = y - x is sampled, and the pair (x, δ) is exchanged
with (y, -δ), an involution of unit Jacobian. For √h well below half a period, the only useful steps, δ is also the
minimum-image displacement.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from matgen.runtime.random import uniform
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.noise import chosen, moved, scales, standard_normal
from matgen.templates.steps import clipped, finite, n_free, plus, product, square_length, times, within_bounds

Landscape = Callable[[Geometry], tuple[Tensor, Geometry]]
"""Energy (n_systems,) and its derivatives per unit of each free parameter, as `energies.base.gradients` gives them."""

TARGET_ACCEPTANCE = 0.574  # the optimum for Langevin proposals (Roberts & Rosenthal 1998)
MAX_DRIFT = 2.0  # longest drift, in units of the typical length √(h n_free) of the noise
MAX_STEP = 1.0  # Å²; a flat energy accepts every step, and h would grow without bound


@dataclass(frozen=True)
class LangevinReport:
    """Acceptance, step size and energies of a Metropolis-adjusted run.

    Attributes:
        acceptance: mean acceptance probability over the steps after adaptation (n_systems,); NaN if there were none.
        step_size: the h that these steps used (n_systems,), Å².
        energy: before the first and after every step (steps + 1, n_systems).
        path: geometries before the first and after every step.
    """

    acceptance: Tensor
    step_size: Tensor
    energy: Tensor
    path: tuple[Geometry, ...] = ()


@dataclass(frozen=True)
class _Point:
    """State of the chains: geometry, energy (n_systems,), and slope of the energy, 1/Å."""

    geometry: Geometry
    energy: Tensor
    slope: Geometry


def mala(
    landscape: Landscape,
    templates: TemplateBatch,
    geometry: Geometry,
    *,
    steps: int,
    step_size: float | Tensor,
    generator: torch.Generator,
    adapt_steps: int = 0,
    scale: Geometry | None = None,
) -> tuple[Geometry, LangevinReport]:
    """Sample exp(-E) in the free parameters; each system accepts and tunes its step independently.

    Cells outside the bounds of `matgen.templates.steps` and energies that are not finite are rejected.

    Args:
        landscape: energy and gradient of a batch of geometries.
        templates: the discrete halves.
        geometry: initial geometries of the chains.
        steps: number of steps, with those of adaptation.
        step_size: h in Å², one for all or one per system (n_systems,); the initial value if it is adapted.
        generator: source of all randomness.
        adapt_steps: number of first steps that move log h towards an acceptance of 0.574 (Robbins & Monro 1951); then
            h is fixed. Samples taken while it adapts are not exact.
        scale: free parameters per Å, constant during the run; by default those of the initial geometry. To be exact
            across several runs of one chain, pass the first run's scale (and step size) to the later ones.

    Returns:
        The last geometries, and the report.

    Raises:
        ValueError: more steps of adaptation than steps, or an initial energy that is not finite.
    """
    if not 0 <= adapt_steps <= steps:
        raise ValueError(f"expected 0 <= adapt_steps <= steps, got {adapt_steps} and {steps}")
    scale = scales(templates, geometry) if scale is None else scale
    here = _evaluated(landscape, geometry, scale)
    _check_finite(here)
    h = torch.as_tensor(step_size).to(here.energy).expand(templates.n_systems)
    accepted, trace, path = torch.zeros_like(here.energy), [here.energy], [here.geometry]
    for step in range(steps):
        here, probability = _step(landscape, templates, here, scale, h, generator)
        trace.append(here.energy)
        path.append(here.geometry)
        if step < adapt_steps:
            h = (h.log() + _gain(step) * (probability - TARGET_ACCEPTANCE)).exp().clamp(max=MAX_STEP)
        else:
            accepted = accepted + probability
    return here.geometry, LangevinReport(accepted / (steps - adapt_steps), h, torch.stack(trace), tuple(path))


def langevin_step(
    templates: TemplateBatch,
    geometry: Geometry,
    score: Geometry,
    scale: Geometry,
    step_size: Tensor,
    generator: torch.Generator,
) -> Geometry:
    """Return the geometry after one unadjusted step x + (h/2) score + √h ξ.

    Args:
        templates: the discrete halves.
        geometry: x.
        score: -dE/dx in scaled coordinates, 1/Å.
        scale: free parameters per Å.
        step_size: h (n_systems,), Å².
        generator: source of the noise.
    """
    noise = times(templates, step_size.sqrt(), standard_normal(geometry, generator))
    step = plus(times(templates, step_size / 2, score), noise)
    return moved(templates, geometry, step, scale, torch.ones_like(step_size))


def _step(
    landscape: Landscape,
    templates: TemplateBatch,
    here: _Point,
    scale: Geometry,
    h: Tensor,
    generator: torch.Generator,
) -> tuple[_Point, Tensor]:
    """One Metropolis-adjusted step; also return its probability of acceptance (n_systems,)."""
    xi = _masked(standard_normal(here.geometry, generator), scale)
    delta = plus(_drift(templates, here.slope, h), times(templates, h.sqrt(), xi))
    target = moved(templates, here.geometry, delta, scale, torch.ones_like(h))
    legal = within_bounds(target) & finite(templates, target)
    there = _evaluated(landscape, chosen(templates, legal, target, here.geometry), scale)

    back = plus(delta, _drift(templates, there.slope, h))  # minus the noise of the reverse step
    forward_density, backward_density = -square_length(templates, xi) / 2, -square_length(templates, back) / (2 * h)
    log_ratio = here.energy - there.energy + backward_density - forward_density
    possible = legal & there.energy.isfinite() & log_ratio.isfinite()
    probability = torch.where(possible, log_ratio.clamp(max=0.0).exp(), 0.0)
    accept = uniform(h.shape, generator, h) < probability
    new = _Point(
        chosen(templates, accept, there.geometry, here.geometry),
        torch.where(accept, there.energy, here.energy),
        chosen(templates, accept, there.slope, here.slope),
    )
    return new, probability


def _evaluated(landscape: Landscape, geometry: Geometry, scale: Geometry) -> _Point:
    energy, gradient = landscape(geometry)
    return _Point(geometry, energy.detach(), product(gradient, scale))


def _drift(templates: TemplateBatch, slope: Geometry, h: Tensor) -> Geometry:
    longest = MAX_DRIFT * (h * n_free(templates)).sqrt()
    return clipped(templates, times(templates, -h / 2, slope), longest)


def _masked(noise: Geometry, scale: Geometry) -> Geometry:
    return Geometry(noise.lattice * (scale.lattice > 0), noise.coords * (scale.coords > 0))


def _gain(step: int) -> float:
    """Robbins–Monro gain: the sum over steps diverges, so that any h can be reached; the sum of squares converges."""
    return 2.0 * (1 + step) ** -0.6


def _check_finite(point: _Point) -> None:
    bad = (~point.energy.isfinite()).nonzero().ravel().tolist()
    if bad:
        value = float(point.energy[bad[0]])
        raise ValueError(
            f"expected a finite energy at the start of every chain, got {value} in {len(bad)} of {len(point.energy)} "
            f"systems (first: {bad[0]}); drop them, or begin where the energy is defined"
        )
