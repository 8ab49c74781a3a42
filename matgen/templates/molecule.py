"""The discrete half of a molecule: a graph with formal charges and stereo.

A template is a canonical SMILES, so equal molecules have equal templates. A `MolecularGraph` holds what the geometry
needs: all atoms with their pairwise relations and stereo elements.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from matgen.batch.graphs import DOUBLE_BOND, FARTHER, TETRAHEDRAL
from matgen.chemistry.elements import SYMBOLS
from matgen.errors import UserError
from matgen.templates.late_rdkit import Chem, MurckoScaffold, rdCIPLabeler, rdMolDescriptors

NITROGEN, WITH_LONE_PAIR = 7, 3
"""Atomic number, and the number of neighbours of a nitrogen with a lone pair that formally could be a stereocentre."""

BOND_KINDS = {"SINGLE": 1, "DOUBLE": 2, "TRIPLE": 3, "AROMATIC": 4}
"""Relation of two bonded atoms, by RDKit's name of the bond; 5 and 6 mean two and three bonds apart, `FARTHER` more."""


class MoleculeError(UserError, ValueError):
    """A molecule that is not valid, or that the models do not cover."""


@dataclass(frozen=True)
class MolecularGraph:
    """The atoms of a molecule in the order of its SMILES, then its implicit hydrogens, and their relations.

    Attributes:
        elements: atomic numbers (n,).
        charges: formal charges (n,).
        relations: of each ordered pair: 0 on the diagonal, a bond kind, 5, 6 or `FARTHER` (n, n).
        stereo: rows of kind, four neighbours, the central atom and the sign of the specified stereoisomer, +1 or -1
            (n_stereo, 7); see `matgen.nn.stereo`.
    """

    elements: np.ndarray
    charges: np.ndarray
    relations: np.ndarray
    stereo: np.ndarray


_TRIPLETS = {"O=O": 2, "S=S": 2, "O=S": 2}
"""Molecules whose ground state is a triplet, although a graph of closed shells can be drawn."""


@dataclass(frozen=True)
class MoleculeTemplate:
    """A molecular graph.

    Attributes:
        smiles: canonical, with the specified stereo; use `of` for other SMILES.
    """

    smiles: str

    @classmethod
    def of(cls, molecule: Chem.Mol | str) -> MoleculeTemplate:
        """Return the template of an RDKit molecule or of any SMILES.

        A nitrogen with a lone pair is not treated as a stereocentre: it inverts, or its rings determine its geometry.

        Raises:
            MoleculeError: it cannot be sanitised, holds several molecules, or atoms without a definite element.
        """
        found = parsed(molecule) if isinstance(molecule, str) else molecule
        plain = Chem.RemoveHs(Chem.Mol(found))
        for atom in plain.GetAtoms():
            atom.SetAtomMapNum(0)
            atom.SetIsotope(0)
            if atom.GetAtomicNum() == NITROGEN and atom.GetTotalDegree() == WITH_LONE_PAIR:
                atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
        smiles = Chem.MolToSmiles(plain)
        again = Chem.MolFromSmiles(smiles)  # aromaticity and stereo as they are read back
        if again is None:
            raise MoleculeError(f"expected a molecule that RDKit can read back, got {smiles}; check its valences")
        return cls(Chem.MolToSmiles(again))

    @property
    def molecule(self) -> Chem.Mol:
        """A new RDKit molecule with all hydrogens, atoms in the order of the graph."""
        return Chem.Mol(_molecule(self.smiles))

    @property
    def graph(self) -> MolecularGraph:
        """All atoms and their relations."""
        return molecular_graph(self.smiles)

    @property
    def composition(self) -> dict[int, int]:
        """Number of atoms of each element, by atomic number."""
        elements, counts = np.unique(self.graph.elements, return_counts=True)
        return dict(zip(elements.tolist(), counts.tolist(), strict=True))

    @property
    def n_atoms(self) -> int:
        """Number of atoms, including hydrogens."""
        return len(self.graph.elements)

    @property
    def formula(self) -> str:
        """Formula in order of atomic number, such as `H4C1`."""
        return "".join(f"{SYMBOLS[z]}{n}" for z, n in self.composition.items())

    @property
    def hill_formula(self) -> str:
        """Formula in Hill's order, such as `CH4`."""
        return rdMolDescriptors.CalcMolFormula(_molecule(self.smiles))

    @property
    def charge(self) -> int:
        """Net formal charge."""
        return Chem.GetFormalCharge(_molecule(self.smiles))

    @property
    def unpaired_electrons(self) -> int:
        """Electrons without a partner: of radical centres, and of dioxygen, whose graph shows a closed shell."""
        radicals = sum(atom.GetNumRadicalElectrons() for atom in _molecule(self.smiles).GetAtoms())
        return _TRIPLETS.get(self.smiles, radicals)

    @property
    def without_stereo(self) -> MoleculeTemplate:
        """The same graph without stereo."""
        return _without_stereo(self.smiles)

    def __str__(self) -> str:
        return self.smiles


