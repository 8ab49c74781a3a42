"""Distributions that models predict for a property.

All are built on the logistic distribution. Its CDF is a sigmoid, so the probability of any interval has a closed form
that stays finite in float32 however far out the interval lies, and its tails give an energy that grows linearly, not
quadratically, with the distance from the target.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

_FAR = 1e6


_LARGEST_EXPONENT = math.log(500.0)  # 10 eV/atom above the hull; higher quantiles have no meaning


@dataclass(frozen=True)
class Summary:
    """A predicted distribution in three numbers, each field (n_systems,), in the property's unit.

    The median is used because the mean can be an impossible value: for a crystal that is equally likely a metal and a
    3 eV insulator, it is a gap of 1.5 eV.

    Attributes:
        value: median.
        spread: standard deviation of the whole distribution.
        epistemic: the part due to disagreement of the members of an ensemble, the standard deviation of their means;
            zero for one member. The rest, √(spread² - epistemic²), is aleatoric: the uncertainty of each member.
    """

    value: Tensor
    spread: Tensor
    epistemic: Tensor


class Distribution(ABC):
    """A distribution of one real number per system."""

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density (n_systems,) at a value (n_systems,) or scalar; at a point mass, log probability."""

    @abstractmethod
    def log_between(self, low: Tensor, high: Tensor) -> Tensor:
        """Return log P(low ≤ y ≤ high) (n_systems,); limits may be infinite."""

    @abstractmethod
    def quantile(self, level: Tensor) -> Tensor:
        """Return the quantile (n_systems,) of a probability `level`."""

    def samples(self, n: int) -> Tensor:
        """Return quantiles (n, n_systems) at the midpoints of n intervals of equal probability."""
        levels = (torch.arange(n, device=median(self).device) + 0.5) / n
        return self.quantile(levels[:, None])

    def summary(self) -> Summary:
        """Return median and standard deviations, from `samples`, so that they stay finite for a logarithmic tail."""
        shares, parts = zip(*members(self), strict=True)
        weight = torch.tensor(shares)[:, None]
        means = torch.stack([part.samples(200).mean(0) for part in parts])
        between = (weight.to(means) * (means - (weight.to(means) * means).sum(0)).square()).sum(0)
        return Summary(median(self), self.samples(200).std(0, unbiased=False), between.sqrt())


def cdf(distribution: Distribution, value: Tensor) -> Tensor:
    """Return P(y ≤ value) (n_systems,)."""
    return distribution.log_between(torch.full_like(value, -math.inf), value).exp()


def median(distribution: Distribution) -> Tensor:
    """Return the median (n_systems,), which minimises the expected absolute error."""
    return distribution.quantile(torch.tensor(0.5))


def interval(distribution: Distribution, coverage: float = 0.9) -> tuple[Tensor, Tensor]:
    """Return the limits (n_systems,) of the central interval with probability `coverage`."""
    tail = torch.tensor((1 - coverage) / 2)
    return distribution.quantile(tail), distribution.quantile(1 - tail)


