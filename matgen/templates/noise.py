"""Noise in the free parameters of crystals and molecules, shared by training and sampling.

The noise is variance exploding. At a level σ, in Å, a site parameter u moves by σ / (Å per unit of u), a lattice
parameter by σ * STRAIN_PER_ANGSTROM. Coordinates divided by these scales are called *scaled*; they have units of Å.
"""

from dataclasses import replace

import torch
from torch import Tensor

from matgen.runtime.random import normal
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import turns, unit_directions, wrapped

STRAIN_PER_ANGSTROM = 0.1

CLEAN = 0.02
"""Noise level for final structures and for the calibration of property heads, Å; about the lowest of training."""


def karras_levels(sigma_max: float, sigma_min: float, n_levels: int, rho: float = 7.0) -> Tensor:
    """Return decreasing noise levels (n_levels,) in Å (Karras et al. 2022, eq. 5)."""
    ramp = torch.linspace(0, 1, n_levels, dtype=torch.float64)
    top, bottom = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return ((top + ramp * (bottom - top)) ** rho).float()


def scales(templates: TemplateBatch, geometry: Geometry) -> Geometry:
    """Return the change of each parameter per Å of scaled coordinate; zero for parameters that are not free."""
    _, length = unit_directions(templates, geometry)
    lattice = torch.full_like(geometry.lattice, STRAIN_PER_ANGSTROM)
    return Geometry(lattice * templates.free_lattice, templates.free_coords / length)


def standard_normal(geometry: Geometry, generator: torch.Generator) -> Geometry:
    """Return independent unit Gaussians in the shape of a geometry."""
    return Geometry(*(normal(x.shape, generator, x) for x in (geometry.lattice, geometry.coords)))


def moved(templates: TemplateBatch, geometry: Geometry, step: Geometry, scale: Geometry, size: Tensor) -> Geometry:
    """Return geometry + size * scale * step, with coords of crystals wrapped into [0, 1).

    Args:
        templates: of the geometry.
        geometry: to displace.
        step: scaled displacement, Å per unit of size.
        scale: from `scales`.
        size: one factor per system (n_systems,).
    """
    coords = geometry.coords + size[templates.site_system, None] * scale.coords * step.coords
    lattice = geometry.lattice + size[:, None] * scale.lattice * step.lattice
    return wrapped(templates, Geometry(lattice, coords))


def difference(templates: TemplateBatch, target: Geometry, origin: Geometry, scale: Geometry) -> Geometry:
    """Return the scaled displacement (Å) from `origin` to `target`, by the shortest way on the torus."""
    turn = target.coords - origin.coords
    turn = turn - turns(templates, turn.round())
    return Geometry(_ratio(target.lattice - origin.lattice, scale.lattice), _ratio(turn, scale.coords))


def per_system(templates: TemplateBatch, squares: Geometry) -> Tensor:
    """Return the sum over the free parameters of each system (n_systems,)."""
    return squares.lattice.sum(1).index_add(0, templates.site_system, squares.coords.sum(1))


def chosen(templates: TemplateBatch, where: Tensor, yes: Geometry, no: Geometry) -> Geometry:
    """Return one of two geometries for each system, by a mask (n_systems,)."""
    return replace(
        no,
        lattice=torch.where(where[:, None], yes.lattice, no.lattice),
        coords=torch.where(where[templates.site_system, None], yes.coords, no.coords),
    )


def _ratio(value: Tensor, scale: Tensor) -> Tensor:
    return torch.where(scale > 0, value / torch.where(scale > 0, scale, 1.0), 0.0)
