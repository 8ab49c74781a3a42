"""Frequencies at chosen wave vectors, and where they are lowest."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.cell import Cell

from matgen.phonons.displacements import phonopy

SAME_LATTICE = 2e-4
"""Relative tolerance within which cell lengths and angles are those of a Bravais lattice."""

PATH_POINTS = 120
"""Along the path through the Brillouin zone."""

ZERO = 1e-8


@dataclass(frozen=True)
class Lowest:
    """The lowest frequency of some wave vectors.

    Attributes:
        thz: the frequency, negative where it is imaginary.
        q: its wave vector, fractions of the reciprocal vectors (3,).
        shares: of each atom of the primitive cell in the motion (n_atoms,), sum 1.
    """

    thz: float
    q: np.ndarray
    shares: np.ndarray


@dataclass(frozen=True)
class Bands:
    """Frequencies along a path.

    Attributes:
        q: wave vectors (n, 3).
        x: distance along the path (n,), 1/Å without 2π.
        frequencies: THz (n, 3 n_atoms).
        ticks: distance and name of each special point.
    """

    q: np.ndarray
    x: np.ndarray
    frequencies: np.ndarray
    ticks: tuple[tuple[float, str], ...]


def lowest(constants: Any, q_points: np.ndarray) -> Lowest:
    """Return the lowest frequency at some wave vectors (n, 3); at Γ the three acoustic modes are left out."""
    rows = [
        _optical(row) if np.abs(q - np.round(q)).max() < ZERO else row
        for q, row in zip(q_points, at(constants, q_points), strict=True)
    ]
    place = int(np.argmin([row.min(initial=np.inf) for row in rows]))
    q, least = q_points[place], rows[place].min(initial=np.inf)
    constants.run_qpoints([q], with_eigenvectors=True)
    found = constants.qpoints
    mode = int(np.argmin(np.abs(found.frequencies[0] - least)))
    shares = (np.abs(found.eigenvectors[0][:, mode]) ** 2).reshape(-1, 3).sum(1)
    return Lowest(float(least), q, shares)


def at(constants: Any, q_points: np.ndarray) -> np.ndarray:
    """Frequencies (n, 3 n_atoms) at wave vectors (n, 3), THz, rising; negative where imaginary."""
    constants.run_qpoints(q_points)
    return np.asarray(constants.qpoints.frequencies, dtype=float)


def commensurate(constants: Any) -> np.ndarray:
    """The wave vectors (n, 3) that the supercell repeats, at which no interpolation is needed; Γ is the first."""
    phonopy()
    from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

    q = np.asarray(get_commensurate_points(np.round(constants.supercell_matrix).astype(int)))
    return q[np.argsort(np.linalg.norm(q - np.round(q), axis=1), kind="stable")]


def distance_from_gamma(constants: Any, q_points: np.ndarray) -> np.ndarray:
    """Distance of wave vectors (n, 3) from the nearest Γ (n,), 1/Å without 2π."""
    reciprocal = np.linalg.inv(constants.primitive.cell).T
    around = np.array(list(np.ndindex(3, 3, 3))) - 1
    images = (q_points - np.round(q_points))[:, None] + around
    return np.linalg.norm(images @ reciprocal, axis=-1).min(axis=1)


def told(constants: Any, q_points: np.ndarray) -> np.ndarray:
    """Whether frequencies interpolated at wave vectors (n, 3) are those of the crystal (n,).

    Nearer to Γ than the shortest wave vector that the supercell repeats, they depend on forces beyond the supercell.
    """
    repeated = distance_from_gamma(constants, commensurate(constants)[1:])
    return distance_from_gamma(constants, q_points) >= repeated.min(initial=np.inf) - ZERO


def mesh(constants: Any, density: float) -> np.ndarray:
    """Irreducible wave vectors (n, 3) of a mesh around Γ."""
    constants.run_mesh(density, is_gamma_center=True)
    return np.asarray(constants.mesh.qpoints)


def bands(constants: Any) -> Bands:
    """Frequencies along the path of Setyawan and Curtarolo, Comput. Mater. Sci. 49, 299 (2010), as ASE chooses it."""
    path = Cell(constants.primitive.cell).bandpath(npoints=PATH_POINTS, eps=SAME_LATTICE)
    x, places, names = path.get_linear_kpoint_axis()
    ticks = tuple((float(place), name.replace("G", "Γ")) for place, name in zip(places, names, strict=True))
    return Bands(path.kpts, x, at(constants, path.kpts), ticks)


def _optical(frequencies: np.ndarray) -> np.ndarray:
    """Without the three that are closest to zero."""
    return np.delete(frequencies, np.argsort(np.abs(frequencies))[:3])
