"""Molecules in space: bonds from positions, and positions from bonds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDetermineBonds, rdDistGeom, rdForceFieldHelpers

from matgen.templates.molecule import (
    MoleculeError,
    MoleculeTemplate,
    graph_of,
    set_positions,
    template_in_space,
    with_positions,
)

SEED = 0
"""Random seed of generated geometries."""

LARGEST = 250
"""Largest number of atoms for which geometries are generated and bond orders assigned; either can take minutes."""

ATTEMPTS = 50
"""Largest number of embeddings; a molecule that needs more than ten is strained."""

MINIMISE = 2000
"""Largest number of steps of the force field."""

BOND_ORDERS = 100_000
"""Largest number of assignments of bond orders."""

NEAR: tuple[dict[str, Any], ...] = (
    {},
    {"useVdw": True, "covFactor": 1.25},
    {"useVdw": True, "covFactor": 1.2},
    {"useVdw": True, "covFactor": 1.15},
)
"""Criteria for bonds, tried in turn until the valences are correct: RDKit's own (1.3 covalent radii), then stricter.

In cages, atoms come close that are not bonded. Of 1500 random molecules of QM9 (seed 0), the first criterion reproduces
1390 with their stereo, all four 1493; the others are mesomeric forms and stereoisomers of strained cages.
"""

HYDROGENS = "hydrogens added where valences are free"
EMBEDDED = f"geometry by ETKDGv3 (seed {SEED}) and MMFF94"
ROUGH = f"geometry by ETKDGv3 (seed {SEED}) alone, since MMFF94 does not know its atoms"

LONGEST_BOND = 1.3
"""Longest bond, in sums of covalent radii (Cordero et al., Dalton Trans. 2008, 2832). A hydrogen closer than this to an
atom is bonded to it."""


@dataclass(frozen=True)
class Placed:
    """A molecule with positions.

    Attributes:
        template: its graph.
        positions: Cartesian (n_atoms, 3) in the order of the graph, Å.
        note: what the source does not give and was generated; empty otherwise.
    """

    template: MoleculeTemplate
    positions: np.ndarray
    note: str = ""


def placed(molecule: Chem.Mol) -> Placed:
    """Return an RDKit molecule in the order of its template; missing hydrogens and positions are generated.

    Raises:
        MoleculeError: it is not valid, or no geometry can be generated.
    """
    if not molecule.GetNumAtoms():
        raise MoleculeError("expected a molecule, got no atoms; check that the file is whole")
    _check_elements(molecule)
    if (several := len(Chem.GetMolFrags(molecule))) > 1:
        raise MoleculeError(f"expected one molecule, got {several} that are not bonded; leave out everything but one")
    if not molecule.GetNumConformers() or not molecule.GetConformer().Is3D():
        return embedded(MoleculeTemplate.of(molecule))
    whole = Chem.AddHs(molecule, addCoords=True)
    template, positions = template_in_space(whole)
    if whole.GetNumAtoms() > 1 and _overlaps(positions):
        return embedded(MoleculeTemplate.of(molecule))
    if shows(whole, template):  # keep the order of equivalent atoms
        positions = whole.GetConformer().GetPositions()
    return Placed(template, positions, HYDROGENS if whole.GetNumAtoms() > molecule.GetNumAtoms() else "")


def embedded(template: MoleculeTemplate) -> Placed:
    """Generate a geometry by distance geometry and a force field, with a fixed seed.

    Raises:
        MoleculeError: no geometry can be generated.
    """
    molecule = template.molecule
    _check_elements(molecule)
    if molecule.GetNumAtoms() > LARGEST:
        raise MoleculeError(f"expected coordinates for more than {LARGEST} atoms, got a graph; give a file with them")
    if all(rdDistGeom.EmbedMolecule(molecule, _etkdg(at_random=guess)) < 0 for guess in (False, True)):
        raise MoleculeError(f"expected a molecule that fits into space, got {template}; check the stereo of its rings")
    known = rdForceFieldHelpers.MMFFHasAllMoleculeParams(Chem.Mol(molecule))  # on a copy, as it changes the aromaticity
    if known:
        rdForceFieldHelpers.MMFFOptimizeMolecule(molecule, maxIters=MINIMISE)
    positions = molecule.GetConformer().GetPositions()
    if not shows(with_positions(template, positions), template):
        raise MoleculeError(f"expected the stereo of {template}, got another from the force field; give coordinates")
    return Placed(template, positions, EMBEDDED if known else ROUGH)


def _etkdg(*, at_random: bool) -> Any:
    """Return options of ETKDGv3; random initial coordinates succeed for a few molecules for which distances fail."""
    options: Any = rdDistGeom.ETKDGv3()
    options.randomSeed, options.maxIterations, options.useRandomCoords = SEED, ATTEMPTS, at_random
    return options


def bonded(atomic_numbers: np.ndarray, positions: np.ndarray, charge: int = 0) -> Chem.Mol:
    """Return the molecule with bonds found from distances.

    Args:
        atomic_numbers: atomic numbers (n_atoms,).
        positions: Cartesian (n_atoms, 3), Å.
        charge: net charge, e.

    Raises:
        MoleculeError: no bonds match the atoms and the charge.
    """
    if len(atomic_numbers) > LARGEST:
        raise MoleculeError(f"expected bonds for more than {LARGEST} atoms, got coordinates alone; give an SDF")
    reasons = []
    for rule in NEAR:
        found = _bare(atomic_numbers, positions)
        try:
            rdDetermineBonds.DetermineConnectivity(found, **rule)
            several = len(Chem.GetMolFrags(found))
            if several == 1:
                rdDetermineBonds.DetermineBondOrders(found, charge=charge, maxIterations=BOND_ORDERS)
                Chem.SanitizeMol(found)
        except (ValueError, RuntimeError) as error:
            reasons.append(" ".join(str(error).split()))
            continue
        if several > 1:
            reasons.append(f"{several} parts are too far apart for bonds")
        elif any(atom.GetNumRadicalElectrons() for atom in found.GetAtoms()):
            reasons.append("atoms have free valences")
        else:
            return found
    raise MoleculeError(
        f"expected bonds that follow from distances at charge {charge}, got none; give its charge, or an SDF "
        f"({reasons[0][:80]})"
    )


def _bare(atomic_numbers: np.ndarray, positions: np.ndarray) -> Chem.Mol:
    """Return atoms without bonds and without implicit hydrogens."""
    bare = Chem.RWMol()
    for z in atomic_numbers:
        atom = Chem.Atom(int(z))
        atom.SetNoImplicit(True)
        bare.AddAtom(atom)
    set_positions(bare, positions)
    return bare.GetMol()


def shows(molecule: Chem.Mol, template: MoleculeTemplate) -> bool:
    """Return whether a molecule has the graph and the specified stereo of a template, atom by atom in its order."""
    expected, shown = template.molecule, Chem.Mol(molecule)
    if expected.GetNumAtoms() != shown.GetNumAtoms():
        return False
    Chem.AssignStereochemistryFrom3D(shown)
    one, other = graph_of(expected), graph_of(shown)
    equal = [(getattr(one, name) == getattr(other, name)).all() for name in ("elements", "charges", "relations")]
    for each in (expected, shown):
        for atom in each.GetAtoms():
            atom.SetIsotope(atom.GetIdx() + 1)  # match every atom with itself only
    return all(equal) and shown.HasSubstructMatch(expected, useChirality=True)


def _check_elements(molecule: Chem.Mol) -> None:
    strange = next((atom for atom in molecule.GetAtoms() if not atom.GetAtomicNum()), None)
    if strange is not None:
        raise MoleculeError(f"expected atoms, got {strange.GetSymbol()!r}, which is no element; name every atom")


def _overlaps(positions: np.ndarray) -> bool:
    """Return whether atoms coincide, as in files that hold a graph without geometry."""
    apart = np.linalg.norm(positions[:, None] - positions, axis=2)
    return bool((apart + np.eye(len(positions)) < 1e-3).any())
