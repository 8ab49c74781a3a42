"""Structures in, rows out: what one worker does with one chunk.

Cheap checks come first; where atoms overlap, no model is asked, since what it would say means nothing. The networks
read many structures at once. Whatever a structure lacks is said in its row, and nothing is guessed: predictions are
made for cells of up to 20 atoms of elements that the models know.
"""

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import spglib
import torch
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure

from matgen.candidate import Candidate, Verdict
from matgen.elements import known_elements
from matgen.guide import JUDGE, Guide, as_prediction
from matgen.io import described, state_of
from matgen.models import load
from matgen.nn.ensemble import Ensemble
from matgen.properties import PROPERTIES
from matgen.screening.config import NONE, SHIPPED, ScreenConfig
from matgen.screening.domain import domain
from matgen.screening.energies import StaticEnergies
from matgen.screening.row import DENSITY_ENERGY, GIVEN, RELAXED, Row
from matgen.structure_files import Found, digest, read
from matgen.templates.batch import TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.legal import MAX_ATOMS
from matgen.templates.symmetry import NoTemplateError
from matgen.validation.checks import charge_balance, converged, density, min_distance, target_met
from matgen.validation.hull import PotentialMismatchError, ReferenceHull, UnknownChemistryError, is_stable, told
from matgen.validation.known import KnownIndex, novel_verdict, shipped_index
from matgen.validation.pool import relaxed_together
from matgen.validation.symmetry import NO_SYMMETRY, space_group

LARGEST = 500
"""Atoms in the cell as given beyond which a structure is not judged at all: it would hold up thousands of others."""

SAME_ATOM = 0.01
"""Å; how close a translation must bring atoms to each other to count when the primitive cell is taken."""

BATCH = 32
"""Structures that the networks read at once; more gain nothing on a core."""