@dataclass(frozen=True)
class Logistic(Distribution):
    """Logistic distribution with density sech²((y - loc) / 2 scale) / 4 scale.

    Attributes:
        loc: mean and median (n_systems,).
        scale: √3/π of the standard deviation (n_systems,).
    """

    loc: Tensor
    scale: Tensor

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density (n_systems,) at a value."""
        z = (value - self.loc) / self.scale
        return F.logsigmoid(z) + F.logsigmoid(-z) - self.scale.log()

    def log_between(self, low: Tensor, high: Tensor) -> Tensor:
        """Return log P(low ≤ y ≤ high) (n_systems,)."""
        # σ(b) - σ(a) = σ(b) σ(-a) (1 - exp(a - b)): avoids differences of nearly equal numbers.
        a = (low.clamp(-_FAR, _FAR) - self.loc) / self.scale
        b = (high.clamp(-_FAR, _FAR) - self.loc) / self.scale
        return F.logsigmoid(b) + F.logsigmoid(-a) + (-torch.expm1(-(b - a).clamp_min(1e-20))).log()

    def quantile(self, level: Tensor) -> Tensor:
        """Return the quantile (n_systems,) of a probability `level`."""
        return self.loc + self.scale * torch.logit(level)

    def summary(self) -> Summary:
        """Return median and standard deviation."""
        return Summary(self.loc, self.scale * (math.pi / math.sqrt(3)), torch.zeros_like(self.loc))


@dataclass(frozen=True)
class Hurdle(Distribution):
    """Hurdle distribution: zero with probability σ(zero_logit), otherwise positive.

    The positive part, transformed to z = bend * log1p(y / bend), is a logistic truncated at zero; an infinite bend
    means z = y.

    Attributes:
        zero_logit: log odds of exactly zero (n_systems,).
        loc: of the truncated logistic (n_systems,).
        scale: of the truncated logistic (n_systems,).
        bend: value at which y turns from linear to logarithmic, in the property's unit.
        zero: values up to this count as zero.
    """

    zero_logit: Tensor
    loc: Tensor
    scale: Tensor
    bend: float
    zero: float

    @property
    def _positive(self) -> Logistic:
        return Logistic(self.loc, self.scale)

    @property
    def _log_truncation(self) -> Tensor:
        return F.logsigmoid(self.loc / self.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density (n_systems,) at a value; log P(0) for values up to `zero`."""
        y = value.clamp_min(0.0)
        slope = 0.0 if math.isinf(self.bend) else torch.log1p(y / self.bend)
        density = self._positive.log_prob(_bent(y, self.bend)) - self._log_truncation - slope
        return torch.where(value <= self.zero, F.logsigmoid(self.zero_logit), F.logsigmoid(-self.zero_logit) + density)

    def log_between(self, low: Tensor, high: Tensor) -> Tensor:
        """Return log P(low ≤ y ≤ high) (n_systems,); includes zero if low ≤ 0 ≤ high."""
        low, high = low.to(self.loc), high.to(self.loc)
        a, b = (_bent(limit.clamp(0.0, _FAR), self.bend) for limit in (low, high))
        density = F.logsigmoid(-self.zero_logit) + self._positive.log_between(a, b) - self._log_truncation
        with_zero = torch.logaddexp(F.logsigmoid(self.zero_logit), density)
        return torch.where((low <= 0) & (high >= 0), with_zero, density)

    def quantile(self, level: Tensor) -> Tensor:
        """Return the quantile (n_systems,) of a probability `level`."""
        zero = torch.sigmoid(self.zero_logit)
        rest = ((level - zero) / (1 - zero).clamp_min(1e-12)).clamp(0.0, 1.0)
        above = ((1 - rest) * self._log_truncation.exp()).clamp(1e-30, 1.0)
        z = self.loc + self.scale * (torch.log1p(-above) - above.log())
        return torch.where(level <= zero, 0.0, _unbent(z.clamp_min(0.0), self.bend))


