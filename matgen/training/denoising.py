"""Noised geometries and the losses of denoising them."""

from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from matgen.nn.graph_energy import (
    SIGMA_LATTICE,
    SIGMA_SITE,
    GraphEnergy,
    GraphOutput,
    energy_per_atom,
    output_scale,
    predicted_step,
)
from matgen.runtime.random import uniform
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand
from matgen.templates.noise import difference, moved, per_system, scales, standard_normal
from matgen.templates.wyckoff import wyckoff_table


def noised(
    templates: TemplateBatch, geometry: Geometry, sigma: Tensor, generator: torch.Generator
) -> tuple[Geometry, Geometry]:
    """Return a noised geometry and the scaled displacement (Å) back to the clean one.

    The lattice is noised first, and the noise of the sites is measured in the noised cell, the only one that a sampler
    knows. Where a group's origin is arbitrary, sites are noised without a shift of their centre.
    """
    noise = centred(templates, standard_normal(geometry, generator))
    still = torch.zeros_like(noise.coords)
    stretched = moved(templates, geometry, replace(noise, coords=still), scales(templates, geometry), sigma)
    scale = scales(templates, stretched)
    flat = replace(noise, lattice=torch.zeros_like(noise.lattice))
    result = moved(templates, stretched, flat, scale, sigma)
    return result, difference(templates, geometry, result, scale)


def centred(templates: TemplateBatch, noise: Geometry) -> Geometry:
    """Return the noise without a shift of all atoms along axes where the origin is arbitrary."""
    free_axis = wyckoff_table(templates.device).free_axis[templates.space_group]
    weight = templates.site_multiplicity.to(noise.coords)[:, None]
    zeros = noise.coords.new_zeros(templates.n_systems, 3)
    mean = zeros.index_add(0, templates.site_system, noise.coords * weight)
    mean = mean / templates.n_atoms[:, None].to(mean) * free_axis
    return replace(noise, coords=noise.coords - mean[templates.site_system])


def denoising_loss(
    output: GraphOutput,
    templates: TemplateBatch,
    dirty: Geometry,
    back: Geometry,
    sigma: Tensor,
    width: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Return the squared error of the denoising displacement over its natural size, averaged over free parameters.

    Args:
        output: of the network, for the dirty geometries.
        templates: of the batch.
        dirty: noised geometries.
        back: scaled displacements to the clean ones, Å.
        sigma: noise level (n_systems,), Å.
        width: distance of each system from the clean one, where that is not σ (n_systems,), Å.

    Returns:
        The loss, and its parts by name.
    """
    width = sigma if width is None else width
    step = predicted_step(output, templates, dirty)
    scale = output_scale(width, SIGMA_SITE)[templates.site_system, None]
    coords = _free_mean(((step.coords - back.coords) / scale) ** 2, templates.free_coords)
    wide = output_scale(width, SIGMA_LATTICE)[:, None]
    lattice = _free_mean(((step.lattice - back.lattice) / wide) ** 2, templates.free_lattice)
    return coords + 0.5 * lattice, {"dsm_sites": coords.item(), "dsm_lattice": lattice.item()}


def conservative_loss(
    model: GraphEnergy,
    templates: TemplateBatch,
    dirty: Geometry,
    back: Geometry,
    sigma: Tensor,
    width: Tensor | None = None,
) -> Tensor:
    """Return the squared error of -σ² ∂E/∂x, per atom that moves, as the denoising displacement of the sites."""
    coords = dirty.coords.detach().requires_grad_()
    state = expand(templates, replace(dirty, coords=coords))
    energy = energy_per_atom(model(state, sigma), state, sigma) * state.n_atoms
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(energy.sum(), coords, create_graph=True)
    square = sigma[templates.site_system, None] ** 2
    step = -square * slope * scales(templates, dirty).coords / templates.site_multiplicity[:, None]
    wide = output_scale(sigma if width is None else width, SIGMA_SITE)[templates.site_system, None]
    return _free_mean(((step - back.coords) / wide) ** 2, templates.free_coords)


def _free_mean(values: Tensor, free: Tensor) -> Tensor:
    return (values * free).sum() / free.sum().clamp(min=1)


@torch.no_grad()
def own_samples(
    model: GraphEnergy, templates: TemplateBatch, geometry: Geometry, generator: torch.Generator
) -> tuple[TemplateBatch, Geometry, Tensor]:
    """Denoise systems from 0.5 to 1.5 Å of noise in three steps of the model.

    Returns:
        The templates, the denoised geometries, and which of them miss the truth by more than 0.15 Å (n_systems,).
    """
    n = templates.n_systems
    start = 0.5 + uniform((n,), generator, geometry.lattice)
    current, _ = noised(templates, geometry, start, generator)
    levels = [start, start / 2, start / 5, torch.zeros_like(start)]
    for sigma, lower in pairwise(levels):
        output = model(expand(templates, current), sigma)
        step = predicted_step(output, templates, current)
        current = moved(templates, current, step, scales(templates, current), 1 - lower / sigma)
    miss = difference(templates, turned_to(templates, geometry, current), current, scales(templates, geometry))
    square = per_system(templates, Geometry(miss.lattice**2, miss.coords**2))
    count = per_system(templates, Geometry(templates.free_lattice.float(), templates.free_coords.float()))
    return templates, current, (square / count).sqrt() > 0.15


def turned_to(templates: TemplateBatch, geometry: Geometry, like: Geometry) -> Geometry:
    """Superpose molecules onto others of the same templates by the best rotation and shift; crystals stay as they are.

    Kabsch, Acta Cryst. A32, 922 (1976).
    """
    if bool(templates.periodic.all()):
        return geometry
    owner, n = templates.site_system, templates.n_systems

    def mean(values: Tensor) -> Tensor:
        total = values.new_zeros(n, *values.shape[1:]).index_add(0, owner, values)
        return total / templates.n_sites.to(values).reshape(-1, *[1] * (values.dim() - 1))

    centre, goal = mean(geometry.coords), mean(like.coords)
    own, other = geometry.coords - centre[owner], like.coords - goal[owner]
    left, _, right = torch.linalg.svd(mean(own[:, :, None] * other[:, None, :]))
    proper = torch.ones_like(centre)
    proper[:, 2] = torch.linalg.det(left @ right).sign()
    rotation = (left * proper[:, None]) @ right
    placed = torch.einsum("ni,nij->nj", own, rotation[owner]) + goal[owner]
    return replace(geometry, coords=torch.where(templates.periodic[owner, None], geometry.coords, placed))
