r"""Annealed importance sampling: the normalisation of exp(-E) over the free parameters of templates.

    log Z = log ∫ exp(-E(x)) dx

from chains that pass from a start density q, which can be sampled and evaluated, to exp(-E), by

    U_β(x) = (1 - β) U_0(x) + β E(x),    U_0 = -log q

with β_0 = 0 < β_1 < … < β_K = 1. A chain collects log w = Σ_k (β_k - β_{k-1}) (U_0 - E)(x_{k-1}) and moves at each β_k
by Metropolis-adjusted Langevin steps; then ⟨w⟩ = Z (Neal, Stat. Comput. 11, 125, 2001). The logarithm of the mean of
few weights is below log Z on average. Chains in reverse, from exp(-E) to q, give 1/Z, and so values above it on
average, as far as they begin with samples of exp(-E) (Grosse, Ghahramani and Adams, arXiv:1511.02543).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from matgen.errors import UserError
from matgen.samplers.langevin import Landscape, mala
from matgen.samplers.resample import systematic
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.noise import chosen, scales
from matgen.templates.steps import finite, within_bounds

STEEPNESS = 4.0
"""Of the sigmoid that spaces the β: dense near both ends."""

FIRST_STEP = 1e-3
"""Initial h of the Langevin steps, Å², before it is adapted."""


class AnnealingError(UserError, ValueError):
    """A start density and an energy that have no finite sample in common."""


class Start(Protocol):
    """A density of free parameters that can be sampled and evaluated."""

    def sample(self, templates: TemplateBatch, generator: torch.Generator) -> Geometry:
        """Return one sample for each template."""
        ...

    def landscape(self, templates: TemplateBatch) -> Landscape:
        """Return -log q (n_systems,), infinite where q is zero, with its derivatives per unit of each parameter."""
        ...


@dataclass(frozen=True)
class Annealed:
    """Weights of chains in both directions.

    Attributes:
        forward: log w of the chains from q to exp(-E) (n_chains,); minus infinity where a chain began at zero density.
        reverse: log w of the chains back (n_chains,), of which the mean of w is 1/Z. They return to q where exp(-E) is
            not zero, whose share of q is taken from the samples of the forward chains.
        acceptance: mean acceptance of the Langevin steps of the forward chains.
        lowest: lowest energy E that the forward chains ended at.
    """

    forward: Tensor
    reverse: Tensor
    acceptance: float
    lowest: float


def betas(levels: int) -> Tensor:
    """Return 0 = β_0 < … < β_levels = 1 (levels + 1,), a sigmoid of even steps."""
    ramp = torch.sigmoid(STEEPNESS * torch.linspace(-1, 1, levels + 1, dtype=torch.float64))
    return (ramp - ramp[0]) / (ramp[-1] - ramp[0])


def evaluations(levels: int, steps: int) -> int:
    """Return how often `anneal` evaluates the energy of all chains.

    Args:
        levels: K.
        steps: Langevin steps at each level.
    """
    sizes, along = levels * (2 * steps + 1), levels * (steps + 1)
    started, moved_on, lowest = 2, 10 * steps + 1, 1
    return sizes + 2 * along + started + moved_on + lowest


def anneal(
    start: Start,
    energy: Landscape,
    templates: TemplateBatch,
    *,
    levels: int,
    steps: int,
    generator: torch.Generator,
) -> Annealed:
    """Run one chain for each template of a batch from the start density to exp(-E), and back.

    A run of as many chains first finds the step size at each level; the chains that count use it unchanged, so that
    their Langevin steps leave each exp(-U_β) as it is. The chains back begin at end points of the forward chains,
    sampled by their weights and moved further.

    Args:
        start: q.
        energy: E and its derivatives, finite somewhere.
        templates: one for each chain; chains of one template estimate its Z.
        levels: K.
        steps: Langevin steps at each level.
        generator: source of all randomness.

    Raises:
        AnnealingError: no sample of q has a finite energy.
    """
    path = _Path(start.landscape(templates), energy)
    ramp = betas(levels)
    begin = start.sample(templates, generator)
    here, alive = _alive(path, templates, begin)
    scale = _common_scale(templates, here)
    _, sizes, _, _ = _run(path, templates, here, scale, ramp, None, steps, generator)
    begin = start.sample(templates, generator)
    here, alive = _alive(path, templates, begin)
    end, _, log_w, acceptance = _run(path, templates, here, scale, ramp, sizes, steps, generator)
    forward = torch.where(alive, log_w, -math.inf)
    share = alive.double().mean().log()
    chosen_ends = systematic(forward, templates.n_systems, generator).sort().values
    back = end.select(templates, chosen_ends)
    back, _ = mala(
        path.at(1.0), templates, back, steps=10 * steps, step_size=sizes[-1], generator=generator, scale=scale
    )
    _, _, reverse, _ = _run(path, templates, back, scale, ramp.flip(0), sizes.flip(0), steps, generator)
    lowest = energy(end)[0][alive]
    return Annealed(forward, reverse - share, acceptance, float(lowest.min()))


_Ends = tuple[tuple[Tensor, Geometry], tuple[Tensor, Geometry]]
"""Values and derivatives of U_0 and of E."""


class _Path:
    """U_β between two landscapes; the last geometry is evaluated once."""

    def __init__(self, start: Landscape, energy: Landscape) -> None:
        self._start, self._energy = start, energy
        self._last: tuple[Geometry, _Ends] | None = None

    def ends(self, geometry: Geometry) -> "_Ends":
        """Return U_0 and E with their derivatives."""
        if self._last is None or self._last[0] is not geometry:
            self._last = geometry, (self._start(geometry), self._energy(geometry))
        return self._last[1]

    def at(self, beta: float) -> Landscape:
        """Return U_β; infinite where either end is not finite."""

        def landscape(geometry: Geometry) -> tuple[Tensor, Geometry]:
            (zero, slope), (one, other) = self.ends(geometry)
            value = torch.where(zero.isfinite() & one.isfinite(), (1 - beta) * zero + beta * one, math.inf)
            lattice = (1 - beta) * slope.lattice + beta * other.lattice
            coords = (1 - beta) * slope.coords + beta * other.coords
            return value, Geometry(lattice, coords)

        return landscape

    def difference(self, geometry: Geometry) -> Tensor:
        """Return U_0 - E (n_systems,), in float64."""
        (zero, _), (one, _) = self.ends(geometry)
        return zero.double() - one.double()


def _run(
    path: _Path,
    templates: TemplateBatch,
    here: Geometry,
    scale: Geometry,
    ramp: Tensor,
    sizes: Tensor | None,
    steps: int,
    generator: torch.Generator,
) -> tuple[Geometry, Tensor, Tensor, float]:
    """Anneal along β; return the end points, step sizes by level, log weights, and the mean acceptance.

    Args:
        path: U_β.
        templates: of the chains.
        here: where they begin, at the first β.
        scale: free parameters per Å.
        ramp: β, ascending or descending (levels + 1,).
        sizes: h by level (levels + 1,); None to adapt them, which makes the weights inexact.
        steps: at each level.
        generator: source of all randomness.
    """
    log_w = torch.zeros(templates.n_systems, dtype=torch.float64, device=here.lattice.device)
    used, acceptance = [torch.tensor(FIRST_STEP)], []
    for level in range(1, len(ramp)):
        log_w = log_w + float(ramp[level] - ramp[level - 1]) * path.difference(here)
        h = used[-1] if sizes is None else sizes[level]
        adapt = {"steps": 2 * steps, "adapt_steps": steps} if sizes is None else {"steps": steps}
        here, report = mala(
            path.at(float(ramp[level])), templates, here, step_size=h, generator=generator, scale=scale, **adapt
        )
        used.append(report.step_size.log().mean().exp().cpu())
        acceptance.append(float(report.acceptance.mean()))
    return here, torch.stack(used), log_w, sum(acceptance) / len(acceptance)


def _alive(path: _Path, templates: TemplateBatch, begin: Geometry) -> tuple[Geometry, Tensor]:
    """Return where chains begin, and which of them count (n_systems,).

    A sample beyond the bounds, or of infinite energy, has weight zero; its chain begins at the first of the others.

    Raises:
        AnnealingError: none is left.
    """
    inside = within_bounds(begin) & finite(templates, begin)
    first = int(inside.long().argmax())
    filled = chosen(templates, inside, begin, _repeated(templates, begin, first))
    alive = inside & path.difference(filled).isfinite()
    if not alive.any():
        raise AnnealingError(
            f"expected samples of the start density with finite energies, got none of {len(alive)}; raise the chains"
        )
    first = int(alive.long().argmax())
    return chosen(templates, alive, begin, _repeated(templates, begin, first)), alive


def _repeated(templates: TemplateBatch, geometry: Geometry, system: int) -> Geometry:
    """The geometry of one system for all; they have the same template."""
    return geometry.select(templates, torch.full_like(templates.space_group, system))


def _common_scale(templates: TemplateBatch, geometry: Geometry) -> Geometry:
    """Free parameters per Å, the mean over the chains: constant, so that the Langevin steps are exact."""
    own = scales(templates, geometry)
    n = templates.n_systems
    coords = own.coords.reshape(n, -1, 3).mean(0).repeat(n, 1)
    return Geometry(own.lattice.mean(0, keepdim=True).repeat(n, 1), coords)


def log_mean(log_weights: Tensor) -> float:
    """Return the logarithm of the mean of weights."""
    return float(log_weights.double().logsumexp(0)) - math.log(len(log_weights))


def bootstrap_error(
    log_weights: Tensor, generator: torch.Generator, resampled: int = 500, of: Callable[[Tensor], float] = log_mean
) -> float:
    """Return the standard deviation of the logarithm of the mean over resampled sets of chains.

    Sets in which no chain counts are left out.
    """
    n = len(log_weights)
    rows = torch.randint(n, (resampled, n), generator=generator)
    values = torch.tensor([of(log_weights.cpu()[row]) for row in rows], dtype=torch.float64)
    return float(values[values.isfinite()].std())
