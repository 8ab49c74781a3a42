"""Root mean square distance of two geometries of one molecule."""

import numpy as np
from pymatgen.core.structure import Molecule
from rdkit.Chem import rdMolAlign

from matgen.templates.molecule import MoleculeTemplate, with_positions

MOST_MATCHES = 20_000
"""Orders of equivalent atoms that `best_rmsd` tries at most."""


def rmsd(one: Molecule, other: Molecule) -> float:
    """Root mean square distance of atoms, all of them and in their order, after the best proper rotation, Å.

    Kabsch, Acta Cryst. A32, 922 (1976).
    """
    return _aligned_rmsd(one.cart_coords, other.cart_coords)


def _aligned_rmsd(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one - one.mean(0), other - other.mean(0)
    u, _, v = np.linalg.svd(a.T @ b)
    proper = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    return float(np.sqrt(((a @ u @ proper @ v - b) ** 2).sum(1).mean()))


def best_rmsd(template: MoleculeTemplate, one: Molecule, other: Molecule) -> float:
    """The same, smallest over the orders of equivalent atoms, Å.

    Args:
        template: of both.
        one: geometry in the order of its graph.
        other: likewise.
    """
    probe, reference = (with_positions(template, molecule.cart_coords) for molecule in (one, other))
    return float(rdMolAlign.GetBestRMS(probe, reference, maxMatches=MOST_MATCHES))