def parsed(smiles: str) -> Chem.Mol:
    """Return the molecule of a SMILES.

    Raises:
        MoleculeError: it is not valid, or holds several molecules.
    """
    found = Chem.MolFromSmiles(smiles.strip()) if _is_one_word(smiles) else None
    if found is None or not found.GetNumAtoms():
        raise MoleculeError(f"expected a SMILES such as CCO, got {smiles!r}; check brackets, rings and valences")
    if len(Chem.GetMolFrags(found)) > 1:
        raise MoleculeError(f"expected one molecule, got several in {smiles!r}; leave out everything but one")
    return found


@lru_cache(maxsize=1000)
def parsed_pattern(smarts: str) -> Chem.Mol:
    """Return the pattern of a SMARTS.

    Raises:
        MoleculeError: it is not valid.
    """
    found = Chem.MolFromSmarts(smarts.strip()) if _is_one_word(smarts) else None
    if found is None or not found.GetNumAtoms():
        raise MoleculeError(f"expected a SMARTS such as [OX2H] (a hydroxyl group), got {smarts!r}; check its brackets")
    return found


def _is_one_word(text: str) -> bool:
    """Whether a text has the letters of one SMILES or SMARTS; what follows a space RDKit takes for a name."""
    return isinstance(text, str) and text.isascii() and len(text.split()) == 1


@lru_cache(maxsize=20_000)
def _molecule(smiles: str) -> Chem.Mol:
    return Chem.AddHs(parsed(smiles))


@lru_cache(maxsize=20_000)
def _without_stereo(smiles: str) -> MoleculeTemplate:
    bare = Chem.Mol(_molecule(smiles))
    Chem.RemoveStereochemistry(bare)
    return MoleculeTemplate.of(bare)


@lru_cache(maxsize=20_000)
def molecular_graph(smiles: str) -> MolecularGraph:
    """Return the graph of a canonical SMILES."""
    return graph_of(_molecule(smiles))


def graph_of(molecule: Chem.Mol) -> MolecularGraph:
    """Return the graph of an RDKit molecule with explicit hydrogens."""
    n = molecule.GetNumAtoms()
    apart = Chem.GetDistanceMatrix(molecule).astype(int)
    relations = np.where(apart < 4, np.array([0, 1, 5, 6])[apart.clip(max=3)], FARTHER).astype(np.uint8)
    for bond in molecule.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        kind = bond.GetBondType().name
        if kind not in BOND_KINDS:
            raise MoleculeError(f"expected single to triple and aromatic bonds, got {kind}")
        relations[i, j] = relations[j, i] = BOND_KINDS[kind]
    return MolecularGraph(
        elements=np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.int64).reshape(n),
        charges=np.array([atom.GetFormalCharge() for atom in molecule.GetAtoms()], dtype=np.int64).reshape(n),
        relations=relations,
        stereo=np.array([*_centres(molecule), *_double_bonds(molecule)], dtype=np.int64).reshape(-1, 7),
    )


