"""Screening of crystals: in their primitive cell, by CHGNet, against the hull of known phases."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import spglib
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure

from matgen.checks.contacts import nearest_limit
from matgen.checks.crystals import charge_balance, density, min_distance
from matgen.checks.verdicts import converged
from matgen.chemistry.elements import known_elements
from matgen.generation.predictors import Predictor, by_structure
from matgen.hull.hull import UnknownChemistryError, describe, is_stable
from matgen.nn.ensemble import Ensemble
from matgen.novelty.crystals import KnownIndex, novel_verdict, shipped_index
from matgen.phonons.asked import UNITS
from matgen.phonons.checks import with_lattice_checks
from matgen.relaxation.calculators import calculator_maker, calculator_of
from matgen.relaxation.pool import relaxed_together
from matgen.screening.config import NONE, SHIPPED, ScreenConfig
from matgen.screening.domain import domain
from matgen.screening.energies import StaticEnergies
from matgen.screening.hulls import hull_of, no_hull
from matgen.screening.row import GIVEN, RELAXED, Row
from matgen.screening.screener import skipped
from matgen.screening.second_opinion import SecondOpinion
from matgen.structures.candidate import Candidate, Material, Verdict, as_crystal
from matgen.structures.conversion import described
from matgen.structures.spglib_failures import searched
from matgen.structures.symmetry import NO_SYMMETRY, TIGHT, space_group, within
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import MAX_ATOMS
from matgen.weights.files import weights_file
from matgen.weights.models import load
from matgen.weights.property_format import PropertyFile
from matgen.weights.property_sets import with_heads
from matgen.weights.shipped import folder_of

SAME_ATOM = 0.01
"""Tolerance of translations when the primitive cell is determined, Å."""

OVERLAP = "not assessed, since atoms overlap"

TOO_CLOSE = 0.5
"""Closest contact of which potential and networks say anything, in least distances allowed."""

UNSTABLE = ("relaxed", "hull", "second_opinion")
"""Checks without which phonons are not worth their time."""

NEAR = "atoms overlap, so that energies and predictions are of a crystal that is not possible as given"


@dataclass(frozen=True)
class CrystalScreener:
    """A `Screener` of crystals."""

    config: ScreenConfig

    def candidate(self, name: str, structure: Material, smiles: str) -> Candidate:  # noqa: ARG002 (of molecules)
        """Make a candidate of the primitive cell."""
        cell = primitive_cell(as_crystal(structure, name))
        return Candidate(name, cell, cell, NO_SYMMETRY)

    def checked(self, row: Row) -> Row:
        """Add the verdicts on distances, density and charges, and the space groups within two tolerances."""
        candidate = row.candidate
        if candidate is None:
            return row
        loose = space_group(candidate.crystal)
        tight = loose if loose == NO_SYMMETRY else space_group(candidate.crystal, TIGHT)
        symmetry = "" if tight == loose else f"{within(loose)}, {within(tight, TIGHT)}"
        row = replace(row, candidate=replace(candidate, space_group=loose), tight_space_group=tight)
        pressed = bool(self.config.relaxation.pressure)
        # Under a pressure, crystals are denser than is usual.
        usual = [] if pressed else [density(candidate)]
        row = row.with_verdicts(min_distance(candidate, pressed=pressed), *usual, charge_balance(candidate))
        overlap = row.candidate is not None and not row.verdicts["min_distance"].passed and not self._overlaps(row)
        return row.with_remarks(symmetry=symmetry, overlap=NEAR if overlap else "")

    def unfit(self, candidate: Candidate) -> str:
        """Say whether atoms overlap so far that neither potential nor networks say anything."""
        if candidate.verdicts["min_distance"].passed:
            return ""
        contact = nearest_limit(candidate.crystal, pressed=bool(self.config.relaxation.pressure))
        return OVERLAP if contact.distance < TOO_CLOSE * contact.limit else ""

    def relaxed(self, rows: Sequence[Row]) -> list[Row]:
        """Relax by the potential; by CHGNet many structures at once."""
        found = [row.with_verdicts(skipped("relaxed", "eV/Å", OVERLAP)) if self._overlaps(row) else row for row in rows]
        initial_geometries = [(i, row.candidate.crystal, math.inf) for i, row in enumerate(found) if row.candidate]
        initial_geometries = [one for one in initial_geometries if not self._overlaps(found[one[0]])]
        by = calculator_maker(self.config.calculator)
        for result in relaxed_together(initial_geometries, by, self.config.relaxation, self.config.device):
            row = found[result.index]
            if row.candidate is not None:
                moved = replace(row.candidate, structure=result.structure, relaxation=result.report)
                row = self.checked(replace(row, candidate=moved)).with_verdicts(converged(moved))
            energy, potential = result.report.energy, result.report.potential
            found[result.index] = replace(row, energy=energy, potential=potential, geometry=RELAXED)
        return found

    def out_of_scope(self, candidate: Candidate) -> str:
        """Say whether there are too many atoms, or elements that no training crystal contains."""
        crystal = candidate.crystal
        if len(crystal) > MAX_ATOMS:
            counted = f"{len(crystal)} atoms in the primitive cell; the models support up to {MAX_ATOMS}"
            return f"{counted}, so nothing is predicted"
        strange = sorted({site.specie.symbol for site in crystal if site.specie.Z not in known_elements()})
        return f"the models have never seen {', '.join(strange)}, so nothing is predicted" if strange else ""

    def template(self, candidate: Candidate) -> CrystalTemplate:
        """Return the space group and the Wyckoff positions."""
        return described(candidate.crystal)[0]

    def predictor(self) -> Predictor:
        """Return the graph network and the ensemble trained on structures."""
        return _predictor(self.config.weights, self.config.device, self.config.property_files)

    def evaluator(self) -> Ensemble:
        """Return the evaluator of crystals."""
        return _evaluator(self.config.weights, self.config.device)

    def in_domain(self, candidate: Candidate, energy: float) -> Verdict:  # noqa: ARG002
        """Check that the graph energy per atom is one of real crystals."""
        usual = domain()
        share = usual.share_below(energy)
        passed = energy <= usual.limit
        reason = f"density energy {energy:.2f} per atom: {100 * share:.0f} % of real crystals have less"
        if not passed:
            reason = f"out of domain: {reason}; predictions mean little"
        return Verdict("in_domain", passed, energy, "", reason)

    def with_energies(self, rows: Sequence[Row]) -> list[Row]:
        """Add the energy by the potential and the energy above the hull; a second one, if it is asked for."""
        if self.config.relax == NONE:
            rows = self._static(list(rows))
        rows = [_no_height(row, OVERLAP) if self._overlaps(row) else _height(row, self.config) for row in rows]
        return [self._second(row) for row in rows] if self.config.second_opinion else rows

    def on_the_lattice(self, row: Row) -> Row:
        """Add the verdicts on phonons and elasticity that are asked for, unless it is unstable in another way."""
        if row.candidate is None:
            return row
        asked = self.config.lattice_checks
        before = [name for name in UNSTABLE if name in row.verdicts and not row.verdicts[name].passed]
        if self._overlaps(row) or before:
            why = OVERLAP if self._overlaps(row) else f"not calculated, since it fails {', '.join(before)}"
            return row.with_verdicts(*(skipped(name, UNITS[name], why) for name in asked))
        calculator = calculator_of(self.config.calculator)
        pressure, given = self.config.relaxation.pressure, self.config.relax == NONE
        checked = with_lattice_checks(row.candidate, calculator, asked, pressure, keep_cell=given)
        return replace(row, candidate=checked)

    def compared(self, row: Row) -> Row:
        """Check that it is none of the known crystals."""
        if row.candidate is None:
            return row
        return row.with_verdicts(novel_verdict(row.candidate, known_index(self.config.known)))

    def check_files(self) -> None:
        """Load domain, known structures, potential and hull.

        Raises:
            ReferenceFileError, KnownFileError: a file contains no reference, or no known structures.
            PotentialMismatchError: the hull is of another potential than the one that computes energies.
            CalculatorError: a potential cannot be made.
            SecondOpinionError: none can be had of a potential.
            WeightsError, DomainError: weights are missing, damaged, or not those of the domain.
        """
        domain()
        if self.config.known != NONE:
            known_index(self.config.known)
        if self.config.uses_potential:
            calculator_of(self.config.calculator)
        if not self.config.has_hull:
            return
        hull_of(self.config.calculator, self.config.reference)
        if self.config.second_opinion:
            SecondOpinion(self.config.second_opinion, self.config.max_ehull).check()

    def _overlaps(self, row: Row) -> bool:
        return row.candidate is None or bool(self.unfit(row.candidate))

    def _second(self, row: Row) -> Row:
        """Add the second opinion on a crystal that has a first one."""
        if row.candidate is None or not math.isfinite(row.energy):
            return row
        second = SecondOpinion(self.config.second_opinion, self.config.max_ehull)
        return row.with_verdicts(second.verdict(row.candidate))

    def _static(self, rows: list[Row]) -> list[Row]:
        potential = _potential(self.config.calculator)
        some = {i: row.candidate.crystal for i, row in enumerate(rows) if row.candidate and not self._overlaps(row)}
        for index, energy in zip(some, potential(list(some.values())), strict=True):
            row = replace(rows[index], potential=potential.potential, geometry=GIVEN)
            rows[index] = _no_height(row, energy) if isinstance(energy, str) else replace(row, energy=energy)
        return rows


def primitive_cell(structure: Structure) -> Structure:
    """Return the smallest cell, with no atom moved by more than `SAME_ATOM`; the structure itself if none is found."""
    if math.gcd(*Counter(structure.atomic_numbers).values()) == 1:  # the count of each element is a multiple
        return structure
    cell: Any = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    found = searched(spglib.standardize_cell, cell, to_primitive=True, no_idealize=True, symprec=SAME_ATOM)
    if found is None or len(found[2]) >= len(structure):
        return structure
    lattice, coords, numbers = found
    return Structure(lattice, [Element.from_Z(int(z)) for z in numbers], coords)


def _height(row: Row, config: ScreenConfig) -> Row:
    """Add the verdict on the energy above the hull."""
    if row.candidate is None or "hull" in row.candidate.verdicts:
        return row
    if not math.isfinite(row.energy):
        return _no_height(row, "no energy to compare with the known phases")
    hull = hull_of(config.calculator, config.reference)
    if hull is None:
        return row.with_remarks(hull=no_hull(row.potential))
    try:
        found = hull.above_hull_of(row.candidate.crystal, row.energy, row.potential)
    except UnknownChemistryError as error:
        return _no_height(row, str(error))
    passed = is_stable(found.above_hull, config.max_ehull)
    reason = f"{describe(found, hull.potential, config.max_ehull)}; energy of the geometry {row.geometry}"
    return row.with_verdicts(Verdict("hull", passed, found.above_hull, "eV/atom", reason))


def _no_height(row: Row, reason: str) -> Row:
    return row.with_verdicts(skipped("hull", "eV/atom", reason))


# ---------------------------------------------------------------- loaded once per process


@cache
def _predictor(weights: str, device: str, files: tuple[PropertyFile, ...]) -> Predictor:
    folder = folder_of(weights)
    kind: Literal["structure_properties"] = "structure_properties"
    structures = with_heads(load(kind, weights_file(kind, folder)).to(device), kind, files, device)
    return Predictor(load("graph_energy", weights_file("graph_energy", folder)).to(device), by_structure(structures))


@cache
def _evaluator(weights: str, device: str) -> Ensemble:
    return load("evaluator", weights_file("evaluator", folder_of(weights))).to(device)


@cache
def _potential(calculator: str) -> StaticEnergies:
    return StaticEnergies(calculator)


@cache
def known_index(name: str) -> KnownIndex:
    """Load the known structures of a file, or the shipped ones.

    Raises:
        KnownFileError: the file contains none.
    """
    return shipped_index() if name == SHIPPED else KnownIndex.load(Path(name))
