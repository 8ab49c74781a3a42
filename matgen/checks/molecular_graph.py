"""Bonds and stereo of a geometry, compared with those of its molecular graph."""

import numpy as np
from ase.data import covalent_radii
from rdkit import Chem

from matgen.batch.graphs import TETRAHEDRAL
from matgen.chemistry.elements import SYMBOLS
from matgen.templates.molecular_geometry import LONGEST_BOND
from matgen.templates.molecule import MolecularGraph, MoleculeTemplate, graph_of, with_positions

NEAREST_APART = 1.15
"""Heavy atoms nearer than this are bonded, in sums of covalent radii; across a small ring they are as near as 1.17."""

LEAST_COSINE = 0.1
"""Least absolute cosine of the dihedral angle at which the sides of a double bond are defined."""


def changed_bonds(graph: MolecularGraph, positions: np.ndarray) -> tuple[list[str], list[str]]:
    """Return bonds of the graph that are too long, and nonbonded pairs that are too near, such as `C0–O3 (2.13 Å)`.

    Args:
        graph: of the molecule.
        positions: Cartesian (n, 3), Å.
    """
    distance = np.linalg.norm(positions[:, None] - positions, axis=2)
    radii = covalent_radii[graph.elements]
    ratio = distance / (radii[:, None] + radii)
    bonded = (graph.relations >= 1) & (graph.relations <= 4)
    heavy = graph.elements > 1
    nearest = np.where(heavy[:, None] & heavy, NEAREST_APART, LONGEST_BOND)

    def named(pairs: np.ndarray) -> list[str]:
        symbols = [f"{SYMBOLS[z]}{i}" for i, z in enumerate(graph.elements.tolist())]
        return [f"{symbols[i]}–{symbols[j]} ({distance[i, j]:.2f} Å)" for i, j in np.argwhere(np.triu(pairs, 1))]

    return named(bonded & (ratio > LONGEST_BOND)), named(~bonded & (ratio < nearest))


def shows_template(template: MoleculeTemplate, positions: np.ndarray) -> bool:
    """Return whether a geometry has the bonds and the stereo of its template, and no other bonds.

    Args:
        template: of the molecule.
        positions: Cartesian (n, 3), Å, in the order of its graph.
    """
    if not np.isfinite(positions).all() or any(changed_bonds(template.graph, positions)):
        return False
    return bool((stereo_of_geometry(template, positions) == template.graph.stereo[:, -1]).all())


def stereo_of_geometry(template: MoleculeTemplate, positions: np.ndarray) -> np.ndarray:
    """Return the stereo of a geometry at each stereo element of a template (n_stereo,): +1, -1, or 0 if it is too flat.

    Centres are read by RDKit, as in training data, so that a carbon with all bonds on one side, as at some bridgeheads,
    has the same chirality in both.

    Args:
        template: of the molecule.
        positions: Cartesian (n, 3), Å, in the order of its graph.
    """
    shown = with_positions(template, positions)
    Chem.AssignAtomChiralTagsFromStructure(shown, replaceExistingTags=True)
    read = {tuple(row[:-1]): row[-1] for row in graph_of(shown).stereo.tolist()}
    wanted = template.graph.stereo
    centres = np.array([read.get(tuple(row[:-1]), 0) for row in wanted.tolist()])
    return np.where(wanted[:, 0] == TETRAHEDRAL, centres, _sides(wanted[:, 1:5], positions))


def _sides(atoms: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Whether the ends a, d of bonds a-b=c-d lie on one side (+1) or on opposite sides (-1); 0 near a right angle."""
    a, b, c, d = (positions[atoms[:, column]] for column in range(4))
    cosine = (_unit(np.cross(a - b, c - b)) * _unit(np.cross(d - c, c - b))).sum(1)
    return np.where(np.abs(cosine) < LEAST_COSINE, 0, np.sign(cosine)).astype(int)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
