"""Adversarial negatives: real systems displaced, then moved down the energy of the network that is trained."""

import torch
from torch import Tensor

from matgen.nn.graph_energy import GraphEnergy, energy_per_atom
from matgen.runtime.random import uniform
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand
from matgen.templates.noise import chosen, moved, scales
from matgen.templates.steps import bounded, clipped, n_free, product
from matgen.training.denoising import missed, noised
from matgen.training.negatives import Wrong

LEVEL = 0.1  # Å; where `design` compares energies
FIRST = (0.3, 0.8)  # Å; range of the noise that the descent begins from
LONGEST = 0.3  # Å; of a step, per square root of the number of free parameters


def adversarial(
    model: GraphEnergy, templates: TemplateBatch, geometry: Geometry, generator: torch.Generator, steps: int
) -> Wrong:
    """Displace real systems and descend on the energy: holes of low energy away from the truth.

    Returns:
        The templates, the geometries, and which of them miss the truth by more than 0.15 Å (n_systems,).
    """
    low, high = FIRST
    size = low + (high - low) * uniform((templates.n_systems,), generator, geometry.lattice)
    ended = descended(model, templates, noised(templates, geometry, size, generator)[0], steps)
    return templates, ended, missed(templates, geometry, ended)


def descended(model: GraphEnergy, templates: TemplateBatch, geometry: Geometry, steps: int) -> Geometry:
    """Return geometries after some steps down E(x, σ) at σ = 0.1 Å; no step raises the energy of a system.

    A step is -σ² ∂E/∂q for each atom of a site, which leads to the denoised geometry where the network denoises by a
    projection; a step that would raise the energy is not taken, and the next one is half as long.
    """
    best = geometry
    if steps == 0:
        return best
    lowest, slope = _slope(model, templates, best)
    size = torch.ones_like(lowest)
    for _ in range(steps):
        longest = LONGEST * n_free(templates).to(lowest).clamp(min=1).sqrt()
        step = clipped(templates, slope, longest)
        trial = bounded(moved(templates, best, step, scales(templates, best), -size))
        energy, downhill = _slope(model, templates, trial)
        lower = energy < lowest
        best = chosen(templates, lower, trial, best)
        slope, lowest = chosen(templates, lower, downhill, slope), torch.where(lower, energy, lowest)
        size = torch.where(lower, size, size / 2)
    return best


def _slope(model: GraphEnergy, templates: TemplateBatch, geometry: Geometry) -> tuple[Tensor, Geometry]:
    """Return E / N (n_systems,), and σ² ∂E/∂q of each atom and each cell, Å."""
    place = Geometry(geometry.lattice.detach().requires_grad_(), geometry.coords.detach().requires_grad_())
    with torch.enable_grad():
        state = expand(templates, place)
        sigma = torch.full_like(state.cell[:, 0, 0], LEVEL)
        energy = energy_per_atom(model(state, sigma), state, sigma)
        lattice, coords = torch.autograd.grad(energy.sum(), [place.lattice, place.coords])
    share = templates.site_multiplicity / templates.n_atoms[templates.site_system]
    slope = Geometry(LEVEL**2 * lattice, LEVEL**2 * coords / share[:, None].to(coords))
    return energy.detach(), product(slope, scales(templates, geometry))
