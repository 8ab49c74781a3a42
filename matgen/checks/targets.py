"""Whether predicted properties meet their targets."""

import math
from dataclasses import dataclass

from matgen.structures.candidate import Candidate, Verdict


@dataclass(frozen=True)
class Interval:
    """Wanted values of a property; an open side is infinite.

    Attributes:
        low: smallest wanted value.
        high: largest wanted value; equal to `low` for a point.
        tolerance: how far outside still counts as met.
        least: no smaller value counts, however near.
    """

    low: float
    high: float
    tolerance: float = 0.0
    least: float = -math.inf

    def __contains__(self, value: float) -> bool:
        return max(self.low - self.tolerance, self.least) <= value <= self.high + self.tolerance

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.low:g} ± {self.tolerance:g}"
        margin = f" ± {self.tolerance:g}" if self.tolerance else ""
        if math.isinf(self.high):
            return f"at least {self.low:g}{margin}"
        if math.isinf(self.low):
            return f"at most {self.high:g}{margin}"
        return f"{self.low:g} to {self.high:g}{margin}"


def target_met(candidate: Candidate, name: str, target: Interval, confidence: float = 0.0) -> Verdict:
    """The predicted median of a property lies in the wanted interval, and it is probable enough that the property does.

    Args:
        candidate: with predictions.
        name: of the property.
        target: wanted values.
        confidence: least probability, where the prediction tells one.
    """
    predicted = candidate.properties.get(name)
    label = f"target_{name}"
    if predicted is None:
        return Verdict(label, passed=False, value=math.nan, unit="", reason=f"no prediction of {name}")
    inside = predicted.value in target
    met = "is" if inside else "target missed: is not"
    reason = f"{predicted.value:.3g} ± {predicted.spread:.2g} {predicted.unit} {met} {target}"
    if inside and predicted.probability < confidence:
        reason = f"target doubtful: {reason} with a probability of {predicted.probability:.2f}, below {confidence:.2g}"
        return Verdict(label, passed=False, value=predicted.value, unit=predicted.unit, reason=reason)
    return Verdict(label, inside, predicted.value, predicted.unit, reason)
