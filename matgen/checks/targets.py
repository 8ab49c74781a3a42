"""Checks of predicted properties against their targets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from matgen.checks.verdicts import Check
from matgen.structures.candidate import Candidate, Verdict


@dataclass(frozen=True)
class Interval:
    """Target values of a property; an open side is infinite.

    Attributes:
        low: smallest target value.
        high: largest target value; equal to `low` for a point.
        tolerance: distance outside that still counts as met.
        least: least value that counts as met.
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
    """The predicted median of a property lies in the target interval, and so does the property with enough confidence.

    Args:
        candidate: with predictions.
        name: of the property.
        target: target values.
        confidence: least probability, where the prediction has one.
    """
    predicted = candidate.properties.get(name)
    label = f"target_{name}"
    if predicted is None:
        return Verdict(label, passed=False, value=math.nan, unit="", reason=f"no prediction of {name}")
    if math.isnan(predicted.value):
        reason = f"target missed: the {name} is unknown, as is that of an element, or CHGNet cannot read the structure"
        return Verdict(label, passed=False, value=math.nan, unit=predicted.unit, reason=reason)
    inside = predicted.value in target
    met = "is" if inside else "target missed: is not"
    spread = f" ± {predicted.spread:.2g}" if predicted.spread else ""
    reason = f"{predicted.value:.3g}{spread} {predicted.unit} {met} {target}"
    if inside and predicted.probability < confidence:
        reason = f"target uncertain: {reason} with a probability of {predicted.probability:.2f}, below {confidence:.2g}"
        return Verdict(label, passed=False, value=predicted.value, unit=predicted.unit, reason=reason)
    return Verdict(label, inside, predicted.value, predicted.unit, reason)


def target_checks(targets: Mapping[str, Interval], confidence: float) -> dict[str, Check]:
    """Return a check of each target, by the name `target_` and the property."""
    return {
        f"target_{name}": partial(target_met, name=name, target=target, confidence=confidence)
        for name, target in targets.items()
    }
