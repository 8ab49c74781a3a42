"""Stability, validity, uniqueness and novelty of molecules by the protocol of EDM, from elements and positions alone.

EDM: Hoogeboom et al., "Equivariant Diffusion for Molecule Generation in 3D", ICML 2022; later models use the same
protocol. Bonds follow from distances, by tabulated lengths plus margins that were tuned on QM9. An atom is stable if
its bond orders sum to its valence, a molecule if all its atoms are. A molecule is valid if RDKit can sanitise the graph
of those bonds. That is lenient: missing hydrogens are added, and of several fragments the largest is kept. Molecules
are the same if their SMILES, with explicit hydrogens and without stereo, are equal.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Self

import numpy as np
from rdkit import Chem, rdBase

from matgen.chemistry.elements import ATOMIC_NUMBERS
from matgen.metrics.estimate import MetricError

VALENCES = {"H": 1, "C": 4, "N": 3, "O": 2, "F": 1}
"""Sum of bond orders of a stable atom; the protocol is defined for these elements only."""

LENGTHS = (
    {
        ("H", "H"): 74,
        ("H", "C"): 109,
        ("H", "N"): 101,
        ("H", "O"): 96,
        ("H", "F"): 92,
        ("C", "C"): 154,
        ("C", "N"): 147,
        ("C", "O"): 143,
        ("C", "F"): 135,
        ("N", "N"): 145,
        ("N", "O"): 140,
        ("N", "F"): 136,
        ("O", "O"): 148,
        ("O", "F"): 142,
        ("F", "F"): 142,
    },
    {
        ("C", "C"): 134,
        ("C", "N"): 129,
        ("C", "O"): 120,
        ("N", "N"): 125,
        ("N", "O"): 121,
        ("O", "O"): 121,
    },
    {
        ("C", "C"): 120,
        ("C", "N"): 116,
        ("C", "O"): 113,
        ("N", "N"): 110,
    },
)
"""Usual lengths of single, double and triple bonds, pm, from EDM."""

MARGINS = (10, 5, 3)
"""Tolerances of single, double and triple bonds, pm."""

BOND_TYPES = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)

LAST_ELEMENT = 118


def _valences() -> np.ndarray:
    table = np.full(LAST_ELEMENT + 1, -1)
    for symbol, valence in VALENCES.items():
        table[ATOMIC_NUMBERS[symbol]] = valence
    return table


def _limits() -> np.ndarray:
    """Return the distances below which there is a bond of order 1, 2 and 3, Å (3, 10, 10); 0 where there is none."""
    last = max(ATOMIC_NUMBERS[symbol] for symbol in VALENCES)
    table = np.zeros((len(LENGTHS), last + 1, last + 1))
    for order, (lengths, margin) in enumerate(zip(LENGTHS, MARGINS, strict=True)):
        for pair, length in lengths.items():
            i, j = (ATOMIC_NUMBERS[symbol] for symbol in pair)
            table[order, i, j] = table[order, j, i] = (length + margin) / 100
    return table


VALENCE = _valences()
LIMITS = _limits()


@dataclass(frozen=True)
class AtomSets:
    """Atoms of several molecules, one after the other, without bonds.

    Attributes:
        elements: atomic numbers (n_atoms,).
        positions: Cartesian (n_atoms, 3), Å.
        sizes: atoms of each molecule (n_molecules,).
    """

    elements: np.ndarray
    positions: np.ndarray
    sizes: np.ndarray

    def __post_init__(self) -> None:
        """Check shapes and elements.

        Raises:
            MetricError: sizes that do not add up, or elements outside the protocol.
        """
        total = int(np.sum(self.sizes))
        if self.elements.shape != (total,) or self.positions.shape != (total, 3):
            shapes = f"{self.elements.shape} and {self.positions.shape}"
            raise MetricError(f"expected elements ({total},) and positions ({total}, 3) for these sizes, got {shapes}")
        strange = np.unique(self.elements[VALENCE[self.elements] < 0]).tolist()
        if strange:
            raise MetricError(f"expected only {', '.join(VALENCES)}, got atomic numbers {strange}; leave those out")

    @classmethod
    def of(cls, molecules: Sequence[Chem.Mol]) -> Self:
        """Take the atoms of RDKit molecules with hydrogens and a conformer; their bonds are ignored."""
        sizes = np.array([molecule.GetNumAtoms() for molecule in molecules], dtype=np.int64)
        numbers = [atom.GetAtomicNum() for molecule in molecules for atom in molecule.GetAtoms()]
        places = [molecule.GetConformer().GetPositions() for molecule in molecules]
        return cls(np.array(numbers, dtype=np.int64), np.concatenate([np.zeros((0, 3)), *places]), sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield elements and positions of each molecule."""
        ends = np.cumsum(self.sizes)
        for start, end in zip((ends - self.sizes).tolist(), ends.tolist(), strict=True):
            yield self.elements[start:end], self.positions[start:end]

    def select(self, rows: Sequence[int] | np.ndarray) -> "AtomSets":
        """Return these molecules, in this order."""
        ends = np.cumsum(self.sizes)
        places = [np.arange(ends[row] - self.sizes[row], ends[row]) for row in rows]
        atoms = np.concatenate([np.zeros(0, dtype=np.int64), *places])
        return AtomSets(self.elements[atoms], self.positions[atoms], self.sizes[np.asarray(rows, dtype=np.int64)])


