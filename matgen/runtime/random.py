"""Random numbers, generated on the device of the generator, the CPU, and moved to the device where they are needed.

This makes runs with the same seed equal on every device, up to rounding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def uniform(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Return uniform random numbers in [0, 1) with the dtype and on the device of `like`."""
    return torch.rand(shape, dtype=like.dtype, generator=generator, device=generator.device).to(like.device)


def normal(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Return standard normal random numbers with the dtype and on the device of `like`."""
    return torch.randn(shape, dtype=like.dtype, generator=generator, device=generator.device).to(like.device)


def choice(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Return one column (n,) of each row of weights (n, k), sampled in proportion to them."""
    sampled = torch.multinomial(weights.to(generator.device), 1, generator=generator)
    return sampled.squeeze(1).to(weights.device)
