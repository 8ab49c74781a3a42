"""Preparation of a `MoleculeTable` from QM9 as published on PyPI by its first author (`qm9pack`).

Ramakrishnan et al., Sci. Data 1, 140022 (2014): 130,831 molecules of up to nine C, N, O and F, B3LYP/6-31G(2df,p). The
published SMILES is checked against the coordinates, atom by atom: heavy atoms are in the order of the SMILES, each
hydrogen is bonded to its nearest heavy atom, bonded atoms must be close and the InChI must agree. If the SMILES does
not match, bonds are found from the coordinates; if that fails too, the row is left out and counted.
"""

import csv
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from ase.data import covalent_radii
from ase.units import Hartree
from pymatgen.core.structure import Molecule
from rdkit import Chem

from matgen.chemistry.elements import ATOMIC_NUMBERS, SYMBOLS
from matgen.datasets.molecules import MoleculeTable
from matgen.errors import UserError
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.molecular_geometry import LONGEST_BOND, bonded
from matgen.templates.molecule import MoleculeError, MoleculeTemplate, set_positions, template_in_space

PARTS = ("qm9_part1.csv", "qm9_part2.csv", "qm9_part3.csv")

SPLITS = ("train", "valid", "test")
"""Names in EDM's file of splits; a table numbers them in this order, and 3 means none."""

SPLIT_FILE = Path("molecules") / "qm9_edm_split.npz"
"""Path in the folder of training tables."""

ATOMIC_ENERGIES = {1: -0.500273, 6: -37.846772, 7: -54.583861, 8: -75.064579, 9: -99.718730}
"""U0 of free atoms by the same method, Hartree, as published with QM9 (`atomref.txt`)."""

_NUMBER = re.compile(r"[^][,\s]+")  # a few are written `0.`, which is not valid JSON


class QM9Error(UserError, FileNotFoundError):
    """The tables of QM9 are missing."""


@dataclass(frozen=True)
class Row:
    """A valid molecule: its template, positions in its order, labels, and how its bonds were found."""

    index: int
    template: MoleculeTemplate
    positions: np.ndarray
    labels: tuple[float, ...]
    how: str


@dataclass(frozen=True)
class MoleculePreparation:
    """A prepared table, the counts of the ways in which bonds were found, and of the causes of rows left out."""

    table: MoleculeTable
    ways: Counter[str]
    failures: Counter[str]


def qm9_folder() -> Path:
    """Return the folder of tables of the installed package `qm9pack`, without importing it.

    Raises:
        QM9Error: it is not installed.
    """
    spec = find_spec("qm9pack")
    if spec is None or not spec.submodule_search_locations:
        raise QM9Error('expected the package qm9pack, which holds QM9 (104 MB); pip install "qm9pack>=1.0.3"')
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def prepare_qm9(
    tables: Path, splits: Path, *, jobs: int = 1, progress: Callable[[Iterable], Iterable] = iter
) -> MoleculePreparation:
    """Prepare a table from every row of QM9.

    Args:
        tables: folder of `qm9_part1.csv` to `qm9_part3.csv`.
        splits: npz with the molecule numbers of `train`, `valid` and `test`.
        jobs: number of processes.
        progress: wraps the iteration over rows to show progress.

    Raises:
        QM9Error: a table is missing.
    """
    _check(tables, splits)
    if jobs == 1:
        found = list(progress(map(understood, _raw_rows(tables))))
    else:
        with get_context("spawn").Pool(jobs) as pool:
            found = list(progress(pool.imap(understood, _raw_rows(tables), chunksize=256)))
    rows = sorted((row for row in found if isinstance(row, Row)), key=lambda row: row.index)
    failures = Counter(why for why in found if isinstance(why, str))
    return MoleculePreparation(_table(rows, splits), Counter(row.how for row in rows), failures)


def published_molecules(tables: Path, splits: Path, split: str) -> list[Molecule]:
    """Return the molecules of a split with their published positions, without bonds.

    Args:
        tables: folder of `qm9_part1.csv` to `qm9_part3.csv`.
        splits: npz of molecule numbers.
        split: `train`, `valid` or `test`.

    Raises:
        QM9Error: a table is missing.
    """
    _check(tables, splits)
    wanted = set(_split_rows(splits)[split].tolist())
    found = (_atoms(raw) for raw in _raw_rows(tables) if int(raw["Index"]) in wanted)
    return [Molecule([SYMBOLS[z] for z in elements], positions) for elements, positions in found]


def _check(tables: Path, splits: Path) -> None:
    for path in (splits, *(tables / part for part in PARTS)):
        if not path.is_file():
            raise QM9Error(f"expected the table {path}, which is not there; see data/README.md")


def _split_rows(splits: Path) -> dict[str, np.ndarray]:
    """Return the molecule numbers of each split."""
    with np.load(splits, allow_pickle=False) as raw:
        return {name: raw[name].astype(np.int64) for name in SPLITS}


