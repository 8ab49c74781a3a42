"""Places for inserted atoms: the largest voids of a crystal, one of each symmetry-distinct kind.

A void is a Voronoi node, a point that has four or more nearest atoms at the same distance (R. L. Martin et al.,
Micropor. Mesopor. Mater. 151, 450, 2012); nodes that lie close together are one. Equivalent places are one kind, by the
operations of the space group rather than by a comparison of structures.
"""

from dataclasses import dataclass

import numpy as np
from pymatgen.core.structure import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from scipy.spatial import Voronoi

from matgen.structures.hosts import HostError

CLOSEST = 0.9
"""Distance from a void to the nearest atom, Å, below which it is left out."""

ONE_VOID = 0.5
"""Distance up to which two Voronoi nodes are one void, Å."""

SAME_POINT = 0.01
"""Distance up to which two images of a place are one point, Å."""


@dataclass(frozen=True)
class Void:
    """One kind of void.

    Attributes:
        place: of one of them, in fractional coordinates (3,).
        places: number of its kind in the cell.
        radius: distance to the nearest atom, Å.
    """

    place: tuple[float, float, float]
    places: int
    radius: float


def voids(cell: Structure, symprec: float) -> list[Void]:
    """Return one void of each kind, the largest first.

    Raises:
        HostError: there is none.
    """
    lattice = cell.lattice.matrix
    operations = SpacegroupAnalyzer(cell, symprec=symprec).get_symmetry_operations()
    found: list[Void] = []
    taken = np.empty((0, 3))
    for node in _nodes(cell):
        if len(taken) and _distances(taken, node, lattice).min() < ONE_VOID:
            continue
        images = np.array([operation.operate(node) for operation in operations])
        place = _centre(images, node, lattice)
        radius = _distances(cell.frac_coords, place, lattice).min()
        if radius < CLOSEST:
            continue
        orbit = _points(np.array([operation.operate(place) for operation in operations]), lattice)
        taken = np.concatenate([taken, images, orbit])
        x, y, z = (float(part) for part in orbit[0] % 1.0)
        found.append(Void((x, y, z), len(orbit), float(radius)))
    if not found:
        formula = cell.composition.reduced_formula
        raise HostError(
            f"expected a void for an inserted atom in {formula}, got none {CLOSEST:g} Å from every atom; replace or "
            "remove atoms instead"
        )
    return found


def _nodes(cell: Structure) -> np.ndarray:
    """Return the Voronoi nodes (n, 3) of a cell in fractional coordinates, those far from atoms first."""
    steps = np.array(list(np.ndindex(5, 5, 5))) - 2
    images = (cell.frac_coords[:, None] + steps).reshape(-1, 3)
    nodes = Voronoi(images @ cell.lattice.matrix).vertices @ cell.lattice.inv_matrix
    nodes = nodes[((nodes > -0.001) & (nodes < 1.001)).all(1)]
    radii = np.array([_distances(cell.frac_coords, node, cell.lattice.matrix).min() for node in nodes])
    order = np.lexsort((*nodes.round(3).T, -radii.round(3)))
    return nodes[[i for i in order if radii[i] >= CLOSEST]]


def _distances(points: np.ndarray, place: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Return the distances (n,) of the nearest images of points (n, 3) from a place (3,), Å."""
    apart = points - place
    apart -= np.rint(apart)
    steps = np.array(list(np.ndindex(3, 3, 3))) - 1
    return np.linalg.norm((apart[:, None] + steps) @ lattice, axis=2).min(1)


def _centre(images: np.ndarray, node: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Return the mean (3,) of those images (n, 3) of a node that are one void with it, which has its symmetry."""
    steps = np.array(list(np.ndindex(3, 3, 3))) - 1
    apart = images - node
    near = ((apart - np.rint(apart))[:, None] + steps).reshape(-1, 3)
    near = near[np.linalg.norm(near @ lattice, axis=1) < ONE_VOID]
    return node + near.mean(0)


def _points(images: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Return the distinct points (m, 3) among images (n, 3)."""
    found = images[:1]
    for image in images[1:]:
        if _distances(found, image, lattice).min() > SAME_POINT:
            found = np.concatenate([found, image[None]])
    return found
