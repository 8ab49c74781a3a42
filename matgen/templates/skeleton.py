"""The heavy atoms of a molecule and their bonds, as used by the learned prior and the moves.

A skeleton is labelled and kekulised: its atoms are numbered and its bonds have integer orders. One molecule therefore
corresponds to many skeletons, n! / |Aut| numberings times its Kekulé forms, and `log_labellings` counts them. Hydrogens
fill the remaining valence; stereo is not represented.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np

from matgen.templates.late_rdkit import Chem
from matgen.templates.molecule import MoleculeError, MoleculeTemplate, parsed

MAX_HEAVY = 9
"""Heavy atoms of the largest molecule, as in the training set."""

MAX_ORDER = 3

ATOM_TYPES: tuple[tuple[int, int, int], ...] = (
    (6, 0, 4),
    (7, 0, 3),
    (8, 0, 2),
    (9, 0, 1),
    (7, 1, 4),
    (8, -1, 1),
    (6, -1, 3),
    (7, -1, 2),
)
"""Atomic number, formal charge and valence of the atom types that occur in QM9."""

N_TYPES = len(ATOM_TYPES)

VALENCE: tuple[int, ...] = tuple(valence for _, _, valence in ATOM_TYPES)

_TYPE = {(z, charge): i for i, (z, charge, _) in enumerate(ATOM_TYPES)}

_BOND_ORDERS = {1: "SINGLE", 2: "DOUBLE", 3: "TRIPLE"}

_MOST_MATCHES = math.factorial(MAX_HEAVY)


@dataclass(frozen=True)
class Skeleton:
    """Numbered heavy atoms and kekulised bonds.

    Attributes:
        types: row of `ATOM_TYPES` of each atom.
        bonds: first atom, second atom and order 1..3 of each bond; first < second, ascending.
    """

    types: tuple[int, ...]
    bonds: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, template: MoleculeTemplate) -> Self:
        """Return the skeleton in the order of the SMILES and in RDKit's choice of Kekulé form; stereo is dropped.

        Raises:
            MoleculeError: it has atoms or charges that are not in `ATOM_TYPES`, radicals, or too many atoms.
        """
        molecule = _bare(template)
        if molecule.GetNumAtoms() > MAX_HEAVY:
            raise MoleculeError(f"expected at most {MAX_HEAVY} heavy atoms, got {molecule.GetNumAtoms()} in {template}")
        Chem.Kekulize(molecule, clearAromaticFlags=True)
        types = tuple(_type_of(atom, template) for atom in molecule.GetAtoms())
        bonds = sorted((*_ends(bond), int(bond.GetBondTypeAsDouble())) for bond in molecule.GetBonds())
        skeleton = cls(types, tuple(bonds))
        hydrogens = [atom.GetTotalNumHs() for atom in molecule.GetAtoms()]
        if hydrogens != skeleton.free_valence:
            raise MoleculeError(f"expected every valence filled by hydrogen, got radicals in {template}")
        return skeleton

    @property
    def orders(self) -> np.ndarray:
        """Bond orders, symmetric, 0 for no bond (n, n)."""
        orders = np.zeros((len(self.types), len(self.types)), dtype=np.int64)
        for i, j, order in self.bonds:
            orders[i, j] = orders[j, i] = order
        return orders

    @property
    def free_valence(self) -> list[int]:
        """Number of hydrogens of each atom; negative for too many bonds."""
        free = [VALENCE[kind] for kind in self.types]
        for i, j, order in self.bonds:
            free[i] -= order
            free[j] -= order
        return free

    @property
    def charge(self) -> int:
        """Net formal charge."""
        return sum(ATOM_TYPES[kind][1] for kind in self.types)

    @property
    def is_connected(self) -> bool:
        """Whether all atoms are connected."""
        return bool(self.types) and len(_reached(self)) == len(self.types)

    @property
    def is_legal(self) -> bool:
        """Whether it is one molecule within its valences and the largest size."""
        return len(self.types) <= MAX_HEAVY and min(self.free_valence, default=-1) >= 0 and self.is_connected

    def permuted(self, order: Sequence[int]) -> Skeleton:
        """Return the skeleton with atom order[k] at index k."""
        place = {old: new for new, old in enumerate(order)}
        ends = [(place[i], place[j], bond) for i, j, bond in self.bonds]
        bonds = sorted((min(i, j), max(i, j), bond) for i, j, bond in ends)
        return Skeleton(tuple(self.types[old] for old in order), tuple(bonds))

    def template(self) -> MoleculeTemplate:
        """Return the molecule.

        Raises:
            MoleculeError: its valences are exceeded, it is not connected, or RDKit rejects it.
        """
        return _template(self)


@lru_cache(maxsize=100_000)
def _template(skeleton: Skeleton) -> MoleculeTemplate:
    if not skeleton.is_legal:
        raise MoleculeError(f"expected a connected skeleton within its valences, got {skeleton}")
    editable = Chem.RWMol()
    for kind in skeleton.types:
        atom = Chem.Atom(ATOM_TYPES[kind][0])
        atom.SetFormalCharge(ATOM_TYPES[kind][1])
        editable.AddAtom(atom)
    for i, j, order in skeleton.bonds:
        editable.AddBond(i, j, Chem.BondType.names[_BOND_ORDERS[order]])
    try:
        Chem.SanitizeMol(editable)
        return MoleculeTemplate.of(editable.GetMol())
    except ValueError as error:  # all errors of RDKit's sanitisation are ValueErrors
        raise MoleculeError(f"expected a molecule that RDKit accepts, got {skeleton}: {error}") from error


@dataclass(frozen=True)
class Labelled:
    """The skeletons of a molecule.

    Attributes:
        skeletons: one for each Kekulé form, atoms in the same order.
        automorphisms: number of permutations of the atoms that leave the molecule unchanged, Kekulé forms being equal.
    """

    skeletons: tuple[Skeleton, ...]
    automorphisms: int

    @property
    def log_labellings(self) -> float:
        """Logarithm of the number of skeletons of the molecule: n! / |Aut| × Kekulé forms."""
        n_atoms = len(self.skeletons[0].types)
        return math.lgamma(n_atoms + 1) - math.log(self.automorphisms) + math.log(len(self.skeletons))


@lru_cache(maxsize=100_000)
def labelled(template: MoleculeTemplate) -> Labelled:
    """Return the Kekulé forms of a molecule without stereo, and its symmetry.

    Raises:
        MoleculeError: as `Skeleton.of`.
    """
    molecule = _bare(template)
    skeleton = Skeleton.of(template)
    forms: tuple[Skeleton, ...] = (skeleton,)
    aromatic = {_ends(bond) for bond in molecule.GetBonds() if bond.GetBondType() == Chem.BondType.AROMATIC}
    if aromatic:
        plain = MoleculeTemplate.of(molecule)
        forms = tuple(form for form in kekule_forms(skeleton, aromatic) if form.template() == plain)
    return Labelled(forms, _n_automorphisms(molecule))


def labelled_if_any(smiles: str) -> Labelled | None:
    """Return `labelled` of a SMILES; None if it has no skeleton."""
    try:
        return labelled(MoleculeTemplate(smiles))
    except MoleculeError:
        return None


def _n_automorphisms(molecule: Chem.Mol) -> int:
    if len(set(Chem.CanonicalRankAtoms(molecule, breakTies=False))) == molecule.GetNumAtoms():
        return 1  # no two atoms are alike
    matches = molecule.GetSubstructMatches(_exact(molecule), uniquify=False, maxMatches=_MOST_MATCHES)
    return len(matches)


def kekule_forms(skeleton: Skeleton, loose: set[tuple[int, int]]) -> Iterator[Skeleton]:
    """Yield all assignments of single and double bonds to the `loose` bonds that keep the hydrogens of each atom."""
    fixed = tuple(bond for bond in skeleton.bonds if bond[:2] not in loose)
    doubles = [0] * len(skeleton.types)
    for i, j, order in skeleton.bonds:
        if (i, j) in loose:
            doubles[i] += order - 1
            doubles[j] += order - 1
    for orders in _spread(sorted(loose), doubles):
        yield Skeleton(skeleton.types, tuple(sorted((*fixed, *orders))))


def _spread(bonds: Sequence[tuple[int, int]], doubles: list[int]) -> Iterator[tuple[tuple[int, int, int], ...]]:
    """Yield bond orders with `doubles[i]` double bonds at each atom i."""
    if not bonds:
        if not any(doubles):
            yield ()
        return
    (i, j), rest = bonds[0], bonds[1:]
    for extra in (0, 1):
        left = [n - extra * (atom in {i, j}) for atom, n in enumerate(doubles)]
        if min(left) >= 0:
            yield from (((i, j, 1 + extra), *others) for others in _spread(rest, left))


def _bare(template: MoleculeTemplate) -> Chem.Mol:
    """Return the heavy atoms without stereo; hydrogens that define double-bond stereo are removed too."""
    molecule = parsed(template.smiles)
    Chem.RemoveStereochemistry(molecule)
    return Chem.RemoveHs(molecule)


def _ends(bond: Chem.Bond) -> tuple[int, int]:
    """Return the two atoms of a bond, ascending."""
    i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    return min(i, j), max(i, j)


def _exact(molecule: Chem.Mol) -> Chem.Mol:
    """Return a query that matches only equal elements, charges, numbers of hydrogens and kinds of bonds."""
    query = Chem.RWMol(molecule)
    for atom in molecule.GetAtoms():
        aromatic = "a" if atom.GetIsAromatic() else "A"
        smarts = f"[#{atom.GetAtomicNum()};{atom.GetFormalCharge():+d};H{atom.GetTotalNumHs()};{aromatic}]"
        query.ReplaceAtom(atom.GetIdx(), Chem.AtomFromSmarts(smarts))
    return query.GetMol()


def _type_of(atom: Chem.Atom, template: MoleculeTemplate) -> int:
    kind = _TYPE.get((atom.GetAtomicNum(), atom.GetFormalCharge()))
    if kind is None:
        raise MoleculeError(
            f"expected C, N, O, F and the ions N+, O-, C- and N-, got {atom.GetSymbol()} of charge "
            f"{atom.GetFormalCharge():+d} in {template}; the prior of molecules knows no other atoms"
        )
    return kind


def _reached(skeleton: Skeleton) -> set[int]:
    """Return the atoms that are connected to the first one."""
    reached, grown = {0}, True
    while grown:
        more = {j for i, j, _ in skeleton.bonds if i in reached} | {i for i, j, _ in skeleton.bonds if j in reached}
        grown = not more <= reached
        reached |= more
    return reached