def assess(chunk: Sequence[Found], config: ScreenConfig) -> list[Row]:
    """The row of each structure of a chunk, in order, without what only all of them together tell."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what packages say of the inputs of others is in the verdicts
        rows = [_checked(_read(found)) for found in chunk]
        if config.relax != NONE:
            rows = _relaxed(rows, config)
        rows = _predicted(rows, config)
        rows = _on_hull(rows, config)
        return [_compared(row, config) for row in rows]


# ---------------------------------------------------------------- reading, and what costs nothing


def _read(found: Found) -> Row:
    entry = read(found)
    row = Row(entry.name, entry.path, entry.index, digest(found), entry.error)
    if entry.structure is None:
        return row
    n_atoms = len(entry.structure)
    if n_atoms > LARGEST:
        return replace(row, n_atoms=n_atoms, error=f"{n_atoms} atoms in the cell; more than {LARGEST} are not judged")
    cell = primitive_cell(entry.structure)
    return replace(row, n_atoms=n_atoms, candidate=Candidate(entry.name, cell, cell, NO_SYMMETRY))


def primitive_cell(structure: Structure) -> Structure:
    """The smallest cell of the same crystal, nothing moved by more than `SAME_ATOM`; as it is where none is found."""
    if math.gcd(*Counter(structure.atomic_numbers).values()) == 1:  # the count of each element is a multiple
        return structure
    cell: Any = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=SAME_ATOM)
    if found is None or len(found[2]) >= len(structure):
        return structure
    lattice, coords, numbers = found
    return Structure(lattice, [Element.from_Z(int(z)) for z in numbers], coords)


def _checked(row: Row) -> Row:
    candidate = row.candidate
    if candidate is None:
        return row
    readable = Verdict("reads", passed=True, value=float(row.n_atoms), unit="atoms", reason="read from its file")
    row = replace(row, candidate=replace(candidate, space_group=space_group(candidate.structure)))
    return row.told(readable, min_distance(candidate), density(candidate), charge_balance(candidate))


def _overlaps(row: Row) -> bool:
    return row.candidate is None or not row.candidate.verdicts["min_distance"].passed


# ---------------------------------------------------------------- relaxation


def _relaxed(rows: list[Row], config: ScreenConfig) -> list[Row]:
    """Rows with the relaxed structures, the cheap checks done anew."""
    rows = [row.told(_unasked("relaxed", "eV/Å")) if _overlaps(row) else row for row in rows]
    starts = [(i, row.candidate.structure, math.inf) for i, row in enumerate(rows) if row.candidate]
    starts = [start for start in starts if not _overlaps(rows[start[0]])]
    for found in relaxed_together(starts, config=config.relaxation):
        row = rows[found.index]
        if row.candidate is not None:
            moved = replace(row.candidate, structure=found.structure, relaxation=found.report)
            row = _checked(replace(row, candidate=moved)).told(converged(moved))
        energy, potential = found.report.energy, found.report.potential
        rows[found.index] = replace(row, energy=energy, potential=potential, geometry=RELAXED)
    return rows


# ---------------------------------------------------------------- networks


def _predicted(rows: list[Row], config: ScreenConfig) -> list[Row]:
    """Rows with the graph energy, the properties by guide and judge, and what follows from them."""
    templates: dict[int, CrystalTemplate] = {}
    for index, row in enumerate(rows):
        if row.candidate is None:
            continue
        why = _out_of_scope(row.candidate)
        if not why:
            try:
                templates[index], _ = described(row.candidate.structure)
            except NoTemplateError as error:
                why = f"{error}, which the models need"
        if why:
            rows[index] = row.told(Verdict("in_domain", passed=False, value=math.nan, unit="", reason=why))
    indices = list(templates)
    for start in range(0, len(indices), BATCH):
        part = indices[start : start + BATCH]
        for index, row in zip(part, _opinions([rows[i] for i in part], [templates[i] for i in part]), strict=True):
            rows[index] = row
    return [_aimed(row, config) for row in rows]


def _out_of_scope(candidate: Candidate) -> str:
    """Why the models cannot know a structure; empty if they might."""
    structure = candidate.structure
    if not candidate.verdicts["min_distance"].passed:
        return _OVERLAP
    if len(structure) > MAX_ATOMS:
        return (
            f"{len(structure)} atoms in the primitive cell; the models know up to {MAX_ATOMS}, so nothing is predicted"
        )
    strange = sorted({site.specie.symbol for site in structure if site.specie.Z not in known_elements()})
    return f"the models have never seen {', '.join(strange)}, so nothing is predicted" if strange else ""


@torch.no_grad()
def _opinions(rows: list[Row], templates: list[CrystalTemplate]) -> list[Row]:
    """What the networks say, all rows in one batch."""
    candidates = [row.candidate for row in rows if row.candidate is not None]
    state = state_of([candidate.structure for candidate in candidates])
    guided, energies = _guide().read(TemplateBatch.of(templates), state)
    judged = _judge()(state, torch.zeros(len(rows)))
    found = {name: distribution.prediction() for name, distribution in guided.items()}
    found |= {f"{JUDGE}{name}": judged[name].prediction() for name in PROPERTIES}
    told_rows = []
    for i, (row, candidate, template, energy) in enumerate(
        zip(rows, candidates, templates, energies.tolist(), strict=True)
    ):
        predicted = {
            name: as_prediction(name.removeprefix(JUDGE), type(p)(p.value[i], p.spread[i])) for name, p in found.items()
        }
        full = replace(candidate, template=str(template), energies={DENSITY_ENERGY: energy}, properties=predicted)
        told_rows.append(replace(row, candidate=full).told(_in_domain(energy)))
    return told_rows


def _in_domain(energy: float) -> Verdict:
    """Whether the graph energy per atom is one that real crystals have."""
    usual = domain()
    share = usual.share_below(energy)
    passed = energy <= usual.limit
    reason = f"density energy {energy:.2f} per atom: {100 * share:.0f} % of real crystals have less"
    if not passed:
        reason = f"out of domain: {reason}; predictions mean little"
    return Verdict("in_domain", passed, energy, "", reason)


def _aimed(row: Row, config: ScreenConfig) -> Row:
    """With the verdicts on wishes, by guide and by judge."""
    candidate = row.candidate
    if candidate is None:
        return row
    targets = [(f"{prefix}{name}", target) for name, target in config.targets.items() for prefix in ("", JUDGE)]
    return row.told(*(target_met(candidate, name, target) for name, target in targets))


# ---------------------------------------------------------------- hull and novelty


def _on_hull(rows: list[Row], config: ScreenConfig) -> list[Row]:
    """Rows with the energy of a potential and the height above the hull."""
    if config.reference == NONE:
        return rows
    if config.relax == NONE:
        rows = _static(rows)
    return [_height(row, config) for row in rows]


def _static(rows: list[Row]) -> list[Row]:
    potential = _potential()
    some = {i: row.candidate.structure for i, row in enumerate(rows) if row.candidate and not _overlaps(row)}
    for index, energy in zip(some, potential(list(some.values())), strict=True):
        row = replace(rows[index], potential=potential.potential, geometry=GIVEN)
        rows[index] = row.told(_no_hull(energy)) if isinstance(energy, str) else replace(row, energy=energy)
    return rows


def _height(row: Row, config: ScreenConfig) -> Row:
    if row.candidate is None or "hull" in row.candidate.verdicts:
        return row
    if _overlaps(row):
        return row.told(_unasked("hull", "eV/atom"))
    if not math.isfinite(row.energy):
        return row.told(_no_hull("no energy to compare with the known phases"))
    hull = reference_hull(config.reference)
    try:
        found = hull.above_hull(row.candidate.structure.composition, row.energy, row.potential)
    except UnknownChemistryError as error:
        return row.told(_no_hull(str(error)))
    passed = is_stable(found.above_hull, config.max_ehull)
    reason = f"{told(found, hull.potential, config.max_ehull)}; energy of the geometry {row.geometry}"
    return row.told(Verdict("hull", passed, found.above_hull, "eV/atom", reason))


def _no_hull(reason: str) -> Verdict:
    return Verdict("hull", passed=False, value=math.nan, unit="eV/atom", reason=reason)


def _compared(row: Row, config: ScreenConfig) -> Row:
    """With the verdict on novelty."""
    if row.candidate is None or config.known == NONE:
        return row
    if _overlaps(row):
        return row.told(_unasked("novel", ""))
    return row.told(novel_verdict(row.candidate, known_index(config.known)))


_OVERLAP = "not asked, since atoms overlap"


def _unasked(name: str, unit: str) -> Verdict:
    return Verdict(name, passed=False, value=math.nan, unit=unit, reason=_OVERLAP)


# ---------------------------------------------------------------- what a process loads once


@cache
def _guide() -> Guide:
    return Guide(load("graph_energy"), load("template_properties"))


@cache
def _judge() -> Ensemble:
    return load("judge")


@cache
def _potential() -> StaticEnergies:
    return StaticEnergies()


@cache
def reference_hull(name: str) -> ReferenceHull:
    """The hull by its file, or the one that ships.

    Raises:
        ReferenceFileError: the file holds none.
    """
    return ReferenceHull.load(None if name == SHIPPED else Path(name))


@cache
def known_index(name: str) -> KnownIndex:
    """The known structures by their file, or those that ship.

    Raises:
        KnownFileError: the file holds none.
    """
    return shipped_index() if name == SHIPPED else KnownIndex.load(Path(name))


def check_files(config: ScreenConfig) -> None:
    """Load what every worker will load, so that what is wrong with it is told before any work is done.

    Raises:
        ReferenceFileError, KnownFileError: a file holds no reference, or no known structures.
        PotentialMismatchError: the hull is of another potential than the one that will be asked.
        WeightsError, DomainError: weights that are missing, damaged, or not those that the domain was measured with.
    """
    domain()
    if config.known != NONE:
        known_index(config.known)
    if config.reference == NONE:
        return
    hull, potential = reference_hull(config.reference), _potential().potential
    if hull.potential != potential:
        raise PotentialMismatchError(
            f"expected a reference by {potential}, whose energies are compared with it, got one by {hull.potential}"
        )
