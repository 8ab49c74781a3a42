"""Fragments of molecules that are held, with open positions where the rest is bonded.

A fragment is written as a SMILES in which [*] stands for the rest of the molecule: `c1ccccc1[*]` is a phenyl group. All
its atoms keep their bonds and hydrogens; each [*] becomes an atom other than hydrogen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from matgen.chemistry.elements import HYDROGEN
from matgen.templates.late_rdkit import Chem
from matgen.templates.molecule import MoleculeError, MoleculeTemplate, parsed, parsed_pattern
from matgen.templates.skeleton import MAX_HEAVY, Skeleton, labelled

OPEN = 0
"""Atomic number of [*]."""


@dataclass(frozen=True)
class Fragment:
    """A part of a molecule.

    Attributes:
        smiles: as typed.
        skeletons: Kekulé forms, with hydrogens in place of the open positions.
        opened: number of open positions of each atom of the skeletons.
        pattern: SMARTS of the fragment in a molecule, with the hydrogens of each atom.
    """

    smiles: str
    skeletons: tuple[Skeleton, ...]
    opened: tuple[int, ...]
    pattern: str

    @classmethod
    def of(cls, smiles: str) -> Fragment:
        """Read a fragment.

        Raises:
            MoleculeError: it is no SMILES, has no open position or nothing else, an open position that is not bonded
                to one atom by a single bond, atoms that the models do not know, or too many.
        """
        found = _parsed(smiles)
        for atom in found.GetAtoms():
            if atom.GetAtomicNum() == OPEN:
                _check_open(atom, smiles)
            if atom.GetAtomicNum() == HYDROGEN:
                raise MoleculeError(f"expected a fragment of heavy atoms, got a hydrogen of its own in {smiles!r}")
        opened = {
            atom.GetIdx(): sum(near.GetAtomicNum() == OPEN for near in atom.GetNeighbors())
            for atom in found.GetAtoms()
            if atom.GetAtomicNum() != OPEN
        }
        if len(opened) == found.GetNumAtoms():
            raise MoleculeError(
                f"expected a fragment with [*] where the rest is bonded, such as c1ccccc1[*], got {smiles!r}; mark the "
                "position, or ask for a pattern anywhere with --smarts"
            )
        if len(opened) >= MAX_HEAVY:
            raise MoleculeError(
                f"expected a fragment of at most {MAX_HEAVY - 1} heavy atoms, got {len(opened)} in {smiles!r}; the "
                f"models know molecules of {MAX_HEAVY}"
            )
        capped = _capped(found)
        template = MoleculeTemplate.of(Chem.Mol(capped)).without_stereo
        same = parsed(template.smiles).GetSubstructMatch(capped)
        order = {place: int(capped.GetAtomWithIdx(i).GetIntProp("of")) for i, place in enumerate(same)}
        forms = labelled(template).skeletons
        return cls(smiles, forms, tuple(opened[order[i]] for i in range(len(order))), _pattern(found))

    @cached_property
    def n_heavy(self) -> int:
        """Number of its atoms other than hydrogen."""
        return len(self.opened)

    @property
    def fewest(self) -> int:
        """Heavy atoms of the smallest molecule that holds it, with an atom of its own at each open position."""
        return self.n_heavy + sum(self.opened)

    def holds(self, smarts: str) -> bool:
        """Return whether the fragment holds a pattern, whatever the rest; rings may close through the rest."""
        if set(smarts) & set("Rrx@"):
            return False
        found, query = _parsed(self.smiles), parsed_pattern(smarts)
        rest = {atom.GetIdx() for atom in found.GetAtoms() if atom.GetAtomicNum() == OPEN}
        return any(rest.isdisjoint(match) for match in found.GetSubstructMatches(query))

    @property
    def counts(self) -> Counter[int]:
        """Number of its atoms of each element, with the hydrogens that it keeps."""
        found = [atom for atom in _parsed(self.smiles).GetAtoms() if atom.GetAtomicNum() != OPEN]
        counts = Counter(atom.GetAtomicNum() for atom in found)
        counts[HYDROGEN] += sum(atom.GetTotalNumHs() for atom in found)
        return counts

    @property
    def elements(self) -> frozenset[int]:
        """Atomic numbers of its atoms other than hydrogen."""
        return frozenset(self.counts) - {HYDROGEN}


def _parsed(smiles: str) -> Chem.Mol:
    """Return a SMILES with open positions, without stereo."""
    try:
        found = parsed(smiles)
    except MoleculeError as error:
        raise MoleculeError(f"expected a fragment as SMILES such as c1ccccc1[*]: {error}") from error
    Chem.RemoveStereochemistry(found)
    return Chem.RemoveHs(found)


def _check_open(atom: Chem.Atom, smiles: str) -> None:
    near = atom.GetNeighbors()
    bonds = [bond.GetBondType() for bond in atom.GetBonds()]
    if len(near) != 1 or bonds[0] != Chem.BondType.SINGLE or near[0].GetAtomicNum() == OPEN:
        raise MoleculeError(f"expected each [*] at one atom by a single bond, got another one in {smiles!r}")


def _capped(found: Chem.Mol) -> Chem.Mol:
    """Return the fragment with hydrogens in place of open positions; each atom has its index as property `of`."""
    editable = Chem.RWMol(found)
    for atom in editable.GetAtoms():
        if atom.GetAtomicNum() == OPEN:
            atom.SetAtomicNum(1)
            atom.SetIsotope(0)
            atom.SetAtomMapNum(0)
        else:
            atom.SetIntProp("of", atom.GetIdx())
    capped = editable.GetMol()
    Chem.SanitizeMol(capped)
    return Chem.RemoveHs(capped)


def _pattern(found: Chem.Mol) -> str:
    """Return the SMARTS that matches the fragment with all its hydrogens, and any heavy atom at open positions."""
    query = Chem.RWMol(found)
    for atom in found.GetAtoms():
        if atom.GetAtomicNum() == OPEN:
            smarts = "[!#1]"
        else:
            aromatic = "a" if atom.GetIsAromatic() else "A"
            smarts = f"[#{atom.GetAtomicNum()};{atom.GetFormalCharge():+d};H{atom.GetTotalNumHs()};{aromatic}]"
        query.ReplaceAtom(atom.GetIdx(), Chem.AtomFromSmarts(smarts))
    for bond in found.GetBonds():
        if OPEN in {bond.GetBeginAtom().GetAtomicNum(), bond.GetEndAtom().GetAtomicNum()}:
            query.ReplaceBond(bond.GetIdx(), Chem.BondFromSmarts("-,:"))
    return Chem.MolToSmarts(query)
