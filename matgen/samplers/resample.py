"""Systematic resampling by exp(-E/T), at a temperature that keeps the effective sample size."""

import torch
from torch import Tensor


def effective_sample_size(log_weights: Tensor) -> float:
    """(Σ w)² / Σ w², between 1 and n (Kish 1965)."""
    weights = log_weights.double().softmax(0)
    return float(1 / weights.square().sum())


def temperature_for(energies: Tensor, effective: float) -> float:
    """Return the lowest temperature ≥ 1 at which exp(-E/T) keeps an effective sample of this size.

    Args:
        energies: (n,), dimensionless; infinite ones carry no weight.
        effective: required effective sample size; at most the number of finite energies.

    Raises:
        ValueError: no temperature keeps that many.
    """
    finite = energies[energies.isfinite()].double()
    if not 0 < effective <= len(finite):
        raise ValueError(
            f"expected an effective sample size of at most {len(finite)}, the number of finite energies, "
            f"got {effective:g}; ask for less or sample more"
        )
    low, high = 1.0, 1.0
    while effective_sample_size(-finite / high) < effective * (1 - 1e-9):
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if effective_sample_size(-finite / middle) < effective else (low, middle)
    return high


def systematic(log_weights: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Sample n indices so that each occurs n w_i times, rounded up or down, and exactly on average.

    Args:
        log_weights: logarithms of weights, up to a constant (n_systems,); -inf for none.
        n: number of indices.
        generator: source of the single random number that is needed.

    Returns:
        Indices (n,), ascending.

    Raises:
        ValueError: no weight is positive, or one is NaN or infinite.
    """
    if log_weights.isnan().any() or log_weights.isposinf().any() or not log_weights.isfinite().any():
        raise ValueError("expected finite log weights (-inf for none), at least one; check the energies")
    edges = log_weights.double().softmax(0).cumsum(0)
    offset = torch.rand(1, generator=generator, device=generator.device, dtype=torch.float64).to(edges.device)
    points = (torch.arange(n, device=edges.device) + offset) / n * edges[-1]
    last = int((edges < edges[-1]).sum())  # rounding may carry the last point onto the total
    return torch.searchsorted(edges, points, right=True).clamp(max=last)


def resample(energies: Tensor, n: int, generator: torch.Generator, *, temperature: float = 1.0) -> Tensor:
    """Return indices (n,) sampled systematically in proportion to exp(-E/T); `temperature_for` finds a suitable T."""
    return systematic(-energies.double() / temperature, n, generator)
