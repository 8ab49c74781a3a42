"""The interface of a screening; `crystals` and `molecules` implement it."""

import math
from collections.abc import Sequence
from typing import Protocol

from matgen.energies.property_target import StatePredictor
from matgen.generation.predictors import Predictor
from matgen.screening.row import Row
from matgen.structures.candidate import Candidate, Material, Verdict
from matgen.templates.batch import Template


class Screener(Protocol):
    """Screens structures of one kind, as a configuration asks for it."""

    def candidate(self, name: str, structure: Material, smiles: str) -> Candidate:
        """Make the candidate that is screened from a structure as read."""
        ...

    def checked(self, row: Row) -> Row:
        """Add the verdicts that need no model; repeated after a relaxation."""
        ...

    def unfit(self, candidate: Candidate) -> str:
        """Say why predictions for a checked candidate would be meaningless; empty if they are not."""
        ...

    def relaxed(self, rows: Sequence[Row]) -> list[Row]:
        """Relax structures, and add energies and the verdict on the relaxation."""
        ...

    def out_of_scope(self, candidate: Candidate) -> str:
        """Say why a candidate is outside the range of the networks; empty if it is not."""
        ...

    def template(self, candidate: Candidate) -> Template:
        """Return the template of a candidate.

        Raises:
            NoTemplateError: the symmetry of a crystal could not be found.
        """
        ...

    def predictor(self) -> Predictor:
        """Return the predictor, which steers designs."""
        ...

    def evaluator(self) -> StatePredictor:
        """Return the evaluator, which steers nothing."""
        ...

    def in_domain(self, candidate: Candidate, energy: float) -> Verdict:
        """Check that a candidate is like the training data of the models.

        Args:
            candidate: within the range of the networks.
            energy: graph energy per atom.
        """
        ...

    def with_energies(self, rows: Sequence[Row]) -> list[Row]:
        """Add the energy of the final structure by a potential, and what follows from it."""
        ...

    def on_the_lattice(self, row: Row) -> Row:
        """Add the verdicts on phonons and elasticity that the configuration asks for."""
        ...

    def compared(self, row: Row) -> Row:
        """Add the verdict on novelty."""
        ...

    def check_files(self) -> None:
        """Load the files that every worker will load, so that faults are found before any work is done.

        Raises:
            UserError: a file is missing, damaged, or does not match the others.
        """
        ...


def skipped(name: str, unit: str, why: str) -> Verdict:
    """Return the failed verdict of a check that was not made."""
    return Verdict(name, passed=False, value=math.nan, unit=unit, reason=why)
