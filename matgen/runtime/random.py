"""Random numbers, drawn where their generator is, on the CPU, and moved to where they are needed.

So that one seed means one run on every device, up to rounding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def uniform(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Numbers in [0, 1) with the dtype and on the device of `like`."""
    return torch.rand(shape, dtype=like.dtype, generator=generator, device=generator.device).to(like.device)


def normal(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Unit Gaussians with the dtype and on the device of `like`."""
    return torch.randn(shape, dtype=like.dtype, generator=generator, device=generator.device).to(like.device)


def choice(weights: Tensor, generator: torch.Generator) -> Tensor:
    """One column (n,) of each row of weights (n, k), in proportion to them."""
    sampled = torch.multinomial(weights.to(generator.device), 1, generator=generator)
    return sampled.squeeze(1).to(weights.device)
