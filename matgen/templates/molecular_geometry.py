"""Molecules in space: where the bonds of bare atoms are, where the atoms of a bare graph are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDetermineBonds, rdDistGeom, rdForceFieldHelpers

from matgen.templates.molecule import MoleculeError, MoleculeTemplate, graph_of, template_in_space, with_positions

SEED = 0
"""Of the geometries that are made where a file has none."""

LARGEST = 250
"""Atoms beyond which no geometry is made and no bond orders are looked for: either can take minutes."""

ATTEMPTS = 50
"""Embeddings that are tried; a molecule that ten do not succeed with is strained."""

MINIMISE = 2000
"""Steps of the force field."""

BOND_ORDERS = 100_000
"""Assignments of bond orders that are tried."""

NEAR: tuple[dict[str, Any], ...] = (
    {},
    {"useVdw": True, "covFactor": 1.25},
    {"useVdw": True, "covFactor": 1.2},
    {"useVdw": True, "covFactor": 1.15},
)
"""What counts as bonded, tried in turn until valences come out: RDKit's own rule (1.3 covalent radii), then ever less.

Cages bring atoms together that are not bonded. Of 1500 molecules of QM9, drawn at random (seed 0), the first rule gives
back 1390 with their hands, all four 1493; the others are mesomeric forms and hands of strained cages.
"""

HYDROGENS = "hydrogens added where valences are free"
EMBEDDED = f"geometry by ETKDGv3 (seed {SEED}) and MMFF94"
ROUGH = f"geometry by ETKDGv3 (seed {SEED}) alone, since MMFF94 does not know its atoms"

LONGEST_BOND = 1.3
"""A bond longer than that is broken, in sums of covalent radii (Cordero et al., Dalton Trans. 2008, 2832); a hydrogen
nearer than that to an atom is bonded to it."""


@dataclass(frozen=True)
class Placed:
    """A molecule with positions.

    Attributes:
        template: its graph.
        positions: Cartesian (n_atoms, 3) in the order of the graph, Å.
        note: what was made up, since the source did not say it; empty if nothing was.
    """

    template: MoleculeTemplate
    positions: np.ndarray
    note: str = ""


def placed(molecule: Chem.Mol) -> Placed:
    """An RDKit molecule in the order of its template; hydrogens and positions that it lacks are made.

    Raises:
        MoleculeError: it cannot be understood, or no geometry could be made.
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
    if shows(whole, template):  # of all orders of equal atoms, the one that they have
        positions = whole.GetConformer().GetPositions()
    return Placed(template, positions, HYDROGENS if whole.GetNumAtoms() > molecule.GetNumAtoms() else "")


def embedded(template: MoleculeTemplate) -> Placed:
    """A molecule with a geometry from distances known of its bonds, relaxed by a force field; always the same one.

    Raises:
        MoleculeError: no geometry could be made.
    """
    molecule = template.molecule
    _check_elements(molecule)
    if molecule.GetNumAtoms() > LARGEST:
        raise MoleculeError(f"expected coordinates for more than {LARGEST} atoms, got a graph; give a file with them")
    if all(rdDistGeom.EmbedMolecule(molecule, _etkdg(at_random=guess)) < 0 for guess in (False, True)):
        raise MoleculeError(f"expected a molecule that fits into space, got {template}; check the hands of its rings")
    known = rdForceFieldHelpers.MMFFHasAllMoleculeParams(Chem.Mol(molecule))  # it writes its own aromaticity
    if known:
        rdForceFieldHelpers.MMFFOptimizeMolecule(molecule, maxIters=MINIMISE)
    positions = molecule.GetConformer().GetPositions()
    if not shows(with_positions(template, positions), template):
        raise MoleculeError(f"expected the hands of {template}, got others from the force field; give coordinates")
    return Placed(template, positions, EMBEDDED if known else ROUGH)


def _etkdg(*, at_random: bool) -> Any:
    """Options of ETKDGv3; starts at random coordinates find a few molecules that starts from distances do not."""
    options: Any = rdDistGeom.ETKDGv3()
    options.randomSeed, options.maxIterations, options.useRandomCoords = SEED, ATTEMPTS, at_random
    return options


def bonded(numbers: np.ndarray, positions: np.ndarray, charge: int = 0) -> Chem.Mol:
    """The molecule whose bonds the distances show.

    Args:
        numbers: atomic numbers (n_atoms,).
        positions: Cartesian (n_atoms, 3), Å.
        charge: of the whole, e.

    Raises:
        MoleculeError: no bonds explain the atoms and the charge.
    """
    if len(numbers) > LARGEST:
        raise MoleculeError(f"expected bonds for more than {LARGEST} atoms, got coordinates alone; give an SDF")
    reasons = []
    for rule in NEAR:
        found = _bare(numbers, positions)
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


def _bare(numbers: np.ndarray, positions: np.ndarray) -> Chem.Mol:
    """Atoms in space, no hydrogen to be added to them."""
    bare = Chem.RWMol()
    for z in numbers:
        atom = Chem.Atom(int(z))
        atom.SetNoImplicit(True)
        bare.AddAtom(atom)
    conformer = Chem.Conformer(len(numbers))
    conformer.Set3D(True)
    conformer.SetPositions(np.ascontiguousarray(positions, dtype=float))
    bare.AddConformer(conformer, assignId=True)
    return bare.GetMol()


def shows(molecule: Chem.Mol, template: MoleculeTemplate) -> bool:
    """Whether a molecule has the graph of a template and the hands that it asks for, atom by atom in its order."""
    asked, shown = template.molecule, Chem.Mol(molecule)
    if asked.GetNumAtoms() != shown.GetNumAtoms():
        return False
    Chem.AssignStereochemistryFrom3D(shown)
    one, other = graph_of(asked), graph_of(shown)
    equal = [(getattr(one, name) == getattr(other, name)).all() for name in ("elements", "charges", "relations")]
    for each in (asked, shown):
        for atom in each.GetAtoms():
            atom.SetIsotope(atom.GetIdx() + 1)  # an atom may only be compared with its namesake
    return all(equal) and shown.HasSubstructMatch(asked, useChirality=True)


def _check_elements(molecule: Chem.Mol) -> None:
    strange = next((atom for atom in molecule.GetAtoms() if not atom.GetAtomicNum()), None)
    if strange is not None:
        raise MoleculeError(f"expected atoms, got {strange.GetSymbol()!r}, which is no element; name every atom")


def _overlaps(positions: np.ndarray) -> bool:
    """Whether atoms lie on each other, as they do in a file of a graph alone."""
    apart = np.linalg.norm(positions[:, None] - positions, axis=2)
    return bool((apart + np.eye(len(positions)) < 1e-3).any())
