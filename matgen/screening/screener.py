"""What a screening asks of a structure, whatever its kind; `crystals` and `molecules` say how it is answered."""

import math
from collections.abc import Sequence
from typing import Protocol

from matgen.energies.property_target import StatePredictor
from matgen.generation.predictors import Predictor
from matgen.screening.row import Row
from matgen.structures.candidate import Candidate, Material, Verdict
from matgen.templates.batch import Template


class Screener(Protocol):
    """The means to judge structures of one kind, as a configuration asks for it."""

    def candidate(self, name: str, structure: Material, smiles: str) -> Candidate:
        """What is judged of a structure that was read."""
        ...

    def checked(self, row: Row) -> Row:
        """With the verdicts that no model is needed for; done anew after a relaxation."""
        ...

    def unfit(self, candidate: Candidate) -> str:
        """Why models need not be asked about a checked candidate; empty if they may be."""
        ...

    def relaxed(self, rows: Sequence[Row]) -> list[Row]:
        """With relaxed structures, energies, and how the relaxation went."""
        ...

    def out_of_scope(self, candidate: Candidate) -> str:
        """Why the networks cannot know a candidate; empty if they might."""
        ...

    def template(self, candidate: Candidate) -> Template:
        """The discrete half of a candidate.

        Raises:
            NoTemplateError: the symmetry of a crystal could not be found.
        """
        ...

    def predictor(self) -> Predictor:
        """The models that guide a design."""
        ...

    def evaluator(self) -> StatePredictor:
        """The model that guides nothing."""
        ...

    def in_domain(self, candidate: Candidate, energy: float) -> Verdict:
        """Whether a candidate is of the kind that the models learned from.

        Args:
            candidate: in the scope of the networks.
            energy: graph energy per atom.
        """
        ...

    def weighed(self, rows: Sequence[Row]) -> list[Row]:
        """With what a potential says of the final structure, and what follows from it."""
        ...

    def compared(self, row: Row) -> Row:
        """With the verdict on novelty."""
        ...

    def check_files(self) -> None:
        """Load what every worker will load, so that what is wrong with it is told before any work is done.

        Raises:
            UserError: a file that is missing, damaged, or does not belong to the others.
        """
        ...


def unasked(name: str, unit: str, why: str) -> Verdict:
    """The verdict of who was not asked."""
    return Verdict(name, passed=False, value=math.nan, unit=unit, reason=why)
