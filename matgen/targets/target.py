"""Property targets: their syntax and their energy.

The energy of a target is minus the log probability that it is met, -log P(|y - target| ≤ tolerance), under the whole
distribution that a model or an ensemble predicts; disagreement of members raises it. A metal cannot have a gap of
1.5 eV, so the energy grows without limit as the model becomes certain of a metal; a target of zero gap gives
-log P(metal).
"""

import difflib
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from matgen.errors import UserError
from matgen.targets.distributions import Distribution
from matgen.targets.properties import CRYSTAL_PROPERTIES, PROPERTIES, Property

ABOVE_ZERO = 1e-6
"""Lower limit of a target `>0` for a property whose zero has a special meaning, in its unit."""


class TargetError(UserError, ValueError):
    """A target that cannot be parsed or cannot be met."""


@dataclass(frozen=True)
class Target:
    """Target of one property.

    Attributes:
        name: of the property.
        low: lower limit; minus infinity if open.
        high: upper limit; infinity if open.
        point: whether low = high is a value to be met within the tolerance of the property.
        described: the property; left out, it is the one of `PROPERTIES` with this name.
    """

    name: str
    low: float
    high: float
    point: bool
    described: Property | None = None

    @property
    def asked(self) -> Property:
        """The property."""
        return self.described or PROPERTIES[self.name]

    @property
    def tolerance(self) -> float:
        """Allowed deviation from a point; 0 for a range.

        A point target of zero, if zero has a special meaning, is met only by values that count as zero: by metals.
        """
        if not self.point:
            return 0.0
        requested = self.asked
        if requested.relative:
            return requested.tolerance * abs(self.low)
        return requested.zero if self.low <= requested.zero and requested.zero > 0 else requested.tolerance

    @property
    def least(self) -> float:
        """Smallest value that can meet the target: a metal does not meet a target of 0.1 eV."""
        zero = self.asked.zero
        return zero + ABOVE_ZERO if self.point and 0 <= zero < self.low else -math.inf

    @property
    def window(self) -> tuple[float, float]:
        """Lower and upper limit of the values that meet the target."""
        return max(self.low - self.tolerance, self.least), self.high + self.tolerance

    def met(self, value: float) -> bool:
        """Return whether a value lies in the range, or within the tolerance of the point."""
        low, high = self.window
        return low <= value <= high

    def log_probability(self, distribution: Distribution) -> Tensor:
        """Return log P(target) (n_systems,)."""
        low, high = self.window
        return distribution.log_between(torch.tensor(low), torch.tensor(high))

    def energy(self, distribution: Distribution) -> Tensor:
        """Return -log P(target) (n_systems,)."""
        return -self.log_probability(distribution)

    def __str__(self) -> str:
        unit = self.asked.unit
        if self.point:
            return f"{self.name} = {self.low:g} {unit}".rstrip()
        if math.isinf(self.high):
            return f"{self.name} > {self.low:g} {unit}".rstrip()
        if math.isinf(self.low):
            return f"{self.name} <= {self.high:g} {unit}".rstrip()
        return f"{self.name} {self.low:g} to {self.high:g} {unit}".rstrip()


def find_property(name: str, properties: Mapping[str, Property]) -> Property:
    """Return the property with a name or alias.

    Raises:
        TargetError: there is none.
    """
    names = {alias: p for p in properties.values() for alias in p.aliases} | {p.name: p for p in properties.values()}
    key = name.strip().lower().replace("-", "_").replace(" ", "_")
    if key not in names:
        close = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
        hint = f"did you mean {names[close[0]].name}?" if close else "choose one of these"
        raise TargetError(f"expected one of {', '.join(properties)}, got {name!r}; {hint}")
    return names[key]


_NUMBER = r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*"
_POINT = re.compile(rf"=?{_NUMBER}")
_RANGE = re.compile(rf"{_NUMBER}:{_NUMBER}")
_BOUND = re.compile(rf"\s*(<=|>=|<|>){_NUMBER}")


def parse_target(name: str, text: str, properties: Mapping[str, Property] = CRYSTAL_PROPERTIES) -> Target:
    """Parse a target: `1.5`, `1.2:1.8`, `>3`, `<=0.05`.

    A range that begins at zero includes exactly zero (metals; compounds on the hull); `>0` excludes it.

    Raises:
        TargetError: unknown property, invalid text, or no possible value meets it.
    """
    requested = find_property(name, properties)
    if match := _POINT.fullmatch(text):
        value = float(match[1])
        return _possible(requested, _target(requested, value, value, point=True), text)
    if match := _RANGE.fullmatch(text):
        low, high = float(match[1]), float(match[2])
        if low > high:
            raise TargetError(f"expected a {requested.name} range low:high, got {text!r}; write {match[2]}:{match[1]}")
        return _possible(requested, _target(requested, low, high, point=low == high), text)
    if match := _BOUND.fullmatch(text):
        return _possible(requested, _one_sided(requested, match[1], float(match[2])), text)
    raise TargetError(f"expected {requested.name} as 1.5, 1.2:1.8, '>3' or '<=0.05' ({requested.unit}), got {text!r}")


def parse_targets(
    texts: Mapping[str, object], properties: Mapping[str, Property] = CRYSTAL_PROPERTIES
) -> tuple[Target, ...]:
    """Parse targets by property name, for the properties of one kind.

    Raises:
        TargetError: one cannot be parsed or met, or two are for the same property.
    """
    targets = tuple(parse_target(name, str(text), properties) for name, text in texts.items())
    for name, count in Counter(target.name for target in targets).items():
        if count > 1:
            raise TargetError(
                f"expected one target for each property, got {count} for {name}; drop one or use low:high"
            )
    return targets


def _target(requested: Property, low: float, high: float, *, point: bool = False) -> Target:
    usual = PROPERTIES.get(requested.name) is requested
    return Target(requested.name, low, high, point, None if usual else requested)


def _one_sided(requested: Property, sign: str, value: float) -> Target:
    if sign == "<" and value <= requested.lowest:
        raise TargetError(
            f"expected a {requested.name} that exists, got '<{value:g}'; none lies below {requested.lowest:g}"
        )
    if requested.whole and sign in ("<", ">"):
        sign, value = f"{sign}=", value + (1 if sign == ">" else -1)
    if sign in ("<", "<="):
        return _target(requested, -math.inf, value)
    low = max(value, requested.zero + ABOVE_ZERO) if sign == ">" else value
    return _target(requested, low, math.inf)


def _possible(requested: Property, target: Target, text: str) -> Target:
    ends = [end for end in (target.low, target.high) if math.isfinite(end)]
    if requested.whole and any(end != round(end) for end in ends):
        raise TargetError(f"expected {requested.name} in whole numbers, such as 3, 2:4 or '<=3', got {text!r}")
    positive = not requested.relative or target.high > requested.lowest
    if positive and all(requested.lowest <= end <= requested.highest for end in ends):
        return target
    limits = f"{requested.lowest:g} to {requested.highest:g} {requested.unit}".rstrip()
    limits = f"more than {limits}" if requested.relative else limits
    raise TargetError(f"expected a {requested.name} of {limits}, got {text!r}; nothing known lies outside")
