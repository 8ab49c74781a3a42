"""Arithmetic of scaled displacements, and the cells a sampler may visit.

A displacement is a `Geometry` whose entries are in Å (see `matgen.templates.noise`); it isn't wrapped.
"""

import math

import torch
from torch import Tensor

from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.noise import per_system

MAX_SHAPE = 3.0  # 99.9 % of known hexagonal crystals, the most elongated family, lie within 2.7
MAX_LOG_VOLUME = 1.5  # |ln V/V_ref|; 99.9 % of known crystals lie within 1.1


def plus(one: Geometry, other: Geometry) -> Geometry:
    """Sum of two displacements."""
    return Geometry(one.lattice + other.lattice, one.coords + other.coords)


def product(one: Geometry, other: Geometry) -> Geometry:
    """Entry by entry: takes a derivative per free number to one per Å of scaled coordinate, given the scales."""
    return Geometry(one.lattice * other.lattice, one.coords * other.coords)


def times(templates: TemplateBatch, factor: Tensor, displacement: Geometry) -> Geometry:
    """A displacement times one factor per system (n_systems,)."""
    return Geometry(factor[:, None] * displacement.lattice, factor[templates.site_system, None] * displacement.coords)


def square_length(templates: TemplateBatch, displacement: Geometry) -> Tensor:
    """Squared length of each system's displacement (n_systems,), Å²."""
    return per_system(templates, product(displacement, displacement))


def clipped(templates: TemplateBatch, displacement: Geometry, longest: Tensor) -> Geometry:
    """The displacement, shortened where it is longer than `longest` (n_systems,), Å."""
    length = square_length(templates, displacement).sqrt()
    return times(templates, longest / torch.maximum(length, longest), displacement)


def n_free(templates: TemplateBatch) -> Tensor:
    """How many free numbers each system has (n_systems,)."""
    return per_system(templates, Geometry(templates.free_lattice.long(), templates.free_coords.long()))


def finite(templates: TemplateBatch, geometry: Geometry) -> Tensor:
    """Which systems hold finite numbers only (n_systems,), bool."""
    bad = Geometry((~geometry.lattice.isfinite()).double(), (~geometry.coords.isfinite()).double())
    return per_system(templates, bad) == 0


def _bounds(lattice: Tensor) -> Tensor:
    return lattice.new_tensor([MAX_SHAPE] * 5 + [MAX_LOG_VOLUME / math.sqrt(3)])


def within_bounds(geometry: Geometry) -> Tensor:
    """Which systems have a sane cell (n_systems,), bool: beyond, neighbour lists explode and networks guess."""
    return (geometry.lattice.abs() <= _bounds(geometry.lattice)).all(1)


def bounded(geometry: Geometry) -> Geometry:
    """The geometry with its lattice numbers clamped to sane cells."""
    bounds = _bounds(geometry.lattice)
    return Geometry(torch.minimum(torch.maximum(geometry.lattice, -bounds), bounds), geometry.coords)
