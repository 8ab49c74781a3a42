"""Mixtures evaluate parts of one kind together, with the numbers of one part after the other."""

import math

import pytest
import torch
from torch import Tensor

from matgen.targets.distributions import Distribution, Hurdle, Logistic, Mixture


def close(one: Tensor, other: Tensor) -> None:
    """Equal but for the last digits: vector units round the rest of a row in another way."""
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def parts_of(kind: str, n_systems: int = 20, n_parts: int = 4) -> tuple[Distribution, ...]:
    generator = torch.Generator().manual_seed(0)

    def column() -> Tensor:
        return torch.randn(n_systems, generator=generator)

    if kind == "logistic":
        return tuple(Logistic(column(), column().abs() + 0.1) for _ in range(n_parts))
    bend, size = (0.02, 0.02) if kind == "bent hurdle" else (math.inf, 1.0)
    return tuple(
        Hurdle(column(), size * (column() + 1), size * (column().abs() + 0.1), bend, 0.01) for _ in range(n_parts)
    )


def plain_mean(logs: list[Tensor]) -> Tensor:
    return torch.stack(logs).logsumexp(0) - math.log(len(logs))


def plain_quantile(parts: tuple[Distribution, ...], level: Tensor) -> Tensor:
    """Bisection in a fixed number of steps, part by part."""
    values = torch.stack([part.quantile(level) for part in parts])
    lowest, high = values.amin(0), values.amax(0)
    level = level - 8 * torch.finfo(lowest.dtype).eps

    def below(value: Tensor) -> Tensor:
        return plain_mean([part.log_between(torch.full_like(value, -math.inf), value) for part in parts]).exp() < level

    low = lowest
    for _ in range(40):
        middle = (low + high) / 2
        low, high = torch.where(below(middle), middle, low), torch.where(below(middle), high, middle)
    return torch.where(below(lowest), high, lowest)


@pytest.mark.parametrize("kind", ["logistic", "hurdle", "bent hurdle"])
def test_parts_together_give_the_numbers_of_parts_one_by_one(kind: str) -> None:
    parts = parts_of(kind)
    mixture = Mixture(parts)
    low, high = torch.tensor(0.3), torch.tensor(0.9)
    values = torch.linspace(0.1, 2.0, 20)
    close(mixture.log_prob(values), plain_mean([part.log_prob(values) for part in parts]))
    close(mixture.log_between(low, high), plain_mean([part.log_between(low, high) for part in parts]))
    close(mixture.samples(50), torch.cat([part.samples(50) for part in parts]))


@pytest.mark.parametrize("kind", ["logistic", "hurdle", "bent hurdle"])
@pytest.mark.parametrize("levels", [0.5, (0.1, 0.5, 0.8)])
def test_quantiles_are_those_of_the_plain_bisection(kind: str, levels: float | tuple[float, ...]) -> None:
    parts = parts_of(kind)
    level = torch.tensor(levels) if isinstance(levels, float) else torch.tensor(levels)[:, None]
    close(Mixture(parts).quantile(level), plain_quantile(parts, level))


def test_parts_of_several_kinds_are_evaluated_one_by_one() -> None:
    parts = (*parts_of("logistic"), Mixture(parts_of("hurdle")))
    low, high = torch.tensor(0.3), torch.tensor(0.9)
    found = Mixture(parts).log_between(low, high)
    close(found, plain_mean([part.log_between(low, high) for part in parts]))
