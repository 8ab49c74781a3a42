"""Bonds and stereo of a geometry, compared with those of its molecular graph."""

import numpy as np
from ase.data import covalent_radii
from rdkit import Chem

from matgen.batch.graphs import TETRAHEDRAL
from matgen.chemistry.elements import SYMBOLS
from matgen.templates.molecular_geometry import LONGEST_BOND
from matgen.templates.molecule import MolecularGraph, MoleculeTemplate, graph_of, with_positions

NEAREST_APART = 1.15
"""Heavy atoms nearer than that are bonded, in sums of covalent radii: across a small ring they come as near as 1.17."""


LEAST_TURN = 0.1
"""Cosine of the dihedral angle nearer to zero than that tells no side of a double bond."""


def changed_bonds(graph: MolecularGraph, positions: np.ndarray) -> tuple[list[str], list[str]]:
    """Bonds of the graph that are too long, and pairs that are not bonded but too near, such as `C0–O3 (2.13 Å)`.

    Args:
        graph: what should be bonded.
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
    """Whether a geometry has the bonds and the hands that its template asks for, and no other bonds.

    Args:
        template: what is asked for.
        positions: Cartesian (n, 3), Å, in the order of its graph.
    """
    if not np.isfinite(positions).all() or any(changed_bonds(template.graph, positions)):
        return False
    return bool((stereo_of_geometry(template, positions) == template.graph.stereo[:, -1]).all())


def stereo_of_geometry(template: MoleculeTemplate, positions: np.ndarray) -> np.ndarray:
    """Hand in space of each stereo element of a template (n_stereo,): +1, -1, or 0 where it is too flat to tell.

    Centres are read by RDKit, as those of training data are, so that a carbon all of whose bonds point to one side, as
    some bridgeheads' do, has the same hand here and there.

    Args:
        template: what is asked for.
        positions: Cartesian (n, 3), Å, in the order of its graph.
    """
    shown = with_positions(template, positions)
    Chem.AssignAtomChiralTagsFromStructure(shown, replaceExistingTags=True)
    read = {tuple(row[:-1]): row[-1] for row in graph_of(shown).stereo.tolist()}
    asked = template.graph.stereo
    centres = np.array([read.get(tuple(row[:-1]), 0) for row in asked.tolist()])
    return np.where(asked[:, 0] == TETRAHEDRAL, centres, _sides(asked[:, 1:5], positions))


def _sides(atoms: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Whether the ends a, d of bonds a-b=c-d lie on one side (+1) or on both (-1); 0 near a right angle."""
    a, b, c, d = (positions[atoms[:, place]] for place in range(4))
    turn = (_unit(np.cross(a - b, c - b)) * _unit(np.cross(d - c, c - b))).sum(1)
    return np.where(np.abs(turn) < LEAST_TURN, 0, np.sign(turn)).astype(int)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
