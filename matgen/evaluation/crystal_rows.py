"""Rows of a set of crystals, one for each entry, from which figures are computed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pymatgen.core.structure import Structure

from matgen.chemistry.charges import is_valid
from matgen.evaluation.relaxations import Outcome
from matgen.hull.hull import PotentialMismatchError, ReferenceHull, UnknownChemistryError, is_stable
from matgen.metrics import (
    first_of_kind,
    is_balanced_smact14,
    is_separated,
    is_spaced,
    rmsd_to_relaxed,
)
from matgen.novelty.crystals import KnownIndex
from matgen.novelty.fingerprint import NoFingerprintError
from matgen.runtime.failures import guarded
from matgen.runtime.progress import Report
from matgen.structures.files import Entry

NOT_ABOVE, NEAR_HULL = 0.0, 0.1
"""Limits above the hull, eV/atom, up to which structures are counted as stable."""


@dataclass(frozen=True, slots=True)
class CrystalRow:
    """Properties of one entry; NaN, False or empty where unknown.

    Attributes:
        name: of the entry.
        error: why it could not be read.
        formula: reduced.
        n_atoms: in the cell as read.
        separated: no two atoms within 0.5 Å.
        spaced: no contact below 0.7 of the covalent radii.
        smact14: composition valid by CDVAE's criterion.
        smact: composition valid by SMACT's current criterion.
        relaxation: how it ended.
        converged: whether the relaxation converged.
        energy: after relaxation, eV/atom.
        above_hull: energy above the hull, eV/atom; of converged relaxations only.
        rmsd: of the atoms between initial and relaxed structure, Å.
        rmsd_normalised: the same over (volume per atom)^(1/3).
        unique: the first of its kind in the set.
        known: identifier of the known material that it matches.
        novel: it matches none.
        sun: stable at 0.1 eV/atom above the hull, novel, and the first of its kind among those.
        sun_on_hull: the same at 0 eV/atom.
        remark: what could not be assessed, and why.
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
    remark: str = ""


def rows_as_read(entries: Sequence[Entry], report: Report) -> list[CrystalRow]:
    """Make the rows with validity; an entry that cannot be read fails everything."""
    rows, readable = [], 0
    for entry in entries:
        rows.append(guarded(_as_read, entry, lambda one, reason: CrystalRow(one.name, f"not assessed: {reason}")))
        readable += not rows[-1].error
        report("check", len(rows), len(entries), readable=readable)
    return rows


def _as_read(entry: Entry) -> CrystalRow:
    structure = entry.crystal
    if structure is None:
        return CrystalRow(entry.name, entry.error)
    return CrystalRow(
        entry.name,
        formula=structure.composition.reduced_formula,
        n_atoms=len(structure),
        separated=is_separated(structure),
        spaced=is_spaced(structure),
        smact14=is_balanced_smact14(structure.composition),
        smact=is_valid(structure.composition),
    )


def relaxed_rows(
    rows: Sequence[CrystalRow],
    entries: Sequence[Entry],
    outcomes: Mapping[str, Outcome[Structure]],
    hull: ReferenceHull,
) -> list[CrystalRow]:
    """Add energies above the hull, and the displacement of the atoms by relaxation.

    Raises:
        PotentialMismatchError: the hull is of another potential.
    """
    return [
        guarded(
            partial(_relaxed, initial=entry.crystal, outcome=outcomes.get(row.name), hull=hull),
            row,
            _unassessed,
            passing=(PotentialMismatchError,),
        )
        for row, entry in zip(rows, entries, strict=True)
    ]


def _unassessed(row: CrystalRow, reason: str) -> CrystalRow:
    return replace(row, remark=f"not assessed: {reason}")


def _relaxed(
    row: CrystalRow, initial: Structure | None, outcome: Outcome[Structure] | None, hull: ReferenceHull
) -> CrystalRow:
    if outcome is None or initial is None:
        return row
    row = replace(row, **outcome.fields)
    if not row.converged:
        return row
    rmsd, normalised = rmsd_to_relaxed(initial, outcome.structure)
    return replace(row, rmsd=rmsd, rmsd_normalised=normalised, above_hull=_above_hull(outcome, hull))


def _above_hull(outcome: Outcome[Structure], hull: ReferenceHull) -> float:
    """Return the energy above the hull, eV/atom; NaN if the hull lacks one of the elements."""
    report = outcome.report
    try:
        return hull.above_hull_of(outcome.structure, report.energy, report.potential).above_hull
    except UnknownChemistryError:
        return math.nan


def compared_rows(
    rows: Sequence[CrystalRow], finals: Sequence[Structure | None], known: KnownIndex, report: Report
) -> list[CrystalRow]:
    """Add uniqueness, novelty and S.U.N.

    Args:
        rows: in the order of `finals`.
        finals: structures to compare, relaxed or not, which may be made on access; None for an entry without a valid
            one.
        known: crystals that are not novel.
        report: hears the progress.
    """
    report("compare", 0, len(rows))
    unique = first_of_kind(finals)
    found, n_novel = [], 0
    for row, structure, first in zip(rows, finals, unique, strict=True):
        flagged = replace(row, unique=first)
        found.append(guarded(partial(_compared, structure=structure, known=known), flagged, _unassessed))
        n_novel += found[-1].novel
        report("compare", len(found), len(rows), novel=n_novel)
    on_hull, near = (_stable_firsts(found, finals, limit) for limit in (NOT_ABOVE, NEAR_HULL))
    return [replace(row, sun_on_hull=on, sun=close) for row, on, close in zip(found, on_hull, near, strict=True)]


def _compared(row: CrystalRow, structure: Structure | None, known: KnownIndex) -> CrystalRow:
    """Add the identifier of the known match, and whether there is none; neither if it cannot be compared."""
    if structure is None:
        return row
    try:
        match = known.find(structure)
    except NoFingerprintError as error:
        return replace(row, remark=f"not compared: {error}")
    return replace(row, novel=True) if match is None else replace(row, known=match.material_id)


def _stable_firsts(rows: Sequence[CrystalRow], finals: Sequence[Structure | None], limit: float) -> list[bool]:
    """Flag the first of its kind among the rows that are novel and within the limit (eV/atom)."""
    return first_of_kind(finals, [row.novel and is_stable(row.above_hull, limit) for row in rows])
