"""What predictions must show for a candidate to be accepted: intervals of properties, confidence by round."""

from collections.abc import Iterable

from matgen.checks.targets import Interval
from matgen.generation.request import Request
from matgen.targets.computed import OF_MOMENTS, OF_STRUCTURE
from matgen.targets.target import Target

LESS_EACH_ROUND, LEAST_CONFIDENCE = 0.05, 0.45
"""Decrease of the confidence per round, and its final value as a share of that of the first round."""


def intervals(targets: Iterable[Target]) -> dict[str, Interval]:
    """Return the interval in which each target property must lie, by name."""
    return {target.name: Interval(target.low, target.high, target.tolerance, target.least) for target in targets}


VOLUME_CHANGE = 1.1
"""Factor by which density and volume may miss a target before a relaxation, which changes them."""


def intervals_before_relaxation(targets: Iterable[Target]) -> dict[str, Interval]:
    """Return the intervals that a proposal must meet to be relaxed: wider for volumes, none for magnetic moments."""
    found = {name: one for name, one in intervals(targets).items() if name not in OF_MOMENTS}
    for name in found.keys() & OF_STRUCTURE.keys():
        one = found[name]
        low, high = (one.low - one.tolerance) / VOLUME_CHANGE, (one.high + one.tolerance) * VOLUME_CHANGE
        found[name] = Interval(low, high)
    return found


def confidence_of_round(request: Request, number: int) -> float:
    """Return the least probability that a target is met, in a round of proposals.

    Less confident candidates wait, and are taken when the rounds before found too few. A round proposes for all wanted
    candidates once.

    Args:
        request: what is asked.
        number: of the round, from 0.
    """
    return max(request.selection.confidence - number * LESS_EACH_ROUND, least_confidence(request))


def least_confidence(request: Request) -> float:
    """Return the probability below which no candidate is taken."""
    return request.selection.confidence * LEAST_CONFIDENCE