def _raw_rows(tables: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(sys.maxsize)
    for part in PARTS:
        with (tables / part).open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)


def understood(raw: dict[str, str]) -> Row | str:
    """Return one row, or the reason why it is not valid."""
    elements, positions = _atoms(raw)
    shown, how = _by_smiles(raw["SMILES"], elements, positions), "SMILES"
    if shown is None:
        shown, how = _by_distance(elements, positions), "distances"
    if shown is None:
        return "neither the SMILES nor distances explain the coordinates"
    if how == "SMILES" and Chem.MolToInchi(Chem.RemoveHs(shown), options="-SNon") != raw["InChi"]:
        how = "SMILES, InChI differs"
    try:
        template, ordered = template_in_space(shown)
    except MoleculeError as error:
        return str(error).partition(",")[0]
    return Row(int(raw["Index"]), template, ordered - ordered.mean(0), _labels(raw, elements), how)


def _atoms(raw: dict[str, str]) -> tuple[list[int], np.ndarray]:
    """Return atomic numbers, and positions (n_atoms, 3), Å."""
    elements = [ATOMIC_NUMBERS[symbol] for symbol in raw["Elements"].strip("[]").replace("'", "").split(",")]
    return elements, np.array([float(number) for number in _NUMBER.findall(raw["XYZ_Ang"])]).reshape(-1, 3)


def _by_smiles(smiles: str, elements: list[int], positions: np.ndarray) -> Chem.Mol | None:
    """Return the molecule of a SMILES with these coordinates; None if they do not match."""
    graph = Chem.MolFromSmiles(smiles)
    if graph is None:
        return None
    heavy = [i for i, z in enumerate(elements) if z != 1]
    if [atom.GetAtomicNum() for atom in graph.GetAtoms()] != [elements[i] for i in heavy]:
        return None
    hydrogens = [i for i, z in enumerate(elements) if z == 1]
    apart = np.linalg.norm(positions[hydrogens][:, None] - positions[heavy], axis=2)
    owners = apart.argmin(1) if heavy else np.zeros(0, dtype=int)
    with_h = Chem.AddHs(graph)
    waiting: dict[int, list[int]] = {}
    for hydrogen, owner in zip(hydrogens, owners.tolist(), strict=True):
        waiting.setdefault(owner, []).append(hydrogen)
    order = list(heavy)
    for atom in list(with_h.GetAtoms())[len(heavy) :]:
        left = waiting.get(atom.GetNeighbors()[0].GetIdx(), [])
        if not left:
            return None
        order.append(left.pop(0))
    if len(order) != len(elements) or not _near(with_h, positions[order]):
        return None
    set_positions(with_h, positions[order])
    return with_h


def _by_distance(elements: list[int], positions: np.ndarray) -> Chem.Mol | None:
    """Return the neutral molecule whose bonds follow from the coordinates; None if there is none."""
    try:
        return bonded(np.array(elements), positions)
    except MoleculeError:
        return None


def _near(molecule: Chem.Mol, positions: np.ndarray) -> bool:
    """Return whether all bonded atoms are close to each other."""
    for bond in molecule.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        radii = covalent_radii[bond.GetBeginAtom().GetAtomicNum()] + covalent_radii[bond.GetEndAtom().GetAtomicNum()]
        if np.linalg.norm(positions[i] - positions[j]) > LONGEST_BOND * radii:
            return False
    return True


def _labels(raw: dict[str, str], elements: list[int]) -> tuple[float, ...]:
    """Return labels in the order of `matgen.datasets.molecules.LABELS`; energies in eV."""
    free = sum(ATOMIC_ENERGIES[z] for z in elements)
    return (
        float(raw["HOMO_LUMO_gap_au"]) * Hartree,
        float(raw["HOMO_au"]) * Hartree,
        float(raw["LUMO_au"]) * Hartree,
        float(raw["Dipole_debye"]),
        float(raw["Polarizability_bohr3"]),
        (float(raw["InternalEnergy_0K_au"]) - free) * Hartree,
        float(raw["Heatcapacity_Cv_cal_mol_K"]),
    )


def _table(rows: list[Row], splits: Path) -> MoleculeTable:
    index = torch.tensor([row.index for row in rows])
    split = torch.full_like(index, 3)
    for number, rows_of_split in enumerate(_split_rows(splits).values()):
        split[torch.isin(index, torch.from_numpy(rows_of_split))] = number
    return MoleculeTable(
        index=index,
        templates=TemplateBatch.of([row.template for row in rows]),
        geometry=Geometry(
            torch.zeros(len(rows), 6), torch.from_numpy(np.concatenate([row.positions for row in rows])).float()
        ),
        split=split,
        labels=torch.tensor([row.labels for row in rows]),
    )
