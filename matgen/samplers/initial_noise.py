"""Initial geometries of a reverse diffusion: noise, or noised geometries."""

import torch
from torch import Tensor

from matgen.runtime.devices import per_device
from matgen.runtime.random import uniform
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.lattice import crystal_family
from matgen.templates.noise import STRAIN_PER_ANGSTROM, moved, scales, standard_normal
from matgen.templates.steps import bounded

# Mean and standard deviation of the lattice parameters of 75,544 known crystals, by family.
KNOWN_LATTICES = {
    "triclinic": ((0.0, -0.02, -0.02, -0.09, -0.28, 0.05), (0.22, 0.16, 0.20, 0.15, 0.23, 0.09)),
    "monoclinic": ((0.0, -0.23, 0.0, 0.23, -0.03, 0.03), (0.0, 0.17, 0.0, 0.45, 0.37, 0.09)),
    "orthorhombic": ((0.0, 0.0, 0.0, -0.02, -0.05, 0.02), (0.0, 0.0, 0.0, 0.48, 0.46, 0.08)),
    "tetragonal": ((0.0, 0.0, 0.0, 0.0, -0.48, 0.01), (0.0, 0.0, 0.0, 0.0, 0.50, 0.10)),
    "hexagonal": ((0.0, 0.0, 0.0, 0.0, -0.61, 0.02), (0.0, 0.0, 0.0, 0.0, 0.73, 0.09)),
    "cubic": ((0.0, 0.0, 0.0, 0.0, 0.0, 0.01), (0.0, 0.0, 0.0, 0.0, 0.0, 0.09)),
}


def noised(templates: TemplateBatch, geometry: Geometry, size: Tensor, generator: torch.Generator) -> Geometry:
    """Return the geometry with Gaussian noise of this size (n_systems,), Å, added."""
    noise = standard_normal(geometry, generator)
    return bounded(moved(templates, geometry, noise, scales(templates, geometry), size))


def renoise(
    templates: TemplateBatch, geometry: Geometry, sigma: float | Tensor, generator: torch.Generator
) -> Geometry:
    """Return geometries with noise of level σ (Å; one for all, or (n_systems,)) added."""
    size = torch.as_tensor(sigma).to(geometry.lattice).expand(templates.n_systems)
    return noised(templates, geometry, size, generator)


def pure_noise(
    templates: TemplateBatch,
    sigma_max: float,
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.float32,
) -> Geometry:
    """Return geometries at noise level σ_max.

    Coordinates are uniform, which holds if σ_max is at least about half the period, in Å; those of molecules, which
    have no period, are Gaussian with standard deviation σ_max. Lattice parameters are Gaussian, with the distribution
    of known crystals of the family plus the noise.
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
    """Mean and standard deviation of lattice parameters (231, 6), by space group; zero in row 0."""
    known = [KNOWN_LATTICES[crystal_family(number)] for number in range(1, 231)]
    both = torch.tensor([((0.0,) * 6,) * 2, *known], dtype=torch.float64)
    return both[:, 0], both[:, 1]
