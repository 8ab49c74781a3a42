"""Arithmetic of scaled displacements, and the bounds of cells in sampling.

A displacement is a `Geometry` whose entries are in Å (see `matgen.templates.noise`); it is not wrapped.
"""

import math

import torch
from torch import Tensor

from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.noise import per_system

MAX_SHAPE = 3.0  # 99.9 % of known hexagonal crystals, the most elongated family, lie within 2.7
MAX_LOG_VOLUME = 1.5  # |ln V/V_ref|; 99.9 % of known crystals lie within 1.1


def plus(one: Geometry, other: Geometry) -> Geometry:
    """Return the sum of two displacements."""
    return Geometry(one.lattice + other.lattice, one.coords + other.coords)


def product(one: Geometry, other: Geometry) -> Geometry:
    """Return the elementwise product; turns derivatives by free parameters into derivatives by scaled coordinates."""
    return Geometry(one.lattice * other.lattice, one.coords * other.coords)


def times(templates: TemplateBatch, factor: Tensor, displacement: Geometry) -> Geometry:
    """Return a displacement times one factor per system (n_systems,)."""
    return Geometry(factor[:, None] * displacement.lattice, factor[templates.site_system, None] * displacement.coords)


def square_length(templates: TemplateBatch, displacement: Geometry) -> Tensor:
    """Return the squared length of the displacement of each system (n_systems,), Å²."""
    return per_system(templates, product(displacement, displacement))


def clipped(templates: TemplateBatch, displacement: Geometry, longest: Tensor) -> Geometry:
    """Return the displacement, limited to a length `longest` (n_systems,), Å."""
    length = square_length(templates, displacement).sqrt()
    return times(templates, longest / torch.maximum(length, longest), displacement)


def n_free(templates: TemplateBatch) -> Tensor:
    """Return the number of free parameters of each system (n_systems,)."""
    return per_system(templates, Geometry(templates.free_lattice.long(), templates.free_coords.long()))


def finite(templates: TemplateBatch, geometry: Geometry) -> Tensor:
    """Return which systems have only finite parameters (n_systems,), bool."""
    bad = Geometry((~geometry.lattice.isfinite()).double(), (~geometry.coords.isfinite()).double())
    return per_system(templates, bad) == 0


def _bounds(lattice: Tensor) -> Tensor:
    return lattice.new_tensor([MAX_SHAPE] * 5 + [MAX_LOG_VOLUME / math.sqrt(3)])


def within_bounds(geometry: Geometry) -> Tensor:
    """Return which systems have a cell within the bounds (n_systems,), bool.

    Beyond them, neighbour lists become too large and networks extrapolate.
    """
    return (geometry.lattice.abs() <= _bounds(geometry.lattice)).all(1)


def bounded(geometry: Geometry) -> Geometry:
    """Return the geometry with its lattice parameters clamped to the bounds."""
    bounds = _bounds(geometry.lattice)
    return Geometry(torch.minimum(torch.maximum(geometry.lattice, -bounds), bounds), geometry.coords)