@dataclass(frozen=True)
class MoleculeValidity:
    """Stability and validity of one molecule by the protocol.

    Attributes:
        n_atoms: number of atoms.
        stable_atoms: number of atoms whose bond orders sum to their valence.
        fragments: number of fragments that no bonds join.
        smiles: of the largest fragment, with explicit hydrogens; None if the molecule is not valid.
    """

    n_atoms: int
    stable_atoms: int
    fragments: int
    smiles: str | None

    @property
    def stable(self) -> bool:
        """Whether all atoms are stable."""
        return self.stable_atoms == self.n_atoms


@dataclass(frozen=True)
class MoleculeMetrics:
    """Counts over a set of molecules; the usual shares are properties.

    Attributes:
        n_molecules: molecules requested.
        n_atoms: atoms of the molecules generated.
        stable_atoms: atoms whose bond orders sum to their valence.
        stable_molecules: molecules whose atoms are all stable.
        valid: molecules that RDKit can sanitise.
        connected: valid molecules of one fragment.
        unique: different SMILES of the valid ones.
        novel: SMILES of these that are not known; None without known molecules.
    """

    n_molecules: int
    n_atoms: int
    stable_atoms: int
    stable_molecules: int
    valid: int
    connected: int
    unique: int
    novel: int | None

    @property
    def atom_stability(self) -> float:
        """Stable atoms over atoms."""
        return _ratio(self.stable_atoms, self.n_atoms)

    @property
    def molecule_stability(self) -> float:
        """Stable molecules over molecules."""
        return _ratio(self.stable_molecules, self.n_molecules)

    @property
    def validity(self) -> float:
        """Valid molecules over molecules."""
        return _ratio(self.valid, self.n_molecules)

    @property
    def uniqueness(self) -> float:
        """Different molecules over valid ones."""
        return _ratio(self.unique, self.valid)

    @property
    def valid_and_unique(self) -> float:
        """Different valid molecules over molecules: validity × uniqueness."""
        return _ratio(self.unique, self.n_molecules)

    @property
    def novelty(self) -> float:
        """Novel molecules over different valid ones; NaN without known molecules."""
        return _ratio(np.nan if self.novel is None else self.novel, self.unique)


def _ratio(part: float, whole: int) -> float:
    return float(part / whole) if whole else np.nan


def protocol_knows(numbers: Sequence[int]) -> bool:
    """Return whether the protocol covers all of these atomic numbers."""
    return all(VALENCE[number] > 0 for number in numbers)


