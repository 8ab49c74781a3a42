"""Estimates with denominators and bootstrap intervals: shares, means and medians."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from matgen.errors import UserError

AT_ONCE = 2_000_000
"""Resampled values that are in memory together: 16 MB."""


class MetricError(UserError, ValueError):
    """Invalid arguments of a metric."""


@dataclass(frozen=True)
class Estimate:
    """One metric of a set.

    Attributes:
        name: of the metric.
        value: in `unit`; a share lies between 0 and 1. NaN where nothing could be measured.
        low: lower end of the interval.
        high: upper end of the interval.
        numerator: number of structures that passed, or that were averaged.
        denominator: number of structures requested.
        unit: empty for pure numbers.
        share: whether the value is numerator over denominator.
        how: what the value depends on, in words: thresholds, potential, reference.
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
    """Settings of bootstrap intervals: percentiles over resampled sets.

    Attributes:
        replicates: number of resampled sets.
        seed: of the random numbers, which depend on it and on the name of the metric.
        level: confidence level.
    """

    replicates: int = 1000
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        """Check replicates and level.

        Raises:
            MetricError: no replicates, or a level that is not between 0 and 1.
        """
        if self.replicates < 1:
            raise MetricError(f"expected at least one bootstrap replicate, got {self.replicates}; 1000 is usual")
        if not 0 < self.level < 1:
            raise MetricError(f"expected a level between 0 and 1, got {self.level}; 0.95 is usual")

    def generator(self, name: str) -> np.random.Generator:
        """Return the random generator of one metric, independent of all others."""
        digest = hashlib.sha256(f"{self.seed} {name}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big"))

    def interval(self, value: float, replicates: np.ndarray) -> tuple[float, float]:
        """Return percentiles of the resampled values, widened to contain the value itself.

        Resampling tends to increase distances between distributions, so their percentiles alone may miss the value.
        """
        if not len(replicates):
            return value, value
        low, high = np.quantile(replicates, [(1 - self.level) / 2, (1 + self.level) / 2])
        return min(float(low), value), max(float(high), value)


def share(
    name: str, passed: Sequence[bool], requested: int | None = None, bootstrap: Bootstrap | None = None, how: str = ""
) -> Estimate:
    """Return the share of requested structures that pass.

    The interval is that of the bootstrap: the count of resampled flags is binomial. If all pass or none, resampling
    gives no spread, and the end that is not 0 or 1 is the exact binomial (Clopper–Pearson) bound.

    Args:
        name: of the metric.
        passed: one flag per structure.
        requested: number of structures requested, by default as many as flags; missing ones count as failed.
        bootstrap: of the interval; the defaults if left out.
        how: what the value depends on.

    Raises:
        MetricError: there are more flags than requested structures.
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
    """Return the mean of the finite values, with their number and the number requested.

    Args:
        name: of the metric.
        values: one per structure; NaN where it has none.
        requested: number of structures requested; as many as values if left out.
        bootstrap: of the interval; the defaults if left out.
        unit: of the values.
        how: what the value depends on.
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
    """Return the median of the finite values, which is robust to outliers; for arguments see `average`."""
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
    random, n = bootstrap.generator(name), len(finite)
    rows = (random.integers(n, size=(size, n)) for size in _parts(bootstrap.replicates, n))
    low, high = bootstrap.interval(value, np.concatenate([middle(finite[some], axis=1) for some in rows]))
    return Estimate(name, value, low, high, len(finite), total, unit, share=False, how=how)


def pooled_share(
    name: str, passed: Sequence[int], counts: Sequence[int], bootstrap: Bootstrap | None = None, how: str = ""
) -> Estimate:
    """Return the share of parts, such as atoms, that pass over all structures; the interval resamples structures.

    Args:
        name: of the metric.
        passed: number of parts that pass, of each structure.
        counts: number of parts of each structure.
        bootstrap: of the interval; the defaults if left out.
        how: what the value depends on.
    """
    bootstrap = bootstrap or Bootstrap()
    hits, total = sum(passed), sum(counts)
    if not total:
        return Estimate(name, math.nan, math.nan, math.nan, 0, 0, "", share=True, how=how)
    n = len(counts)
    random, each = bootstrap.generator(name), np.column_stack([passed, counts])
    found = [random.multinomial(n, np.full(n, 1 / n), size=size) @ each for size in _parts(bootstrap.replicates, n)]
    of_each = np.concatenate(found)
    sampled = of_each[of_each[:, 1] > 0]
    low, high = bootstrap.interval(hits / total, sampled[:, 0] / sampled[:, 1])
    return Estimate(name, hits / total, low, high, hits, total, "", share=True, how=how)


def _parts(replicates: int, n: int) -> list[int]:
    """Return numbers of resampled sets of n values to hold in memory at a time; they add up to all of them."""
    size = max(1, min(replicates, AT_ONCE // max(n, 1)))
    return [min(size, replicates - start) for start in range(0, replicates, size)]
