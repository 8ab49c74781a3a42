"""What is found out about each molecule of a set, one row each, before anything is counted.

Stability, validity, uniqueness and novelty are EDM's: of the bonds that elements and distances tell, whatever a file
says of bonds. PoseBusters and relaxation judge the molecule that the file says, or that was understood from distances.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pymatgen.core.structure import Molecule

from matgen.checks.molecules import graph_kept, posebusters, rmsd, strain
from matgen.evaluation.relaxations import Outcome
from matgen.metrics.molecules import judged, protocol_knows
from matgen.novelty.molecules import KnownMolecules, KnownMoleculesError
from matgen.runtime.progress import Report
from matgen.structures.candidate import Candidate
from matgen.structures.files import Entry
from matgen.templates.molecule import MoleculeError, MoleculeTemplate


@dataclass(frozen=True)
class JudgedMolecule:
    """One entry and what was found out about it; NaN, False and empty where nothing was.

    Attributes:
        name: of the entry.
        error: why it could not be read as a molecule; its atoms may be there for all that.
        smiles: of the molecule that was read.
        n_atoms: hydrogens included.
        made_up: what the file did not say, such as a geometry.
        stable_atoms: whose bond orders, by distance, sum to their valence.
        stable: all of them.
        valid: RDKit makes sense of the bonds that distances tell.
        connected: valid, and in one piece.
        perceived: SMILES of those bonds, of the largest piece, hydrogens written out, without hands.
        unique: valid, and the first of that SMILES.
        novel: valid, and its connectivity is none of the known ones.
        posebusters: passes every test of PoseBusters.
        faults: the tests that it does not pass, in words.
        relaxation: how it ended.
        converged: whether it did.
        energy: after it, eV/atom.
        drop: energy that it took out, eV; of converged relaxations only, as is what follows.
        rmsd: how far it moved the atoms, all of them, Å.
        graph_kept: the same atoms are bonded after it.
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


def molecules_as_read(entries: Sequence[Entry], known: KnownMolecules, report: Report) -> list[JudgedMolecule]:
    """Rows of everything but relaxation.

    Args:
        entries: molecules.
        known: what is not novel.
        report: hears how far it is.
    """
    rows: list[JudgedMolecule] = []
    met: set[str] = set()
    for entry in entries:
        row = _novel(_busted(_stable(entry), entry), known)
        rows.append(replace(row, unique=row.valid and row.perceived not in met))
        met.add(row.perceived)
        report("check", len(rows), len(entries), readable=sum(not one.error for one in rows))
    return rows


def _stable(entry: Entry) -> JudgedMolecule:
    atoms = entry.molecule or entry.atoms
    row = JudgedMolecule(entry.name, entry.error, entry.template, made_up=entry.note)
    if atoms is None:
        return row
    row = replace(row, n_atoms=len(atoms))
    numbers = tuple(atoms.atomic_numbers)
    if not protocol_knows(numbers):
        return row
    found = judged(np.array(numbers), atoms.cart_coords)
    return replace(
        row,
        stable_atoms=found.stable_atoms,
        stable=found.stable,
        valid=found.smiles is not None,
        connected=found.smiles is not None and found.fragments == 1,
        perceived=found.smiles or "",
    )


def _novel(row: JudgedMolecule, known: KnownMolecules) -> JudgedMolecule:
    """The row with whether the molecule of its distances is new; it is not where it cannot be compared."""
    if not row.valid:
        return row
    try:
        return replace(row, novel=not known.knows(MoleculeTemplate.of(row.perceived)))
    except (MoleculeError, KnownMoleculesError):
        return row


def _busted(row: JudgedMolecule, entry: Entry) -> JudgedMolecule:
    molecule = entry.molecule
    if molecule is None:
        return row
    verdict = posebusters(_candidate(entry, molecule, molecule))
    return replace(row, posebusters=verdict.passed, faults="" if verdict.passed else verdict.reason)


def molecules_relaxed(
    rows: Sequence[JudgedMolecule], entries: Sequence[Entry], outcomes: Mapping[str, Outcome[Molecule]]
) -> list[JudgedMolecule]:
    """The rows with what relaxation did."""
    found = []
    for row, entry in zip(rows, entries, strict=True):
        outcome, start = outcomes.get(row.name), entry.molecule
        if outcome is None or start is None:
            found.append(row)
            continue
        report = outcome.report
        now = replace(row, relaxation=report.reason, converged=report.converged, energy=report.energy)
        if report.converged:
            candidate = replace(_candidate(entry, start, outcome.structure), relaxation=report)
            now = replace(
                now,
                drop=strain(candidate).value,
                rmsd=rmsd(start, outcome.structure),
                graph_kept=graph_kept(candidate).passed,
            )
        found.append(now)
    return found


def _candidate(entry: Entry, start: Molecule, end: Molecule) -> Candidate:
    return Candidate(entry.name, end, start, None, entry.template)
