"""The properties that can be wished for, and the distributions that models predict for them.

Everything rests on the logistic distribution: its CDF is a sigmoid, so that the probability of any interval has a
closed form that stays finite in float32 however far out the interval lies, and its tails make an energy that grows
linearly, not quadratically, with the distance from the target.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

HULL_BEND = 0.02
"""Energy above hull (eV/atom) from which on its distribution is logarithmic rather than linear."""

_FAR = 1e6
_LARGEST_EXPONENT = math.log(500.0)  # 10 eV/atom above the hull: further quantiles mean nothing


@dataclass(frozen=True)
class Property:
    """One property.

    Attributes:
        name: as it is written everywhere.
        unit: of every number.
        aliases: other spellings that a person may type.
        lowest: no value lies below this.
        highest: nor above this; generous.
        zero: values up to this count as exactly zero (a metal; a compound on the hull); minus infinity if zero is
            nothing special.
        note: what a reader of the number must know.
        tolerance: how far from a point that is asked for a value may lie and still be it, in the unit.
    """

    name: str
    unit: str
    aliases: tuple[str, ...]
    lowest: float
    highest: float
    zero: float
    note: str
    tolerance: float


CRYSTAL_PROPERTIES: dict[str, Property] = {
    p.name: p
    for p in (
        Property(
            "band_gap",
            "eV",
            ("bandgap", "gap", "eg"),
            0.0,
            20.0,
            0.01,
            "PBE(+U) gap: about a third below experiment",
            0.25,
        ),
        Property(
            "formation_energy",
            "eV/atom",
            ("e_form", "eform", "formation_energy_per_atom"),
            -8.0,
            8.0,
            -math.inf,
            "PBE(+U) with MP2020 corrections, against the elements",
            0.1,
        ),
        Property(
            "energy_above_hull",
            "eV/atom",
            ("ehull", "e_hull", "e_above_hull", "hull"),
            0.0,
            10.0,
            0.0,
            "against the Materials Project hull of 2018-2022",
            0.05,
        ),
    )
}


B3LYP = "B3LYP/6-31G(2df,p)"

MOLECULE_PROPERTIES: dict[str, Property] = {
    p.name: p
    for p in (
        Property(
            "gap", "eV", ("homo_lumo_gap", "bandgap", "band_gap"), 0.0, 20.0, -math.inf, f"HOMO–LUMO gap, {B3LYP}", 0.25
        ),
        Property("homo", "eV", (), -20.0, 5.0, -math.inf, f"orbital energy, {B3LYP}", 0.2),
        Property("lumo", "eV", (), -10.0, 10.0, -math.inf, f"orbital energy, {B3LYP}", 0.2),
        Property(
            "dipole", "D", ("mu", "dipole_moment"), 0.0, 40.0, -math.inf, f"length of the dipole moment, {B3LYP}", 0.5
        ),
        Property(
            "polarizability", "bohr³", ("alpha",), 0.0, 400.0, -math.inf, f"isotropic polarizability, {B3LYP}", 3.0
        ),
        Property(
            "atomization_energy",
            "eV",
            ("u0", "e_atomization"),
            -400.0,
            0.0,
            -math.inf,
            f"U0 minus that of the free atoms, {B3LYP}: negative where the molecule is bound",
            2.0,
        ),
        Property("heat_capacity", "cal/mol/K", ("cv", "c_v"), 0.0, 200.0, -math.inf, f"at 298 K, {B3LYP}", 1.5),
    )
}

PROPERTIES = CRYSTAL_PROPERTIES | MOLECULE_PROPERTIES
"""Of either kind, by name."""

PROPERTIES_OF = {"crystal": CRYSTAL_PROPERTIES, "molecule": MOLECULE_PROPERTIES}


@dataclass(frozen=True)
class Prediction:
    """What a prediction comes to, each (n_systems,), in the property's unit.

    The mean would not do: of a crystal that is as likely a metal as a 3 eV insulator, it is a gap that it cannot have.

    Attributes:
        value: median.
        spread: standard deviation of the whole distribution.
        epistemic: the part of it that the members of an ensemble disagree by: standard deviation of their means. Zero
            where there is one member. The rest, √(spread² - epistemic²), is what each of them doubts: aleatoric.
    """

    value: Tensor
    spread: Tensor
    epistemic: Tensor


class Distribution(ABC):
    """One real number per system, known up to a distribution."""

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """Log density (n_systems,) at a value (n_systems,) or scalar; at an atom, log probability."""

    @abstractmethod
    def log_between(self, low: Tensor, high: Tensor) -> Tensor:
        """Log of P(low ≤ y ≤ high) (n_systems,); infinite limits are welcome."""

    @abstractmethod
    def quantile(self, level: Tensor) -> Tensor:
        """The value (n_systems,) below which a share `level` lies."""

    def samples(self, n: int) -> Tensor:
        """Quantiles (n, n_systems) at the middles of n equal shares of probability."""
        levels = (torch.arange(n, device=median(self).device) + 0.5) / n
        return self.quantile(levels[:, None])

    def prediction(self) -> Prediction:
        """Median and standard deviations, which by equal shares of probability stay finite for a logarithmic tail."""
        shares, parts = zip(*members(self), strict=True)
        weight = torch.tensor(shares)[:, None]
        means = torch.stack([part.samples(200).mean(0) for part in parts])
        between = (weight.to(means) * (means - (weight.to(means) * means).sum(0)).square()).sum(0)
        return Prediction(median(self), self.samples(200).std(0, unbiased=False), between.sqrt())


def cdf(distribution: Distribution, value: Tensor) -> Tensor:
    """P(y ≤ value) (n_systems,)."""
    return distribution.log_between(torch.full_like(value, -math.inf), value).exp()


def median(distribution: Distribution) -> Tensor:
    """The value (n_systems,) that minimises the expected absolute error."""
    return distribution.quantile(torch.tensor(0.5))


def interval(distribution: Distribution, coverage: float = 0.9) -> tuple[Tensor, Tensor]:
    """Limits (n_systems,) of the central interval that holds a share `coverage`."""
    tail = torch.tensor((1 - coverage) / 2)
    return distribution.quantile(tail), distribution.quantile(1 - tail)


@dataclass(frozen=True)
class Logistic(Distribution):
    """Density sech²((y - loc) / 2 scale) / 4 scale.

    Attributes:
        loc: mean and median (n_systems,).
        scale: the standard deviation is π/√3 of it (n_systems,).
    """

    loc: Tensor
    scale: Tensor

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density (n_systems,) at a value."""
        z = (value - self.loc) / self.scale
        return F.logsigmoid(z) + F.logsigmoid(-z) - self.scale.log()

    def log_between(self, low: Tensor, high: Tensor) -> Tensor:
        """Log of P(low ≤ y ≤ high) (n_systems,)."""
        # σ(b) - σ(a) = σ(b) σ(-a) (1 - exp(a - b)): no difference of nearly equal numbers anywhere.
        a = (low.clamp(-_FAR, _FAR) - self.loc) / self.scale
        b = (high.clamp(-_FAR, _FAR) - self.loc) / self.scale
        return F.logsigmoid(b) + F.logsigmoid(-a) + (-torch.expm1(-(b - a).clamp_min(1e-20))).log()

    def quantile(self, level: Tensor) -> Tensor:
        """The value (n_systems,) below which a share `level` lies."""
        return self.loc + self.scale * torch.logit(level)

    def prediction(self) -> Prediction:
        """Median and standard deviation."""
        return Prediction(self.loc, self.scale * (math.pi / math.sqrt(3)), torch.zeros_like(self.loc))


