"""Calibration of predicted distributions on validation rows, and their coverage."""

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from matgen.targets.distributions import Distribution, Hurdle, Logistic, Mixture, cdf
from matgen.targets.transformed import Transformed


@dataclass(frozen=True)
class Calibration:
    """Correction of the raw distribution of one property, fitted on validation rows.

    Attributes:
        temperature: factor of the scale.
        slope: factor of the log odds of zero.
        bias: added to the log odds of zero (labels of metals are missing more often than others).
    """

    temperature: float = 1.0
    slope: float = 1.0
    bias: float = 0.0

    @classmethod
    def of(cls, row: Tensor) -> Self:
        """Return the calibration of a tensor (3,): temperature, slope, bias."""
        return cls(*row.tolist())


def calibrated(distribution: Distribution, calibration: Calibration) -> Distribution:
    """Return the corrected distribution."""
    match distribution:
        case Logistic():
            return replace(distribution, scale=distribution.scale * calibration.temperature)
        case Hurdle():
            logit = distribution.zero_logit * calibration.slope + calibration.bias
            return replace(distribution, scale=distribution.scale * calibration.temperature, zero_logit=logit)
        case Transformed():
            return replace(distribution, base=calibrated(distribution.base, calibration))
    raise TypeError(distribution)


def coverage(distribution: Distribution, value: Tensor, level: float = 0.9) -> Tensor:
    """Return the fraction (n_systems,) of each value's probability rank that lies within the central `level`.

    It is one or zero for a continuous value. A value at a point mass has an interval of ranks, [0, P(0)], and counts
    with the fraction of it that lies inside, so that the mean is `level` for a calibrated hurdle model too; a plain
    interval covers more.
    """
    tail = (1 - level) / 2
    top = cdf(distribution, value)
    inside = ((top >= tail) & (top <= 1 - tail)).to(top)
    atom = distribution.log_prob(torch.zeros_like(value)).exp()
    share = (atom.clamp_max(1 - tail) - tail).clamp_min(0.0) / atom.clamp_min(1e-12)
    return torch.where(value <= _atom(distribution), share, inside)


def _atom(distribution: Distribution) -> float:
    """Return the upper end of the values that form a point mass; minus infinity if there is none."""
    match distribution:
        case Hurdle(zero=zero):
            return zero
        case Mixture(parts=parts):
            return _atom(parts[0])
    return -math.inf
