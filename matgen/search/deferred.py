"""Candidates that pass every check, but whose targets are not likely enough to be met: they wait for later rounds."""

import math
from collections.abc import Iterable
from dataclasses import replace

from matgen.generation.predictors import EVALUATOR
from matgen.search.selection import CandidateChecks
from matgen.structures.candidate import Candidate, Verdict

NOT_NEEDED = Verdict(
    "not_needed", passed=False, value=math.nan, unit="", reason="enough more probable candidates were found"
)
"""Verdict on a deferred candidate that was never needed."""


def probability(candidate: Candidate) -> float:
    """Return the least probability that a target is met; 1 without targets."""
    predicted = [p.probability for name, p in candidate.properties.items() if not name.startswith(EVALUATOR)]
    return min((p for p in predicted if not math.isnan(p)), default=1.0)


def split_by_confidence(deferred: Iterable[Candidate], confidence: float) -> tuple[list[Candidate], list[Candidate]]:
    """Split candidates by whether their targets are likely enough to be met.

    Args:
        deferred: candidates.
        confidence: least probability.

    Returns:
        Those that are, the most probable last, and the rest.
    """
    deferred = list(deferred)
    likely = sorted((one for one in deferred if probability(one) >= confidence), key=probability)
    names = {one.name for one in likely}
    return likely, [one for one in deferred if one.name not in names]


def dismissed(candidate: Candidate) -> Candidate:
    """Return a deferred candidate with the verdict that it was not needed."""
    return replace(candidate, verdicts=candidate.verdicts | {NOT_NEEDED.name: NOT_NEEDED})


def deferred_again(candidate: Candidate, candidate_checks: CandidateChecks) -> Candidate | None:
    """Return a rejected candidate without the verdict that it was not needed; None if any other check rejects it."""
    others = {name: verdict for name, verdict in candidate.verdicts.items() if name != NOT_NEEDED.name}
    if NOT_NEEDED.name not in candidate.verdicts or candidate_checks.deciding_failure(others):
        return None
    return replace(candidate, verdicts=others)
