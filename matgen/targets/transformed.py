"""Distributions of a monotonically increasing function of a number whose distribution is known.

A positive quantity that varies over orders of magnitude, such as a modulus, is predicted as the logistic distribution
of its decimal logarithm. Probabilities of intervals and quantiles are exact: they are those of the transformed limits.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from matgen.targets.distributions import Distribution, Logistic


class Transform(ABC):
    """A monotonically increasing function y(z) of a real number."""

    @abstractmethod
    def of(self, z: Tensor) -> Tensor:
        """Return y(z)."""

    @abstractmethod
    def inverse(self, y: Tensor) -> Tensor:
        """Return z(y); minus infinity or infinity where y lies below or above all values of the function."""

    @abstractmethod
    def log_slope(self, y: Tensor) -> Tensor:
        """Return log dz/dy, for y within the range of the function."""


@dataclass(frozen=True)
class PowerOfTen(Transform):
    """y = 10^z: a quantity from its decimal logarithm."""

    def of(self, z: Tensor) -> Tensor:
        """Return 10^z."""
        return 10.0**z

    def inverse(self, y: Tensor) -> Tensor:
        """Return log10 y, minus infinity for y ≤ 0."""
        return y.clamp_min(0.0).log10()

    def log_slope(self, y: Tensor) -> Tensor:
        """Return -log(y ln 10)."""
        return -(y * math.log(10)).log()


@dataclass(frozen=True)
class PoissonOfLogRatio(Transform):
    """Poisson ratio of an isotropic solid from z = log10(K/G): ν = (3 K/G - 2) / (6 K/G + 2), from -1 to 1/2."""

    def of(self, z: Tensor) -> Tensor:
        """Return ν."""
        ratio = 10.0**z
        return (3 * ratio - 2) / (6 * ratio + 2)

    def inverse(self, y: Tensor) -> Tensor:
        """Return log10 of K/G = 2 (1 + ν) / (3 (1 - 2 ν))."""
        return (2 * (1 + y).clamp_min(0.0) / (3 * (1 - 2 * y).clamp_min(0.0))).log10()

    def log_slope(self, y: Tensor) -> Tensor:
        """Return log of 3 / ((1 + ν) (1 - 2 ν) ln 10)."""
        return (3 / ((1 + y) * (1 - 2 * y) * math.log(10))).log()


@dataclass(frozen=True)
class Transformed(Distribution):
    """Distribution of y(z).

    Attributes:
        base: distribution of z.
        transform: y(z).
    """

    base: Distribution
    transform: Transform

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density (n_systems,) at a value; minus infinity outside the range of y."""
        value = torch.as_tensor(value)
        z = self.transform.inverse(value)
        inside = z.isfinite()
        middle = self.transform.of(torch.zeros_like(z))
        density = self.base.log_prob(torch.where(inside, z, 0.0)) + self.transform.log_slope(
            torch.where(inside, value, middle)
        )
        return torch.where(inside, density, -math.inf)

    def log_between(self, low: Tensor, high: Tensor) -> Tensor:
        """Return log P(low ≤ y ≤ high) (n_systems,)."""
        return self.base.log_between(self.transform.inverse(low), self.transform.inverse(high))

    def quantile(self, level: Tensor) -> Tensor:
        """Return the quantile (n_systems,) of a probability `level`."""
        return self.transform.of(self.base.quantile(level))


def log_logistic(loc: Tensor, scale: Tensor) -> Transformed:
    """Return the distribution of a positive quantity whose decimal logarithm is logistic.

    Args:
        loc: mean of log10 y (n_systems,).
        scale: of log10 y, √3/π of its standard deviation (n_systems,).
    """
    return Transformed(Logistic(loc, scale), PowerOfTen())
