"""Root mean square distance of two geometries of one molecule."""

import numpy as np
from pymatgen.core.structure import Molecule
from rdkit.Chem import rdMolAlign

from matgen.structures.candidate import Material
from matgen.templates.molecule import MoleculeTemplate, with_positions

MOST_MATCHES = 20_000
"""Most orders of equivalent atoms that `best_rmsd` tries."""


def rmsd(one: Material, other: Material) -> float:
    """Return the root mean square distance of all atoms, in their order, after the best proper rotation, Å.

    Kabsch, Acta Cryst. A32, 922 (1976).
    """
    a, b = (molecule.cart_coords - molecule.cart_coords.mean(0) for molecule in (one, other))
    u, _, v = np.linalg.svd(a.T @ b)
    proper = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    return float(np.sqrt(((a @ u @ proper @ v - b) ** 2).sum(1).mean()))


def best_rmsd(template: MoleculeTemplate, one: Molecule, other: Molecule) -> float:
    """Return the smallest root mean square distance over the orders of equivalent atoms, Å.

    Args:
        template: of both molecules.
        one: geometry in the order of its graph.
        other: likewise.
    """
    probe, reference = (with_positions(template, molecule.cart_coords) for molecule in (one, other))
    return float(rdMolAlign.GetBestRMS(probe, reference, maxMatches=MOST_MATCHES))
