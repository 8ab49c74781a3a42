"""A second opinion on stability: the energy above the hull by another potential, with its own hull.

Two potentials that were trained alike still err differently on the crystals that either puts too low. A crystal that
both put below the limit is stable more often than one that only one of them does.
"""

import math
from dataclasses import dataclass

from pymatgen.core.structure import Structure

from matgen.errors import UserError
from matgen.hull.hull import UnknownChemistryError, describe, is_stable
from matgen.relaxation.calculators import calculator_maker, kept_calculator, potential_name
from matgen.relaxation.symmetric import relax
from matgen.screening.energies import StaticEnergies
from matgen.screening.hulls import hull_of, no_hull
from matgen.structures.candidate import Candidate, Verdict

SECOND_OPINION = "second_opinion"
"""Name of the verdict."""


class SecondOpinionError(UserError, ValueError):
    """A potential that cannot give a second opinion."""


@dataclass(frozen=True)
class SecondOpinion:
    """The energy above its own hull by a second potential.

    Attributes:
        calculator: its name.
        limit: highest energy above the hull, eV/atom.
        relaxing: relax by it first; otherwise its energy is that at the geometry of the first potential.
    """

    calculator: str
    limit: float
    relaxing: bool = False

    def check(self) -> None:
        """Make the calculator and load its hull, so that a fault is found before any work.

        Raises:
            SecondOpinionError: it has no hull.
            CalculatorError: it cannot be made.
        """
        if hull_of(self.calculator) is None:
            raise SecondOpinionError(no_hull(self.potential))

    @property
    def potential(self) -> str:
        """Name and version of the potential."""
        return potential_name(kept_calculator(calculator_maker(self.calculator)))

    def verdict(self, candidate: Candidate) -> Verdict:
        """Return whether both potentials put a crystal below the limit; the value is its height by the second, eV/atom.

        It fails where either says nothing: nobody then agrees with the other.

        Args:
            candidate: with the verdict `hull` of the first potential, if there is one.
        """
        hull, first = hull_of(self.calculator), candidate.verdicts.get("hull")
        energy = self._energy(candidate.crystal)
        if hull is None or isinstance(energy, str):
            return _unknown(no_hull(self.potential) if hull is None else str(energy))
        try:
            found = hull.above_hull_of(energy[0], energy[1], self.potential)
        except UnknownChemistryError as error:
            return _unknown(str(error))
        stable = is_stable(found.above_hull, self.limit)
        said = first.passed if first is not None and math.isfinite(first.value) else None
        agreed = agreement(said, stable)
        passed = stable and said is True
        reason = f"{agreed}: {describe(found, self.potential, self.limit)}"
        return Verdict(SECOND_OPINION, passed, found.above_hull, "eV/atom", reason)

    def _energy(self, crystal: Structure) -> tuple[Structure, float] | str:
        """Return the geometry and its energy, eV/atom, or why there is none."""
        if not self.relaxing:
            energy = StaticEnergies(self.calculator)([crystal])[0]
            return energy if isinstance(energy, str) else (crystal, energy)
        final, report = relax(crystal, kept_calculator(calculator_maker(self.calculator)))
        return (final, report.energy) if report.converged else f"{self.potential} does not relax it: {report.reason}"


def agreement(first: bool | None, second: bool) -> str:  # noqa: FBT001 (two verdicts)
    """Say which of two potentials call a crystal stable."""
    if first is None:
        return "only the second potential says"
    if first == second:
        return "both call it stable" if first else "both call it unstable"
    return "only the first calls it stable" if first else "only the second calls it stable"


def _unknown(why: str) -> Verdict:
    return Verdict(SECOND_OPINION, passed=False, value=math.nan, unit="eV/atom", reason=f"no second opinion: {why}")