@dataclass(frozen=True)
class Mixture(Distribution):
    """Mixture of distributions with equal weights.

    Attributes:
        parts: distributions of the same systems.
    """

    parts: tuple[Distribution, ...]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density (n_systems,) at a value."""
        return self._mean([part.log_prob(value) for part in self._parts(value.ndim)])

    def log_between(self, low: Tensor, high: Tensor) -> Tensor:
        """Return log P(low ≤ y ≤ high) (n_systems,)."""
        return self._mean([part.log_between(low, high) for part in self._parts(max(low.ndim, high.ndim))])

    def _parts(self, ndim: int) -> tuple[Distribution, ...]:
        """Return the parts, or one distribution of all parts (n_parts, ..., n_systems) for values of these dimensions.

        Parts of one kind are evaluated together, which gives the same numbers in a fraction of the time.
        """
        one = _stacked(self.parts, max(ndim - 1, 0))
        return self.parts if one is None else (one,)

    def _mean(self, logs: list[Tensor]) -> Tensor:
        together = logs[0] if len(logs) < len(self.parts) else torch.stack(logs)
        return together.logsumexp(0) - math.log(len(self.parts))

    def quantile(self, level: Tensor) -> Tensor:
        """Return the quantile (n_systems,) of a probability `level`, by bisection between those of the parts."""
        values = self._quantiles(level)
        lowest, high = values.amin(0), values.amax(0)
        # The lower end of a gap in the density is the quantile; the tolerance absorbs rounding.
        level = level.to(lowest) - 8 * torch.finfo(lowest.dtype).eps
        low, parts, least = lowest, self._parts(lowest.ndim), torch.full_like(lowest, -math.inf)

        def below_level(value: Tensor) -> Tensor:
            return self._mean([part.log_between(least, value) for part in parts]).exp() < level

        for _ in range(40):
            middle = (low + high) / 2
            below = below_level(middle)
            before = low, high
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
            if torch.equal(low, before[0]) and torch.equal(high, before[1]):
                break  # neighbouring numbers
        return torch.where(below_level(lowest), high, lowest)

    def _quantiles(self, level: Tensor) -> Tensor:
        """Return the quantile of each part (n_parts, ..., n_systems)."""
        found = [part.quantile(level) for part in self._parts(level.ndim)]
        return found[0] if len(found) < len(self.parts) else torch.stack(found)

    def samples(self, n: int) -> Tensor:
        """Return quantiles (n n_parts, n_systems) of all parts."""
        if _stacked(self.parts, 1) is not None:
            levels = (torch.arange(n, device=median(self.parts[0]).device) + 0.5) / n
            return self._quantiles(levels[:, None]).flatten(0, 1)
        samples = [part.samples(n) for part in self.parts]
        even = math.lcm(*map(len, samples))  # a part that is itself a mixture has more
        return torch.cat([some.repeat_interleave(even // len(some), dim=0) for some in samples])


def _stacked(parts: tuple[Distribution, ...], dimensions: int) -> Distribution | None:
    """Return several logistic or hurdle distributions as one (n_parts, ..., n_systems); None for other parts.

    Args:
        parts: distributions of the same systems.
        dimensions: number of dimensions between those of parts and systems.
    """

    def together(columns: Sequence[Tensor]) -> Tensor:
        found = torch.stack(list(columns))
        return found.view(len(columns), *(1,) * dimensions, *found.shape[1:])

    hurdles = [part for part in parts if isinstance(part, Hurdle)]
    logistics = [part for part in parts if isinstance(part, Logistic)]
    if len(hurdles) == len(parts) and len({(part.bend, part.zero) for part in hurdles}) == 1:
        return replace(
            hurdles[0],
            zero_logit=together([part.zero_logit for part in hurdles]),
            loc=together([part.loc for part in hurdles]),
            scale=together([part.scale for part in hurdles]),
        )
    if len(logistics) == len(parts):
        return Logistic(together([part.loc for part in logistics]), together([part.scale for part in logistics]))
    return None


def members(distribution: Distribution, share: float = 1.0) -> list[tuple[float, Distribution]]:
    """Return the weight and distribution of each component; nested mixtures are expanded."""
    if not isinstance(distribution, Mixture):
        return [(share, distribution)]
    even = share / len(distribution.parts)
    return [one for part in distribution.parts for one in members(part, even)]


def _bent(y: Tensor, bend: float) -> Tensor:
    return y if math.isinf(bend) else bend * torch.log1p(y / bend)


def _unbent(z: Tensor, bend: float) -> Tensor:
    return z if math.isinf(bend) else bend * torch.expm1((z / bend).clamp_max(_LARGEST_EXPONENT))
