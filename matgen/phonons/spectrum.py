"""Density of states and heat of harmonic phonons."""

from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 200
"""Frequencies of the density of states."""

TEMPERATURE = 300.0
"""K."""

KJ_PER_MOL = 0.0103642697
"""eV."""


@dataclass(frozen=True)
class Spectrum:
    """Density of states.

    Attributes:
        frequency: THz (n,), negative where imaginary.
        density: modes per THz and primitive cell (n,).
    """

    frequency: np.ndarray
    density: np.ndarray


@dataclass(frozen=True)
class Heat:
    """What the phonons of a stable crystal hold at `TEMPERATURE`.

    Attributes:
        free_energy: Helmholtz, with that of the zero point, eV/atom.
        entropy: J/K per mole of atoms.
        heat_capacity: at constant volume, J/K per mole of atoms.
    """

    free_energy: float
    entropy: float
    heat_capacity: float


def spectrum(constants: Any, density: float) -> Spectrum:
    """Return the density of states by the tetrahedron method.

    Args:
        constants: a `phonopy.Phonopy` with force constants.
        density: of the mesh of wave vectors, Å.
    """
    constants.run_mesh(density, is_gamma_center=True)
    frequencies = constants.mesh.frequencies
    low, high = min(float(frequencies.min()), 0.0), float(frequencies.max())
    constants.run_total_dos(freq_min=low, freq_max=1.05 * high, freq_pitch=(1.05 * high - low) / (BINS - 1))
    found = constants.total_dos
    return Spectrum(np.asarray(found.frequency_points), np.asarray(found.dos))


def heat(constants: Any, density: float) -> Heat:
    """Return the harmonic free energy, entropy and heat capacity of a crystal without imaginary modes."""
    constants.run_mesh(density, is_gamma_center=True)
    constants.run_thermal_properties(temperatures=[TEMPERATURE], exclude_gamma_acoustic=True)
    found, n_atoms = constants.thermal_properties, len(constants.primitive)
    energy, entropy, capacity = (
        float(np.asarray(values)[0]) / n_atoms for values in (found.free_energy, found.entropy, found.heat_capacity)
    )
    return Heat(energy * KJ_PER_MOL, entropy, capacity)
