"""Geometries from which a reverse diffusion starts."""

import torch
from torch import Tensor

from matgen.runtime.devices import per_device
from matgen.runtime.random import uniform
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.lattice import crystal_family
from matgen.templates.noise import STRAIN_PER_ANGSTROM, moved, scales, standard_normal
from matgen.templates.steps import bounded

# Mean and spread of the lattice numbers of 75,544 known crystals, by family.
KNOWN_LATTICES = {
    "triclinic": ((0.0, -0.02, -0.02, -0.09, -0.28, 0.05), (0.22, 0.16, 0.20, 0.15, 0.23, 0.09)),
    "monoclinic": ((0.0, -0.23, 0.0, 0.23, -0.03, 0.03), (0.0, 0.17, 0.0, 0.45, 0.37, 0.09)),
    "orthorhombic": ((0.0, 0.0, 0.0, -0.02, -0.05, 0.02), (0.0, 0.0, 0.0, 0.48, 0.46, 0.08)),
    "tetragonal": ((0.0, 0.0, 0.0, 0.0, -0.48, 0.01), (0.0, 0.0, 0.0, 0.0, 0.50, 0.10)),
    "hexagonal": ((0.0, 0.0, 0.0, 0.0, -0.61, 0.02), (0.0, 0.0, 0.0, 0.0, 0.73, 0.09)),
    "cubic": ((0.0, 0.0, 0.0, 0.0, 0.0, 0.01), (0.0, 0.0, 0.0, 0.0, 0.0, 0.09)),
}


def _noised(templates: TemplateBatch, geometry: Geometry, size: Tensor, generator: torch.Generator) -> Geometry:
    """Geometry plus Gaussian noise of this size (n_systems,), Å."""
    noise = standard_normal(geometry, generator)
    return bounded(moved(templates, geometry, noise, scales(templates, geometry), size))


def renoise(
    templates: TemplateBatch, geometry: Geometry, sigma: float | Tensor, generator: torch.Generator
) -> Geometry:
    """A warm start: geometries with noise of level σ (Å; one for all, or (n_systems,)) put on."""
    size = torch.as_tensor(sigma).to(geometry.lattice).expand(templates.n_systems)
    return _noised(templates, geometry, size, generator)


def pure_noise(
    templates: TemplateBatch,
    sigma_max: float,
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.float32,
) -> Geometry:
    """A cold start: uniform coords; Gaussian lattice numbers as wide as known crystals of the family, noised by σ_max.

    Coords are uniform where σ_max is at least about half the period, in Å. Those of molecules, which have no period,
    are Gaussian of spread σ_max.
    """
    mean, spread = (t[templates.space_group] for t in _known_lattices(templates.device))
    width = (spread**2 + (sigma_max * STRAIN_PER_ANGSTROM) ** 2).sqrt()
    like = torch.zeros_like(mean, dtype=dtype)
    coords = uniform(templates.free_coords.shape, generator, like)
    noise = standard_normal(Geometry(like, torch.zeros_like(coords)), generator)
    lattice = mean + width * noise.lattice
    coords = torch.where(templates.periodic[templates.site_system, None], coords, sigma_max * noise.coords)
    return bounded(Geometry((lattice * templates.free_lattice).to(dtype), coords * templates.free_coords))


@per_device
def _known_lattices() -> tuple[Tensor, Tensor]:
    """Mean and spread of lattice numbers (231, 6), by space group; zero where there is none."""
    known = [KNOWN_LATTICES[crystal_family(number)] for number in range(1, 231)]
    both = torch.tensor([((0.0,) * 6,) * 2, *known], dtype=torch.float64)
    return both[:, 0], both[:, 1]
