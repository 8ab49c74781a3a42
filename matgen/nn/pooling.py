"""Averages over the atoms of a crystal from values of its sites."""

import torch
from torch import Tensor

TINY = 1e-16
"""Added to sums of exponentials, as PyTorch Geometric's softmax does, with which the shipped weights were trained."""


def summed(values: Tensor, owner: Tensor, n: int) -> Tensor:
    """Return the sum over the rows of each owner (n, ...)."""
    zeros = torch.zeros(n, *values.shape[1:], dtype=values.dtype, device=values.device)
    return zeros.index_add(0, owner, values)


def averaged(values: Tensor, owner: Tensor, n: int) -> Tensor:
    """Return the mean over the rows of each owner (n, ...); zero for an owner without rows."""
    count = torch.bincount(owner, minlength=n).clamp_min(1).to(values.dtype)
    return summed(values, owner, n) / count.view(-1, *(1,) * (values.ndim - 1))


def softmax_within(logits: Tensor, owner: Tensor, n: int) -> Tensor:
    """Return the softmax of logits (n_rows, k) over the rows of each owner."""
    index = owner[:, None].expand_as(logits)
    highest = logits.new_zeros(n, logits.shape[1])
    highest = highest.scatter_reduce(0, index, logits.detach(), "amax", include_self=False)
    weight = (logits - highest[owner]).exp()
    return weight / (summed(weight, owner, n)[owner] + TINY)


def mean_and_spread(x: Tensor, weight: Tensor, system: Tensor, n_systems: int, softness: float = 1e-6) -> Tensor:
    """Return mean and standard deviation (n_systems, 2 k) over the atoms.

    Args:
        x: of each site (n_sites, k).
        weight: atoms of each site (n_sites, 1).
        system: of each site (n_sites,).
        n_systems: number of systems.
        softness: added to the variance, so that the square root is differentiable where all sites are equal.
    """
    total = summed(weight, system, n_systems)
    mean = summed(weight * x, system, n_systems) / total
    variance = summed(weight * (x - mean[system]).square(), system, n_systems) / total
    return torch.cat([mean, (variance + softness).sqrt()], dim=1)


def composition_statistics(described: Tensor, weight: Tensor, system: Tensor, n_systems: int) -> Tensor:
    """Return mean, standard deviation, minimum and maximum of descriptors over atoms (n_systems, 4 n_descriptors)."""
    index = system[:, None].expand_as(described)
    start = described.new_zeros(n_systems, described.shape[1])
    ends = [start.scatter_reduce(0, index, described, how, include_self=False) for how in ("amin", "amax")]
    return torch.cat([mean_and_spread(described, weight, system, n_systems), *ends], dim=1)