@dataclass(frozen=True)
class Hurdle(Distribution):
    """Zero with probability σ(zero_logit), otherwise positive.

    The positive part, bent to z = bend * log1p(y / bend), is logistic and cut off at zero; an infinite bend means
    z = y.

    Attributes:
        zero_logit: log odds of exactly zero (n_systems,).
        loc: of the logistic that is cut off (n_systems,).
        scale: of the same (n_systems,).
        bend: where y turns from linear to logarithmic, in the property's unit.
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
    def _log_uncut(self) -> Tensor:
        return F.logsigmoid(self.loc / self.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density (n_systems,) at a value; log P(0) up to `zero`."""
        y = value.clamp_min(0.0)
        slope = 0.0 if math.isinf(self.bend) else torch.log1p(y / self.bend)
        density = self._positive.log_prob(_bent(y, self.bend)) - self._log_uncut - slope
        return torch.where(value <= self.zero, F.logsigmoid(self.zero_logit), F.logsigmoid(-self.zero_logit) + density)

    def log_between(self, low: Tensor, high: Tensor) -> Tensor:
        """Log of P(low ≤ y ≤ high) (n_systems,); the zero belongs to it if low ≤ 0 ≤ high."""
        low, high = low.to(self.loc), high.to(self.loc)
        a, b = (_bent(limit.clamp(0.0, _FAR), self.bend) for limit in (low, high))
        density = F.logsigmoid(-self.zero_logit) + self._positive.log_between(a, b) - self._log_uncut
        with_zero = torch.logaddexp(F.logsigmoid(self.zero_logit), density)
        return torch.where((low <= 0) & (high >= 0), with_zero, density)

    def quantile(self, level: Tensor) -> Tensor:
        """The value (n_systems,) below which a share `level` lies."""
        zero = torch.sigmoid(self.zero_logit)
        rest = ((level - zero) / (1 - zero).clamp_min(1e-12)).clamp(0.0, 1.0)
        above = ((1 - rest) * self._log_uncut.exp()).clamp(1e-30, 1.0)
        z = self.loc + self.scale * (torch.log1p(-above) - above.log())
        return torch.where(level <= zero, 0.0, _unbent(z.clamp_min(0.0), self.bend))


