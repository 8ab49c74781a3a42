"""Proposals that pass every check, but whose targets are not likely enough to be met: they wait for later rounds."""

import math
from bisect import insort

from matgen.generation.predictors import EVALUATOR
from matgen.search.unit_format import Passed
from matgen.structures.candidate import Verdict

NOT_NEEDED = Verdict(
    "not_needed", passed=False, value=math.nan, unit="", reason="enough more probable candidates were found"
)
"""Verdict on a deferred proposal that was never needed."""


def probability(one: Passed) -> float:
    """Return the least probability that a target is met; 1 without targets."""
    properties = one.candidate.properties
    predicted = [p.probability for name, p in properties.items() if not name.startswith(EVALUATOR)]
    return min((p for p in predicted if not math.isnan(p)), default=1.0)


class Deferred:
    """The deferred proposals, the most probable last."""

    def __init__(self) -> None:
        self._waiting: list[Passed] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, one: Passed) -> None:
        """Add a proposal."""
        insort(self._waiting, one, key=probability)

    def most_probable(self, confidence: float) -> Passed | None:
        """Remove and return the most probable proposal, of equal ones the last added; None below a confidence."""
        if self._waiting and probability(self._waiting[-1]) >= confidence:
            return self._waiting.pop()
        return None

    def dismissed(self) -> list[Passed]:
        """Remove and return all, with the verdict that they were not needed."""
        found = [one.with_verdicts({NOT_NEEDED.name: NOT_NEEDED}) for one in self._waiting]
        self._waiting = []
        return found


def deferred_again(one: Passed) -> Passed:
    """Return a dismissed proposal without the verdict that it was not needed."""
    return one.without_verdict(NOT_NEEDED.name)
