"""Elastic tensors by linear response: stress and forces of strained cells, and forces of displaced atoms.

With the strain ε in Mandel's notation and the displacements u of the atoms, the energy of a crystal at its minimum is
V/2 ε·C₀ε + u·Γε + u·Φu/2. The atoms relax to u = -Φ⁺Γε, where Φ⁺ leaves the three translations out, so that
C = C₀ - Γᵀ Φ⁺ Γ / V: Wu, Vanderbilt, Hamann, Phys. Rev. B 72, 035105 (2005). C₀ and Γ are central differences of
stress and forces between strained cells, Φ of forces between cells with a displaced atom. The space group leaves only
some of both to be calculated: the others are their images.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core.structure import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from matgen.relaxation.config import RelaxConfig

if TYPE_CHECKING:  # it loads sympy
    from pymatgen.analysis.elasticity.elastic import ElasticTensor

STRAIN, MOVE = 0.01, 0.03
"""Half the differences: length of the strain, and displacement of an atom in Å.

CHGNet's curvature is rough on smaller scales: C11 of silicon is 153, 131, 118 and 122 GPa with 0.002, 0.005, 0.01 and
0.02.
"""

SOFT = 0.02
"""eV/Å² below which a mode that is no translation counts as unstable."""

SYMPREC = 0.01

TIGHT = RelaxConfig(fmax=0.01, smax=0.0003, max_steps=300, max_volume_change=2.0)
"""Relaxation before derivatives are taken."""

ROOT = math.sqrt(2)
PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
FACTORS = np.array([1.0, 1.0, 1.0, ROOT, ROOT, ROOT])

EV_PER_A3 = 160.21766208
"""GPa."""


@dataclass(frozen=True)
class Response:
    """What a potential says of a structure.

    Attributes:
        forces: (n_atoms, 3), eV/Å.
        stress: (3, 3), dE/dε/V, GPa.
    """

    forces: np.ndarray
    stress: np.ndarray


Respond = Callable[[Sequence[Structure]], list[Response]]
"""Forces and stresses of many structures."""


class ElasticityError(Exception):
    """The crystal is no minimum of the potential."""


@dataclass(frozen=True)
class Operation:
    """An operation of the space group.

    Attributes:
        rotation: of Cartesian column vectors (3, 3).
        image: of each atom (n_atoms,).
    """

    rotation: np.ndarray
    image: np.ndarray


def elastic_tensor(crystal: Structure, respond: Respond) -> "ElasticTensor":
    """Return the elastic tensor of a relaxed crystal, GPa, positive or not.

    Raises:
        ElasticityError: a mode at the zone centre is not positive.
    """
    from pymatgen.analysis.elasticity.elastic import ElasticTensor

    group = operations(crystal)
    modes, atoms = independent_strains(group), independent_atoms(group, len(crystal))
    cells = [strained(crystal, sign * STRAIN * basis(mode)) for mode in modes for sign in (1, -1)]
    cells += [moved(crystal, atom, axis, sign * MOVE) for atom in atoms for axis in range(3) for sign in (1, -1)]
    answers = respond(cells)
    pairs = list(zip(answers[::2], answers[1::2], strict=True))
    stress = [(up.stress - down.stress) / (2 * STRAIN) for up, down in pairs[: len(modes)]]
    force = [(up.forces - down.forces) / (2 * STRAIN) for up, down in pairs[: len(modes)]]
    pulled = [(up.forces - down.forces) / (2 * MOVE) for up, down in pairs[len(modes) :]]
    clamped, coupling = by_strain(group, modes, stress, force)
    constants = force_constants(group, atoms, pulled, len(crystal))
    tensor = clamped - coupling.T @ inverse(constants) @ coupling / crystal.volume * EV_PER_A3
    return ElasticTensor.from_voigt((tensor + tensor.T) / 2 / np.outer(FACTORS, FACTORS))


def eigenvalues(tensor: np.ndarray) -> np.ndarray:
    """Stiffness against any strain, rising (6,): of a tensor in Voigt's notation (6, 6), symmetrised, by Mandel's."""
    return np.linalg.eigvalsh((tensor + tensor.T) / 2 * np.outer(FACTORS, FACTORS))


def is_positive(tensor: "ElasticTensor") -> bool:
    """Return whether any strain costs energy."""
    return bool(eigenvalues(np.array(tensor.voigt))[0] > 0)


def operations(crystal: Structure) -> list[Operation]:
    """Return the operations of the space group, and what they do to the atoms."""
    found = []
    for operation in SpacegroupAnalyzer(crystal, symprec=SYMPREC).get_symmetry_operations():
        frac = crystal.frac_coords @ operation.rotation_matrix.T + operation.translation_vector
        apart = frac[:, None] - crystal.frac_coords[None]
        distance = np.linalg.norm((apart - np.round(apart)) @ crystal.lattice.matrix, axis=-1)
        distance[np.not_equal.outer(crystal.atomic_numbers, crystal.atomic_numbers)] = np.inf
        cell = crystal.lattice.matrix.T
        found.append(Operation(cell @ operation.rotation_matrix @ np.linalg.inv(cell), distance.argmin(1)))
    return found


def mandel(tensor: np.ndarray) -> np.ndarray:
    """Return a symmetric tensor as a vector (6,) whose length is that of the tensor."""
    return np.array([tensor[pair] for pair in PAIRS]) * FACTORS


def basis(mode: int) -> np.ndarray:
    """Return the symmetric tensor (3, 3) of a unit vector in Mandel's notation."""
    tensor = np.zeros((3, 3))
    i, j = PAIRS[mode]
    tensor[i, j] = tensor[j, i] = 1 / FACTORS[mode]
    return tensor


