"""Screening of molecules: by graph and geometry, and by GFN2-xTB for energies or a relaxation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from matgen.checks.molecules import graph_kept, in_domain, n_heavy, posebusters, sanitised, stereo, strain
from matgen.checks.verdicts import converged
from matgen.chemistry.elements import SYMBOLS
from matgen.generation.predictors import Predictor, by_graph_and_template
from matgen.nn.ensemble import Ensemble
from matgen.novelty.molecules import KnownMolecules, novel_molecule, shipped_molecules
from matgen.relaxation.xtb import POTENTIAL, relax_molecule
from matgen.relaxation.xtb_properties import electronic, estimated_gap
from matgen.screening.config import NONE, SHIPPED, ScreenConfig
from matgen.screening.row import GIVEN, RELAXED, Row
from matgen.screening.screener import skipped
from matgen.structures.candidate import Candidate, Material, Prediction, Verdict
from matgen.structures.candidate_table import XTB_GAP
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.skeleton import ATOM_TYPES, MAX_HEAVY
from matgen.weights.files import weights_file
from matgen.weights.models import load
from matgen.weights.property_format import PropertyFile
from matgen.weights.property_sets import with_heads
from matgen.weights.shipped import folder_of

ELEMENTS = frozenset({1, *(z for z, _, _ in ATOM_TYPES)})
"""Atomic numbers that occur in the training molecules."""

MOST_HEAVY = 2 * MAX_HEAVY
"""Most heavy atoms that the networks are evaluated for; twice those of the largest training molecule."""


@dataclass(frozen=True)
class MoleculeScreener:
    """A `Screener` of molecules."""

    config: ScreenConfig

    def candidate(self, name: str, structure: Material, smiles: str) -> Candidate:
        """Make a candidate of the molecule as read."""
        return Candidate(name, structure, structure, None, smiles)

    def checked(self, row: Row) -> Row:
        """Add the verdicts on graph and stereo, and those of PoseBusters on the final geometry."""
        candidate = row.candidate
        if candidate is None:
            return row
        row = row.with_verdicts(sanitised(candidate), graph_kept(candidate), stereo(candidate))
        final = self.config.relax == NONE or candidate.relaxation is not None
        return row.with_verdicts(posebusters(candidate)) if final else row

    def unfit(self, candidate: Candidate) -> str:
        """Say whether bonds are broken or new."""
        kept = candidate.verdicts["graph_kept"]
        return "" if kept.passed else f"not assessed, since the geometry is not that of the graph: {kept.reason}"

    def relaxed(self, rows: Sequence[Row]) -> list[Row]:
        """Relax by GFN2-xTB, one by one."""
        return [self._relaxed(row, row.candidate) if row.candidate else row for row in rows]

    def out_of_scope(self, candidate: Candidate) -> str:
        """Say whether there are elements of no training molecule, no heavy atom, or far too many."""
        if strange := sorted({SYMBOLS[z] for z in candidate.structure.atomic_numbers if z not in ELEMENTS}):
            return f"the models have never seen {', '.join(strange)}, so nothing is predicted"
        heavy = n_heavy(candidate)
        if 1 <= heavy <= MOST_HEAVY:
            return ""
        return f"{heavy} heavy atoms; the models are trained on 1 to {MAX_HEAVY}, so nothing is predicted"

    def template(self, candidate: Candidate) -> MoleculeTemplate:
        """Return the molecular graph."""
        return MoleculeTemplate(candidate.template)

    def predictor(self) -> Predictor:
        """Return the graph network and the model of molecular graphs."""
        return _predictor(self.config.weights, self.config.device, self.config.property_files)

    def evaluator(self) -> Ensemble:
        """Return the evaluator of molecules."""
        return _evaluator(self.config.weights, self.config.device)

    def in_domain(self, candidate: Candidate, energy: float) -> Verdict:
        """Check that it is as small as the training molecules, neutral, and without unpaired electrons like them."""
        verdict = in_domain(candidate)
        if not verdict.passed:
            return verdict
        return replace(verdict, reason=f"{verdict.reason}; density energy {energy:.2f} per atom")

    def with_energies(self, rows: Sequence[Row]) -> list[Row]:
        """Add the energy and the gap by GFN2-xTB."""
        return [self._with_energies(row, row.candidate) if row.candidate else row for row in rows]

    def on_the_lattice(self, row: Row) -> Row:
        """Return the row unchanged: a molecule has no lattice, and its configuration asks for none."""
        return row

    def compared(self, row: Row) -> Row:
        """Check that its connectivity is none of the known ones."""
        candidate = row.candidate
        if candidate is None:
            return row
        return row.with_verdicts(novel_molecule(self.template(candidate), known_molecules(self.config.known)))

    def check_files(self) -> None:
        """Load networks and known molecules.

        Raises:
            KnownMoleculesError: a file contains no known molecules.
            WeightsError: weights are missing or damaged.
        """
        (
            _predictor(self.config.weights, self.config.device, self.config.property_files),
            _evaluator(self.config.weights, self.config.device),
        )
        if self.config.known != NONE:
            known_molecules(self.config.known)

    def _relaxed(self, row: Row, candidate: Candidate) -> Row:
        molecule, report = relax_molecule(candidate.molecule)
        moved = replace(candidate, structure=molecule, relaxation=report)
        row = self.checked(replace(row, candidate=moved)).with_verdicts(converged(moved), strain(moved))
        return replace(row, energy=report.energy, potential=report.potential, geometry=RELAXED)

    def _with_energies(self, row: Row, candidate: Candidate) -> Row:
        if reason := self.unfit(candidate):
            return row.with_verdicts(skipped("xtb", "eV", reason))
        found = electronic(candidate.molecule)
        gap, error = estimated_gap(found, candidate.molecule)
        if not math.isfinite(gap):
            return row.with_verdicts(skipped("xtb", "eV", found.reason or f"{POTENTIAL} finds no empty level"))
        reason = f"{POTENTIAL}: HOMO {found.homo:.2f} eV, LUMO {found.lumo:.2f} eV, dipole {found.dipole:.2f} D; "
        geometry = GIVEN if candidate.relaxation is None else RELAXED
        reason += f"the gap on the scale of B3LYP is {gap:.2f} ± {error:g} eV, of the geometry {geometry}"
        properties = candidate.properties | {XTB_GAP: Prediction(gap, error, "eV")}
        row = replace(row, candidate=replace(candidate, properties=properties))
        row = row.with_verdicts(Verdict("xtb", passed=True, value=gap, unit="eV", reason=reason))
        if candidate.relaxation is not None:
            return row
        return replace(row, energy=found.energy / len(candidate.structure), potential=POTENTIAL, geometry=GIVEN)


# ---------------------------------------------------------------- loaded once per process


@cache
def _predictor(weights: str, device: str, files: tuple[PropertyFile, ...]) -> Predictor:
    folder = folder_of(weights)
    graph = load("molecule_energy", weights_file("molecule_energy", folder)).to(device)
    kind: Literal["molecule_properties"] = "molecule_properties"
    properties = with_heads(load(kind, weights_file(kind, folder)).to(device), kind, files, device)
    return Predictor(graph, by_graph_and_template(graph, properties))


@cache
def _evaluator(weights: str, device: str) -> Ensemble:
    return load("molecule_evaluator", weights_file("molecule_evaluator", folder_of(weights))).to(device)


@cache
def known_molecules(name: str) -> KnownMolecules:
    """Load the known molecules of a file, or the shipped ones.

    Raises:
        KnownMoleculesError: the file contains none.
    """
    return shipped_molecules() if name == SHIPPED else KnownMolecules.load(Path(name))
