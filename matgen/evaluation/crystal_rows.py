"""What is found out about each crystal of a set, one row each, before anything is counted."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pymatgen.core.structure import Structure

from matgen.chemistry.charges import is_valid
from matgen.evaluation.relaxations import Outcome
from matgen.hull.hull import ReferenceHull, UnknownChemistryError, is_stable
from matgen.metrics import (
    first_of_kind,
    is_balanced_smact14,
    is_separated,
    is_spaced,
    rmsd_to_relaxed,
)
from matgen.novelty.crystals import KnownIndex
from matgen.novelty.fingerprint import NoFingerprintError
from matgen.runtime.progress import Report
from matgen.structures.files import Entry

NOT_ABOVE, NEAR_HULL = 0.0, 0.1
"""Limits, eV/atom above the hull, at which stable structures are counted."""


@dataclass(frozen=True)
class Judged:
    """One entry and what was found out about it; NaN, False and empty where nothing was.

    Attributes:
        name: of the entry.
        error: why it could not be read.
        formula: reduced.
        n_atoms: in the cell that was read.
        separated: no two atoms within 0.5 Å.
        spaced: no contact below 0.7 of the covalent radii.
        smact14: composition valid as CDVAE counts.
        smact: composition valid as SMACT counts today.
        relaxation: how it ended.
        converged: whether it did.
        energy: after it, eV/atom.
        above_hull: eV/atom; of converged relaxations only.
        rmsd: moved by it, Å.
        rmsd_normalised: the same over (volume per atom)^(1/3).
        unique: the first of its kind.
        known: the known material that it is.
        novel: it is none.
        sun: stable at 0.1 eV/atom above the hull, novel, and the first of its kind among those.
        sun_on_hull: the same at 0.
    """

    name: str
    error: str = ""
    formula: str = ""
    n_atoms: int = 0
    separated: bool = False
    spaced: bool = False
    smact14: bool = False
    smact: bool = False
    relaxation: str = ""
    converged: bool = False
    energy: float = math.nan
    above_hull: float = math.nan
    rmsd: float = math.nan
    rmsd_normalised: float = math.nan
    unique: bool = False
    known: str = ""
    novel: bool = False
    sun: bool = False
    sun_on_hull: bool = False


def judged_as_read(entries: Sequence[Entry], report: Report) -> list[Judged]:
    """Rows of validity; whoever cannot be read fails everything."""
    rows = []
    for entry in entries:
        rows.append(_as_read(entry))
        report("check", len(rows), len(entries), readable=sum(not row.error for row in rows))
    return rows


def _as_read(entry: Entry) -> Judged:
    structure = entry.crystal
    if structure is None:
        return Judged(entry.name, entry.error)
    return Judged(
        entry.name,
        formula=structure.composition.reduced_formula,
        n_atoms=len(structure),
        separated=is_separated(structure),
        spaced=is_spaced(structure),
        smact14=is_balanced_smact14(structure.composition),
        smact=is_valid(structure.composition),
    )


def judged_relaxed(
    rows: Sequence[Judged], entries: Sequence[Entry], outcomes: Mapping[str, Outcome[Structure]], hull: ReferenceHull
) -> list[Judged]:
    """The rows with energies above the hull, and how far relaxation moved the atoms.

    Raises:
        PotentialMismatchError: the hull is of another potential.
    """
    found = []
    for row, entry in zip(rows, entries, strict=True):
        outcome, start = outcomes.get(row.name), entry.crystal
        if outcome is None or start is None:
            found.append(row)
            continue
        report = outcome.report
        now = replace(row, relaxation=report.reason, converged=report.converged, energy=report.energy)
        if report.converged:
            apart, normalised = rmsd_to_relaxed(start, outcome.structure)
            now = replace(now, rmsd=apart, rmsd_normalised=normalised, above_hull=_above_hull(outcome, hull))
        found.append(now)
    return found


def _above_hull(outcome: Outcome[Structure], hull: ReferenceHull) -> float:
    """eV/atom; NaN where the hull lacks one of the elements."""
    report = outcome.report
    try:
        return hull.above_hull(outcome.structure.composition, report.energy, report.potential).above_hull
    except UnknownChemistryError:
        return math.nan


def judged_alike(
    rows: Sequence[Judged], finals: Sequence[Structure | None], known: KnownIndex, report: Report
) -> list[Judged]:
    """The rows with uniqueness, novelty and S.U.N.

    Args:
        rows: in the order of `finals`.
        finals: structures as they are judged, relaxed or not; None where there is none fit to be compared.
        known: what is not novel.
        report: hears how far it is.
    """
    unique = first_of_kind(finals)
    found = []
    for row, structure, first in zip(rows, finals, unique, strict=True):
        name, novel = ("", False) if structure is None else _looked_up(structure, known)
        found.append(replace(row, unique=first, known=name, novel=novel))
        report("compare", len(found), len(rows), novel=sum(one.novel for one in found))
    on_hull, near = (_stable_firsts(found, finals, limit) for limit in (NOT_ABOVE, NEAR_HULL))
    return [replace(row, sun_on_hull=on, sun=by) for row, on, by in zip(found, on_hull, near, strict=True)]


def _looked_up(structure: Structure, known: KnownIndex) -> tuple[str, bool]:
    """The known material that a structure is, and whether it is none; neither if it cannot be compared."""
    try:
        match = known.find(structure)
    except NoFingerprintError:
        return "", False
    return ("", True) if match is None else (match.material_id, False)


def _stable_firsts(rows: Sequence[Judged], finals: Sequence[Structure | None], limit: float) -> list[bool]:
    """One flag per row: the first of its kind among those that are novel and within the limit (eV/atom)."""
    return first_of_kind(finals, [row.novel and is_stable(row.above_hull, limit) for row in rows])