def independent_strains(group: Sequence[Operation]) -> list[int]:
    """Return unit strains whose images span all strains."""
    chosen: list[int] = []
    images: list[np.ndarray] = []
    rank = 0
    for mode in (0, 3, 2, 5, 1, 4):
        more = images + [mandel(one.rotation @ basis(mode) @ one.rotation.T) for one in group]
        own = int(np.linalg.matrix_rank(np.array(more), tol=1e-3))
        if own > rank:
            chosen, images, rank = [*chosen, mode], more, own
    return chosen


def independent_atoms(group: Sequence[Operation], n_atoms: int) -> list[int]:
    """Return the first atom of each orbit."""
    return sorted({min(int(one.image[atom]) for one in group) for atom in range(n_atoms)})


def strained(crystal: Structure, strain: np.ndarray) -> Structure:
    """Return a crystal under a strain, with its fractional coordinates."""
    return Structure(crystal.lattice.matrix @ (np.eye(3) + strain), crystal.species, crystal.frac_coords)


def moved(crystal: Structure, atom: int, axis: int, by: float) -> Structure:
    """Return a crystal with an atom displaced by some Å."""
    coords = crystal.cart_coords.copy()
    coords[atom, axis] += by
    return Structure(crystal.lattice, crystal.species, coords, coords_are_cartesian=True)


def by_strain(
    group: Sequence[Operation], modes: Sequence[int], stress: Sequence[np.ndarray], force: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return C₀ (6, 6), GPa, and Γ (3 n_atoms, 6), eV/Å, from derivatives of stress and forces in some strains."""
    strains, stresses, forces = [], [], []
    for mode, own_stress, own_force in zip(modes, stress, force, strict=True):
        for one in group:
            turn = one.rotation
            strains.append(mandel(turn @ basis(mode) @ turn.T))
            stresses.append(mandel(turn @ own_stress @ turn.T))
            image = np.zeros_like(own_force)
            image[one.image] = own_force @ turn.T
            forces.append(image.ravel())
    given = np.array(strains)
    clamped = np.linalg.lstsq(given, np.array(stresses), rcond=None)[0].T
    return clamped, -np.linalg.lstsq(given, np.array(forces), rcond=None)[0].T


def force_constants(
    group: Sequence[Operation], atoms: Sequence[int], pulled: Sequence[np.ndarray], n_atoms: int
) -> np.ndarray:
    """Return Φ (3 n_atoms, 3 n_atoms), eV/Å², from derivatives of the forces in the displacements of some atoms."""
    total, count = np.zeros((n_atoms, 3, n_atoms, 3)), np.zeros(n_atoms)
    for place, atom in enumerate(atoms):
        own = -np.array(pulled[3 * place : 3 * place + 3])  # axis of the atom, other atom, its axis
        for one in group:
            turn, image = one.rotation, np.zeros_like(own)
            image[:, one.image] = np.einsum("ai,bj,inj->anb", turn, turn, own)
            total[one.image[atom]] += image
            count[one.image[atom]] += 1
    flat = (total / count[:, None, None, None]).reshape(3 * n_atoms, 3 * n_atoms)
    return (flat + flat.T) / 2


def inverse(constants: np.ndarray) -> np.ndarray:
    """Return Φ⁺.

    Raises:
        ElasticityError: more than three modes are not positive.
    """
    values, vectors = np.linalg.eigh(constants)
    hard = np.sort(np.abs(values).argsort()[3:])
    if len(hard) and values[hard].min() <= SOFT:
        raise ElasticityError(f"a mode at the zone centre has the force constant {values[hard].min():.3g} eV/Å²")
    return (vectors[:, hard] / values[hard]) @ vectors[:, hard].T if len(hard) else np.zeros_like(constants)
