"""Errors of predicted gaps."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from matgen.targets.calibration import coverage
from matgen.targets.distributions import Distribution, median
from matgen.targets.properties import PROPERTIES

METAL = PROPERTIES["band_gap"].zero
"""eV up to which a crystal counts as a metal."""


@dataclass(frozen=True)
class Errors:
    """Errors of predictions against gaps; NaN without gaps.

    Attributes:
        n: gaps.
        mae: mean absolute error of the median, eV.
        nll: mean negative log-likelihood.
        bias: mean of median minus gap, eV.
        metals: share of crystals that are classified correctly as metal or non-metal.
        coverage: share of gaps within the central 90 % of the distribution.
    """

    n: int = 0
    mae: float = math.nan
    nll: float = math.nan
    bias: float = math.nan
    metals: float = math.nan
    coverage: float = math.nan

    @classmethod
    def of(cls, predicted: Distribution, gap: Tensor) -> "Errors":
        """Return the errors of a distribution (n,) against gaps (n,), eV."""
        middle = median(predicted)
        is_metal = predicted.log_prob(torch.zeros_like(gap)).exp() > 0.5
        return cls(
            len(gap),
            mae=(middle - gap).abs().mean().item(),
            nll=-predicted.log_prob(gap).mean().item(),
            bias=(middle - gap).mean().item(),
            metals=(is_metal == (gap <= METAL)).double().mean().item(),
            coverage=coverage(predicted, gap).mean().item(),
        )