def bond_orders(elements: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the orders, 0 to 3, of the bonds between all atoms of a molecule (n, n), by distance.

    Args:
        elements: atomic numbers (n,).
        positions: Cartesian (n, 3), Å.
    """
    apart = np.linalg.norm(positions[:, None] - positions, axis=2)
    np.fill_diagonal(apart, np.inf)
    return (apart < LIMITS[:, elements[:, None], elements]).sum(axis=0)


def perceived(elements: np.ndarray, positions: np.ndarray) -> Chem.Mol | None:
    """Return the molecule with bonds by distance and a conformer; None if RDKit cannot sanitise it.

    Args:
        elements: atomic numbers (n,).
        positions: Cartesian (n, 3), Å.
    """
    molecule = _joined(elements, bond_orders(elements, positions))
    conformer = Chem.Conformer(len(elements))
    conformer.Set3D(True)
    conformer.SetPositions(np.ascontiguousarray(positions, dtype=float))
    molecule.AddConformer(conformer, assignId=True)
    return molecule if _sanitised(molecule) else None


def perceived_molecules(molecules: AtomSets) -> list[Chem.Mol]:
    """Return the valid molecules, with bonds by distance and a conformer."""
    found = (perceived(elements, positions) for elements, positions in molecules)
    return [molecule for molecule in found if molecule is not None]


def assess_molecule(elements: np.ndarray, positions: np.ndarray) -> MoleculeValidity:
    """Assess stability and validity of one molecule.

    Args:
        elements: atomic numbers (n,).
        positions: Cartesian (n, 3), Å.
    """
    orders = bond_orders(elements, positions)
    stable = int((orders.sum(axis=1) == VALENCE[elements]).sum())
    molecule = _joined(elements, orders)
    if not _sanitised(molecule):
        return MoleculeValidity(len(elements), stable, len(Chem.GetMolFrags(molecule)), None)
    pieces = Chem.GetMolFrags(molecule, asMols=True)
    largest = max(pieces, default=molecule, key=Chem.Mol.GetNumAtoms)  # of equals the first
    return MoleculeValidity(len(elements), stable, len(pieces), Chem.MolToSmiles(largest))


def assess_molecules(molecules: AtomSets) -> list[MoleculeValidity]:
    """Assess each molecule."""
    return [assess_molecule(elements, positions) for elements, positions in molecules]


def _joined(elements: np.ndarray, orders: np.ndarray) -> Chem.RWMol:
    """Return the RDKit molecule with these bonds, not sanitised."""
    molecule = Chem.RWMol()
    for number in elements.tolist():
        molecule.AddAtom(Chem.Atom(number))
    for i, j in np.argwhere(np.tril(orders)).tolist():
        molecule.AddBond(i, j, BOND_TYPES[orders[i, j] - 1])
    return molecule


def _sanitised(molecule: Chem.Mol) -> bool:
    """Sanitise a molecule in place and return whether RDKit accepts its valences."""
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(molecule)
        except ValueError:
            return False
    return True


def molecule_metrics(
    found: Sequence[MoleculeValidity], known: AbstractSet[str] | None = None, requested: int | None = None
) -> MoleculeMetrics:
    """Count over a set.

    Args:
        found: result of each generated molecule.
        known: SMILES of known molecules from `known_smiles`; novelty is not counted without them.
        requested: number of molecules requested, by default as many as found; missing ones count as neither stable nor
            valid.

    Raises:
        MetricError: more were found than requested.
    """
    total = len(found) if requested is None else requested
    if total < len(found):
        raise MetricError(f"expected at least the {len(found)} molecules that came as requested, got {total}")
    valid = [one.smiles for one in found if one.smiles is not None]
    different = set(valid)
    return MoleculeMetrics(
        n_molecules=total,
        n_atoms=sum(one.n_atoms for one in found),
        stable_atoms=sum(one.stable_atoms for one in found),
        stable_molecules=sum(one.stable for one in found),
        valid=len(valid),
        connected=sum(one.smiles is not None and one.fragments == 1 for one in found),
        unique=len(different),
        novel=None if known is None else len(different.difference(known)),
    )


def known_smiles(found: Sequence[MoleculeValidity]) -> frozenset[str]:
    """Return the SMILES of a training set by this protocol, as known molecules for `molecule_metrics`."""
    return frozenset(one.smiles for one in found if one.smiles is not None)
