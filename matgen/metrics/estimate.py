"""A figure with its denominator and interval, and the kinds that most figures are: shares, means and medians."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from matgen.errors import UserError


class MetricError(UserError, ValueError):
    """Figures that were asked for in a way that makes no sense."""


@dataclass(frozen=True)
class Estimate:
    """One figure.

    Attributes:
        name: what is measured.
        value: the figure, in `unit`; a share lies between 0 and 1. NaN where nothing could be measured.
        low: lower end of the interval.
        high: upper end of the interval.
        numerator: how many structures made the figure: those that passed, or those that were averaged.
        denominator: out of how many.
        unit: empty for pure numbers.
        share: whether the value is numerator over denominator.
        how: thresholds, potential, reference: whatever the figure depends on, in words.
    """

    name: str
    value: float
    low: float
    high: float
    numerator: int
    denominator: int
    unit: str
    share: bool
    how: str


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are found: percentiles over resampled sets.

    Attributes:
        replicates: how many resampled sets.
        seed: of the random numbers; a figure's own depend on the seed and its name alone.
        level: probability inside the interval.
    """

    replicates: int = 1000
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        """Check at the border.

        Raises:
            MetricError: no replicates, or a level that is no probability.
        """
        if self.replicates < 1:
            raise MetricError(f"expected at least one bootstrap replicate, got {self.replicates}; 1000 is usual")
        if not 0 < self.level < 1:
            raise MetricError(f"expected a level between 0 and 1, got {self.level}; 0.95 is usual")

    def generator(self, name: str) -> np.random.Generator:
        """Random numbers of one figure, whatever else is measured beside it."""
        digest = hashlib.sha256(f"{self.seed} {name}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big"))

    def interval(self, value: float, replicates: np.ndarray) -> tuple[float, float]:
        """Percentiles of the resampled figures, widened to hold the figure itself.

        A distance between distributions can only grow by resampling, so that its percentiles alone may miss it.
        """
        if not len(replicates):
            return value, value
        low, high = np.quantile(replicates, [(1 - self.level) / 2, (1 + self.level) / 2])
        return min(float(low), value), max(float(high), value)


def share(
    name: str, passed: Sequence[bool], requested: int | None = None, bootstrap: Bootstrap | None = None, how: str = ""
) -> Estimate:
    """How many of those requested pass.

    The interval is the bootstrap's: resampled flags have a binomial count. Where all pass or none, resampling is blind,
    and the end that is not 0 or 1 is the exact binomial (Clopper–Pearson) bound.

    Args:
        name: of the figure.
        passed: one flag per structure that came.
        requested: how many were asked for; those that did not come count as failed. All came if left out.
        bootstrap: of the interval; the usual one if left out.
        how: what the figure depends on.

    Raises:
        MetricError: more came than were requested.
    """
    bootstrap = bootstrap or Bootstrap()
    total = len(passed) if requested is None else requested
    if total < len(passed):
        raise MetricError(f"expected at least the {len(passed)} structures that came as requested, got {total}")
    hits = sum(map(bool, passed))
    if not total:
        return Estimate(name, math.nan, math.nan, math.nan, 0, 0, "", share=True, how=how)
    value = hits / total
    if 0 < hits < total:
        counts = bootstrap.generator(name).binomial(total, value, bootstrap.replicates)
        low, high = bootstrap.interval(value, counts / total)
    else:
        bound = 1 - ((1 - bootstrap.level) / 2) ** (1 / total)
        low, high = (0.0, bound) if hits == 0 else (1 - bound, 1.0)
    return Estimate(name, value, low, high, hits, total, "", share=True, how=how)


def average(
    name: str,
    values: Sequence[float],
    requested: int | None = None,
    bootstrap: Bootstrap | None = None,
    unit: str = "",
    how: str = "",
) -> Estimate:
    """The mean of the finite values; how many there are, of how many requested, stands beside it.

    Args:
        name: of the figure.
        values: one per structure; NaN where it has none.
        requested: how many were asked for; as many as values if left out.
        bootstrap: of the interval; the usual one if left out.
        unit: of the values.
        how: what the figure depends on.
    """
    return _middle(np.mean, name, values, requested, bootstrap, unit, how)


def median(
    name: str,
    values: Sequence[float],
    requested: int | None = None,
    bootstrap: Bootstrap | None = None,
    unit: str = "",
    how: str = "",
) -> Estimate:
    """The median of the finite values, which a few large ones do not move; arguments as of `average`."""
    return _middle(np.median, name, values, requested, bootstrap, unit, how)


def _middle(
    middle: Callable[..., Any],
    name: str,
    values: Sequence[float],
    requested: int | None,
    bootstrap: Bootstrap | None,
    unit: str,
    how: str,
) -> Estimate:
    bootstrap = bootstrap or Bootstrap()
    total = len(values) if requested is None else requested
    finite = np.array([value for value in values if math.isfinite(value)])
    if not len(finite):
        return Estimate(name, math.nan, math.nan, math.nan, 0, total, unit, share=False, how=how)
    value = float(middle(finite))
    rows = bootstrap.generator(name).integers(len(finite), size=(bootstrap.replicates, len(finite)))
    low, high = bootstrap.interval(value, middle(finite[rows], axis=1))
    return Estimate(name, value, low, high, len(finite), total, unit, share=False, how=how)


def pooled_share(
    name: str, passed: Sequence[int], counts: Sequence[int], bootstrap: Bootstrap | None = None, how: str = ""
) -> Estimate:
    """How many parts of all structures pass, such as atoms; the interval resamples structures, not their parts.

    Args:
        name: of the figure.
        passed: parts of each structure that pass.
        counts: its parts.
        bootstrap: of the interval; the usual one if left out.
        how: what the figure depends on.
    """
    bootstrap = bootstrap or Bootstrap()
    hits, total = sum(passed), sum(counts)
    if not total:
        return Estimate(name, math.nan, math.nan, math.nan, 0, 0, "", share=True, how=how)
    n = len(counts)
    weights = bootstrap.generator(name).multinomial(n, np.full(n, 1 / n), size=bootstrap.replicates)
    of_each = weights @ np.column_stack([passed, counts])
    sampled = of_each[of_each[:, 1] > 0]
    low, high = bootstrap.interval(hits / total, sampled[:, 0] / sampled[:, 1])
    return Estimate(name, hits / total, low, high, hits, total, "", share=True, how=how)