@dataclass(frozen=True)
class Mixture(Distribution):
    """One of several distributions, each with equal probability.

    Attributes:
        parts: of the same systems.
    """

    parts: tuple[Distribution, ...]

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density (n_systems,) at a value."""
        return self._mean([part.log_prob(value) for part in self.parts])

    def log_between(self, low: Tensor, high: Tensor) -> Tensor:
        """Log of P(low ≤ y ≤ high) (n_systems,)."""
        return self._mean([part.log_between(low, high) for part in self.parts])

    def _mean(self, logs: list[Tensor]) -> Tensor:
        return torch.stack(logs).logsumexp(0) - math.log(len(logs))

    def quantile(self, level: Tensor) -> Tensor:
        """The value (n_systems,) below which a share `level` lies: it lies among those of the parts, by halving."""
        values = torch.stack([part.quantile(level) for part in self.parts])
        lowest, high = values.amin(0), values.amax(0)
        # Reached but for rounding: where a mixture has no density, its lower end counts.
        level = level.to(lowest) - 8 * torch.finfo(lowest.dtype).eps
        low = lowest
        for _ in range(40):
            middle = (low + high) / 2
            below = cdf(self, middle) < level
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return torch.where(cdf(self, lowest) >= level, lowest, high)

    def samples(self, n: int) -> Tensor:
        """Quantiles (n n_parts, n_systems) that stand for the whole distribution."""
        samples = [part.samples(n) for part in self.parts]
        even = math.lcm(*map(len, samples))  # a part that is a mixture itself has more
        return torch.cat([some.repeat_interleave(even // len(some), dim=0) for some in samples])


def members(distribution: Distribution, share: float = 1.0) -> list[tuple[float, Distribution]]:
    """The distributions that are mixed, those of mixtures within a mixture included, and the share of each."""
    if not isinstance(distribution, Mixture):
        return [(share, distribution)]
    even = share / len(distribution.parts)
    return [one for part in distribution.parts for one in members(part, even)]


def _bent(y: Tensor, bend: float) -> Tensor:
    return y if math.isinf(bend) else bend * torch.log1p(y / bend)


def _unbent(z: Tensor, bend: float) -> Tensor:
    return z if math.isinf(bend) else bend * torch.expm1((z / bend).clamp_max(_LARGEST_EXPONENT))


@dataclass(frozen=True)
class Calibration:
    """How a property's raw distribution is corrected on validation rows.

    Attributes:
        temperature: multiplies the scale.
        slope: multiplies the log odds of zero.
        bias: is added to them (labels of metals are missing more often than others).
    """

    temperature: float = 1.0
    slope: float = 1.0
    bias: float = 0.0

    @classmethod
    def of(cls, numbers: Tensor) -> Self:
        """From (3,)."""
        return cls(*numbers.tolist())


def calibrated(distribution: Distribution, calibration: Calibration) -> Distribution:
    """The corrected distribution."""
    match distribution:
        case Logistic():
            return replace(distribution, scale=distribution.scale * calibration.temperature)
        case Hurdle():
            logit = distribution.zero_logit * calibration.slope + calibration.bias
            return replace(distribution, scale=distribution.scale * calibration.temperature, zero_logit=logit)
    raise TypeError(distribution)


def coverage(distribution: Distribution, value: Tensor, level: float = 0.9) -> Tensor:
    """Share (n_systems,) of each value's probability rank that lies within the central `level`.

    One or zero for a continuous value. A value at an atom has a whole interval of ranks, [0, P(0)], and counts with
    the part of it that lies inside, so that the mean is `level` for a calibrated hurdle model too; a plain interval
    covers more.
    """
    tail = (1 - level) / 2
    top = cdf(distribution, value)
    inside = ((top >= tail) & (top <= 1 - tail)).to(top)
    atom = distribution.log_prob(torch.zeros_like(value)).exp()
    share = (atom.clamp_max(1 - tail) - tail).clamp_min(0.0) / atom.clamp_min(1e-12)
    return torch.where(value <= _atom(distribution), share, inside)


def _atom(distribution: Distribution) -> float:
    """Values up to this have a probability of their own; minus infinity if none has."""
    match distribution:
        case Hurdle(zero=zero):
            return zero
        case Mixture(parts=parts):
            return _atom(parts[0])
    return -math.inf