def _centres(molecule: Chem.Mol) -> list[tuple[int, ...]]:
    """Return tetrahedral elements; seen from the first neighbour, sign -1 means that the others are clockwise."""
    rows: list[tuple[int, ...]] = []
    for atom in molecule.GetAtoms():
        tag = atom.GetChiralTag()
        if tag not in (Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW):
            continue
        around = [bond.GetOtherAtomIdx(atom.GetIdx()) for bond in atom.GetBonds()]
        if len(around) == 3:  # a lone pair is represented by the atom itself
            around.append(atom.GetIdx())
        if len(around) == 4:
            rows.append((TETRAHEDRAL, *around, atom.GetIdx(), 1 if tag == Chem.ChiralType.CHI_TETRAHEDRAL_CCW else -1))
    return rows


def _double_bonds(molecule: Chem.Mol) -> list[tuple[int, ...]]:
    """Return double bonds a-b=c-d with a and d on the same side (+1) or on opposite sides (-1)."""
    rows: list[tuple[int, ...]] = []
    sides = {Chem.BondStereo.STEREOZ: 1, Chem.BondStereo.STEREOCIS: 1}
    sides |= {Chem.BondStereo.STEREOE: -1, Chem.BondStereo.STEREOTRANS: -1}
    for bond in molecule.GetBonds():
        if bond.GetStereo() in sides and len(bond.GetStereoAtoms()) == 2:
            a, d = bond.GetStereoAtoms()
            b, c = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            rows.append((DOUBLE_BOND, a, b, c, d, b, sides[bond.GetStereo()]))
    return rows


def stereo(molecule: Chem.Mol) -> dict[int, str]:
    """Return the label R or S of each stereocentre, by atom index."""
    rdCIPLabeler.AssignCIPLabels(molecule)
    return {a.GetIdx(): a.GetProp("_CIPCode") for a in molecule.GetAtoms() if a.HasProp("_CIPCode")}


@cache
def inchi_key(smiles: str) -> str:
    """Return the InChIKey of a canonical SMILES."""
    return Chem.MolToInchiKey(parsed(smiles))


@lru_cache(maxsize=20_000)
def _scaffold(smiles: str) -> str:
    core = MurckoScaffold.GetScaffoldForMol(parsed(smiles))
    if not core.GetNumAtoms():  # no rings
        return rdMolDescriptors.CalcMolFormula(parsed(smiles))
    return Chem.MolToSmiles(MurckoScaffold.MakeScaffoldGeneric(core))


def scaffold(template: MoleculeTemplate) -> str:
    """Return the scaffold without elements: rings and the chains between them; the formula if there is no ring."""
    return _scaffold(template.smiles)


def with_positions(template: MoleculeTemplate, positions: np.ndarray) -> Chem.Mol:
    """Return the molecule of a template with one conformer.

    Args:
        template: the graph.
        positions: Cartesian (n_atoms, 3), Å, in the order of the graph.
    """
    molecule = template.molecule
    set_positions(molecule, positions)
    return molecule


def set_positions(molecule: Chem.Mol, positions: np.ndarray) -> None:
    """Replace the conformers of a molecule by one with positions (n_atoms, 3), Å."""
    conformer = Chem.Conformer(molecule.GetNumAtoms())
    conformer.Set3D(True)
    conformer.SetPositions(np.ascontiguousarray(positions, dtype=float))
    molecule.RemoveAllConformers()
    molecule.AddConformer(conformer, assignId=True)


def template_in_space(molecule: Chem.Mol) -> tuple[MoleculeTemplate, np.ndarray]:
    """Return the template of a molecule with hydrogens and a conformer; stereo follows from the coordinates.

    Returns:
        The template, and the positions (n_atoms, 3) in the order of its graph, Å.

    Raises:
        MoleculeError: the molecule cannot be sanitised.
    """
    shown = Chem.Mol(molecule)
    Chem.AssignStereochemistryFrom3D(shown)
    template = MoleculeTemplate.of(shown)
    order = shown.GetSubstructMatch(_molecule(template.smiles), useChirality=True)
    if len(order) != shown.GetNumAtoms():  # stereo that only coordinates distinguish
        order = shown.GetSubstructMatch(_molecule(template.smiles))
    if len(order) != shown.GetNumAtoms():
        raise MoleculeError(f"expected the atoms of {template}, got others; give all hydrogens")
    return template, shown.GetConformer().GetPositions()[list(order)]
