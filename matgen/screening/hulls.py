"""The hull that energies of a potential are compared with."""

from functools import cache
from pathlib import Path

from matgen.hull.hull import PotentialMismatchError, ReferenceHull
from matgen.relaxation.calculators import CHGNET, calculator_maker, hull_file, kept_calculator, potential_name
from matgen.screening.config import SHIPPED


@cache
def hull_of(calculator: str = CHGNET, reference: str = SHIPPED) -> ReferenceHull | None:
    """Load the hull of a potential: of a file, or the shipped one; None if none ships for it.

    Args:
        calculator: name, as `calculator_maker` takes it.
        reference: a file, or `shipped`.

    Raises:
        CalculatorError: the calculator cannot be made.
        ReferenceFileError: the file contains no reference.
        PotentialMismatchError: the hull is of another potential.
    """
    path = hull_file(calculator) if reference == SHIPPED else Path(reference)
    if path is None:
        return None
    hull = ReferenceHull.load(path)
    potential = potential_name(kept_calculator(calculator_maker(calculator)))
    if hull.potential != potential:
        raise PotentialMismatchError(
            f"expected a reference by {potential}, whose energies are compared with it, got one by {hull.potential}"
        )
    return hull


def no_hull(potential: str) -> str:
    """Say that nothing is said about stability, and what to do."""
    return (
        f"stability is not assessed: there is no hull for {potential}, and energies of another potential cannot be "
        "compared; build one with `matgen reference build`"
    )
