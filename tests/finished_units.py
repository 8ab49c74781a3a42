"""Units of work from given proposals, for tests of what is decided on them."""

from collections.abc import Iterable, Sequence
from typing import Any

from matgen.generation.request import Request
from matgen.search.unit_format import Passed, Unit
from matgen.search.units import UnitMaker
from matgen.search.variety import likeness_and_family
from matgen.structures.candidate import Candidate, Verdict

FILE = ("a file", Verdict("cif", passed=True, value=0.0, unit="Å", reason="reads back"))
"""Text of the file of a candidate: a real one takes a tenth of a second."""


def passing(candidate: Candidate) -> Passed:
    """A proposal that passes every check of its own."""
    return Passed(candidate, *likeness_and_family(candidate), FILE)


def unit_of(candidates: Iterable[Candidate], number: int = 0) -> Unit:
    """A unit whose proposals pass every check of their own."""
    return Unit(number, {}, [passing(one).record() for one in candidates])


class Offering(UnitMaker):
    """Makes units of given proposals, assessed as a request asks, or by another assessment."""

    def __init__(self, request: Request, units: Sequence[Sequence[Candidate]], assessment: Any = None) -> None:
        super().__init__(request)
        self._units = units
        if assessment is not None:
            self.assessment = assessment

    def made(self, number: int) -> Unit:
        return Unit(number, {}, self.assessed(list(self._units[number]), self.report))
