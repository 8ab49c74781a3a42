"""Rows of a set of molecules, one for each entry, from which figures are computed.

Stability, validity, uniqueness and novelty follow EDM: bonds are perceived from elements and distances, whatever bonds
the file contains. PoseBusters and relaxation use the molecule of the file, or the one perceived from distances.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from pymatgen.core.structure import Molecule

from matgen.checks.molecules import graph_kept, posebusters, strain
from matgen.evaluation.relaxations import Outcome
from matgen.metrics.molecules import assess_molecule, protocol_knows
from matgen.novelty.molecules import KnownMolecules, KnownMoleculesError
from matgen.runtime.failures import guarded
from matgen.runtime.progress import Report
from matgen.structures.candidate import Candidate
from matgen.structures.files import Entry
from matgen.structures.rmsd import rmsd
from matgen.templates.molecule import MoleculeError, MoleculeTemplate


@dataclass(frozen=True, slots=True)
class MoleculeRow:
    """Properties of one entry; NaN, False or empty where unknown.

    Attributes:
        name: of the entry.
        error: why it could not be read as a molecule; its atoms may be known all the same.
        smiles: of the molecule as read.
        n_atoms: hydrogens included.
        made_up: what was generated because the file lacks it, such as a geometry.
        stable_atoms: number of atoms whose bond orders, by distance, sum to their valence.
        stable: all atoms are stable.
        valid: RDKit sanitises the bonds perceived from distances.
        connected: valid, and in one piece.
        perceived: SMILES of those bonds, of the largest piece, with explicit hydrogens, without stereo.
        unique: valid, and the first of that SMILES.
        novel: valid, and its connectivity is none of the known ones.
        posebusters: passes every test of PoseBusters.
        faults: the failed tests, in words.
        relaxation: how it ended.
        converged: whether the relaxation converged.
        energy: after relaxation, eV/atom.
        drop: energy released by relaxation, eV; this and the next two of converged relaxations only.
        rmsd: of all atoms between initial and relaxed geometry, Å.
        graph_kept: the same atoms are bonded after relaxation.
    """

    name: str
    error: str = ""
    smiles: str = ""
    n_atoms: int = 0
    made_up: str = ""
    stable_atoms: int = 0
    stable: bool = False
    valid: bool = False
    connected: bool = False
    perceived: str = ""
    unique: bool = False
    novel: bool = False
    posebusters: bool = False
    faults: str = ""
    relaxation: str = ""
    converged: bool = False
    energy: float = math.nan
    drop: float = math.nan
    rmsd: float = math.nan
    graph_kept: bool = False


def rows_as_read(entries: Sequence[Entry], known: KnownMolecules, report: Report) -> list[MoleculeRow]:
    """Make the rows with everything but relaxation.

    Args:
        entries: molecules.
        known: molecules that are not novel.
        report: hears the progress.
    """
    rows: list[MoleculeRow] = []
    seen: set[str] = set()
    readable = 0
    for entry in entries:
        row = guarded(lambda one: _as_read(one, known), entry, _unread)
        rows.append(replace(row, unique=row.valid and row.perceived not in seen))
        seen.add(row.perceived)
        readable += not row.error
        report("check", len(rows), len(entries), readable=readable)
    return rows


def _as_read(entry: Entry, known: KnownMolecules) -> MoleculeRow:
    return _with_novelty(_with_posebusters(_with_stability(entry), entry), known)


def _unread(entry: Entry, reason: str) -> MoleculeRow:
    return MoleculeRow(entry.name, f"not assessed: {reason}")


def _with_stability(entry: Entry) -> MoleculeRow:
    atoms = entry.molecule or entry.atoms
    row = MoleculeRow(entry.name, entry.error, entry.template, made_up=entry.note)
    if atoms is None:
        return row
    row = replace(row, n_atoms=len(atoms))
    numbers = tuple(atoms.atomic_numbers)
    if not protocol_knows(numbers):
        return row
    found = assess_molecule(np.array(numbers), atoms.cart_coords)
    return replace(
        row,
        stable_atoms=found.stable_atoms,
        stable=found.stable,
        valid=found.smiles is not None,
        connected=found.smiles is not None and found.fragments == 1,
        perceived=found.smiles or "",
    )


def _with_novelty(row: MoleculeRow, known: KnownMolecules) -> MoleculeRow:
    """Add whether the perceived molecule is novel; it is not if it cannot be compared."""
    if not row.valid:
        return row
    try:
        return replace(row, novel=not known.knows(MoleculeTemplate.of(row.perceived)))
    except (MoleculeError, KnownMoleculesError):
        return row


def _with_posebusters(row: MoleculeRow, entry: Entry) -> MoleculeRow:
    molecule = entry.molecule
    if molecule is None:
        return row
    verdict = posebusters(_candidate(entry, molecule, molecule))
    return replace(row, posebusters=verdict.passed, faults="" if verdict.passed else verdict.reason)


def relaxed_rows(
    rows: Sequence[MoleculeRow], entries: Sequence[Entry], outcomes: Mapping[str, Outcome[Molecule]]
) -> list[MoleculeRow]:
    """Add the changes of energy and geometry by relaxation."""
    return [
        guarded(
            partial(_relaxed, entry=entry, outcome=outcomes.get(row.name)),
            row,
            lambda one, reason: replace(one, relaxation=f"failed: {reason}"),
        )
        for row, entry in zip(rows, entries, strict=True)
    ]


def _relaxed(row: MoleculeRow, entry: Entry, outcome: Outcome[Molecule] | None) -> MoleculeRow:
    initial = entry.molecule
    if outcome is None or initial is None:
        return row
    row = replace(row, **outcome.fields)
    if not row.converged:
        return row
    candidate = replace(_candidate(entry, initial, outcome.structure), relaxation=outcome.report)
    return replace(
        row,
        drop=strain(candidate).value,
        rmsd=rmsd(initial, outcome.structure),
        graph_kept=graph_kept(candidate).passed,
    )


def _candidate(entry: Entry, initial: Molecule, final: Molecule) -> Candidate:
    return Candidate(entry.name, final, initial, None, entry.template)
