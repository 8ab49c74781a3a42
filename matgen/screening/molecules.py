"""How molecules are judged: by graph and geometry, and by GFN2-xTB where energies or a relaxation are asked for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from matgen.checks.crystals import converged
from matgen.checks.molecules import graph_kept, in_domain, n_heavy, posebusters, sanitised, stereo, strain
from matgen.chemistry.elements import SYMBOLS
from matgen.generation.predictors import Predictor, by_graph_and_template
from matgen.nn.ensemble import Ensemble
from matgen.novelty.molecules import KnownMolecules, novel_molecule, shipped_molecules
from matgen.relaxation.xtb import GAP_ERROR, POTENTIAL, electronic, gap_from_levels, relax_molecule
from matgen.screening.config import NONE, SHIPPED, ScreenConfig
from matgen.screening.row import GIVEN, RELAXED, XTB_GAP, Row
from matgen.screening.screener import unasked
from matgen.structures.candidate import Candidate, Material, Prediction, Verdict
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.skeleton import ATOM_TYPES, MAX_HEAVY
from matgen.weights.models import folder_of, load, weights_file

ELEMENTS = frozenset({1, *(z for z, _, _ in ATOM_TYPES)})
"""Atomic numbers that occur in the training molecules."""

MOST_HEAVY = 2 * MAX_HEAVY
"""Heavy atoms up to which the networks are asked at all; twice those of the largest training molecule."""


@dataclass(frozen=True)
class MoleculeScreener:
    """A `Screener` of molecules."""

    config: ScreenConfig

    def candidate(self, name: str, structure: Material, smiles: str) -> Candidate:
        """The molecule as it was read."""
        return Candidate(name, structure, structure, None, smiles)

    def checked(self, row: Row) -> Row:
        """With the verdicts on graph and hands, and those of PoseBusters on the final geometry."""
        candidate = row.candidate
        if candidate is None:
            return row
        row = row.told(sanitised(candidate), graph_kept(candidate), stereo(candidate))
        final = self.config.relax == NONE or candidate.relaxation is not None
        return row.told(posebusters(candidate)) if final else row

    def unfit(self, candidate: Candidate) -> str:
        """Bonds broken or made."""
        kept = candidate.verdicts["graph_kept"]
        return "" if kept.passed else f"not asked, since the geometry is not that of the graph: {kept.reason}"

    def relaxed(self, rows: Sequence[Row]) -> list[Row]:
        """By GFN2-xTB, one by one."""
        return [self._relaxed(row, row.candidate) if row.candidate else row for row in rows]

    def out_of_scope(self, candidate: Candidate) -> str:
        """Elements that no training molecule holds, no heavy atom, or far too many."""
        if strange := sorted({SYMBOLS[z] for z in candidate.structure.atomic_numbers if z not in ELEMENTS}):
            return f"the models have never seen {', '.join(strange)}, so nothing is predicted"
        heavy = n_heavy(candidate)
        if 1 <= heavy <= MOST_HEAVY:
            return ""
        return f"{heavy} heavy atoms; the models learned from 1 to {MAX_HEAVY}, so nothing is predicted"

    def template(self, candidate: Candidate) -> MoleculeTemplate:
        """The molecular graph."""
        return MoleculeTemplate(candidate.template)

    def predictor(self) -> Predictor:
        """The graph network and the model of molecular graphs."""
        return _guide(self.config.weights)

    def evaluator(self) -> Ensemble:
        """The second model."""
        return _evaluator(self.config.weights)

    def in_domain(self, candidate: Candidate, energy: float) -> Verdict:
        """Whether it is as small as the training molecules, and neutral like them."""
        verdict = in_domain(candidate)
        if not verdict.passed:
            return verdict
        return replace(verdict, reason=f"{verdict.reason}; density energy {energy:.2f} per atom")

    def weighed(self, rows: Sequence[Row]) -> list[Row]:
        """With the energy and the gap by GFN2-xTB."""
        return [self._weighed(row, row.candidate) if row.candidate else row for row in rows]

    def compared(self, row: Row) -> Row:
        """With whether its connectivity is none of the known ones."""
        candidate = row.candidate
        if candidate is None:
            return row
        return row.told(novel_molecule(self.template(candidate), known_molecules(self.config.known)))

    def check_files(self) -> None:
        """Load networks and known molecules.

        Raises:
            KnownMoleculesError: a file holds no known molecules.
            WeightsError: weights that are missing or damaged.
        """
        _guide(self.config.weights), _evaluator(self.config.weights)
        if self.config.known != NONE:
            known_molecules(self.config.known)

    def _relaxed(self, row: Row, candidate: Candidate) -> Row:
        molecule, report = relax_molecule(candidate.molecule)
        moved = replace(candidate, structure=molecule, relaxation=report)
        row = self.checked(replace(row, candidate=moved)).told(converged(moved), strain(moved))
        return replace(row, energy=report.energy, potential=report.potential, geometry=RELAXED)

    def _weighed(self, row: Row, candidate: Candidate) -> Row:
        if why := self.unfit(candidate):
            return row.told(unasked("xtb", "eV", why))
        found = electronic(candidate.molecule)
        gap = gap_from_levels(found)
        if not math.isfinite(gap):
            return row.told(unasked("xtb", "eV", found.reason or f"{POTENTIAL} finds no empty level"))
        reason = f"{POTENTIAL}: HOMO {found.homo:.2f} eV, LUMO {found.lumo:.2f} eV, dipole {found.dipole:.2f} D; "
        reason += f"the gap on the scale of B3LYP is {gap:.2f} eV"
        properties = candidate.properties | {XTB_GAP: Prediction(gap, GAP_ERROR, "eV")}
        row = replace(row, candidate=replace(candidate, properties=properties))
        row = row.told(Verdict("xtb", passed=True, value=gap, unit="eV", reason=reason))
        if candidate.relaxation is not None:
            return row
        return replace(row, energy=found.energy / len(candidate.structure), potential=POTENTIAL, geometry=GIVEN)


# ---------------------------------------------------------------- what a process loads once


@cache
def _guide(weights: str) -> Predictor:
    folder = folder_of(weights)
    graph = load("molecule_energy", weights_file("molecule_energy", folder))
    properties = load("molecule_properties", weights_file("molecule_properties", folder))
    return Predictor(graph, by_graph_and_template(graph, properties))


@cache
def _evaluator(weights: str) -> Ensemble:
    return load("molecule_evaluator", weights_file("molecule_evaluator", folder_of(weights)))


@cache
def known_molecules(name: str) -> KnownMolecules:
    """The known molecules by their file, or those that ship.

    Raises:
        KnownMoleculesError: the file holds none.
    """
    return shipped_molecules() if name == SHIPPED else KnownMolecules.load(Path(name))
