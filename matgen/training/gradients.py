"""Gradients of a batch, part by part, by one process or several.

A batch is split into parts, each with random numbers of its own, and the gradient of the batch is the mean over its
parts, weighted by their rows. The number of processes that share the parts therefore changes the result by rounding
only. `DistributedDataParallel` is not used: it counts on one forward call and one backward call per step, while
losses here call heads and submodules of a model by themselves, and differentiate the energy with
`torch.autograd.grad` before the backward pass, which it does not support.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from matgen.errors import UserError
from matgen.training.parallel import Processes


class BatchTooLargeError(UserError, RuntimeError):
    """A batch for which the device has not enough memory."""


def part_generator(seed: int, step: int, part: int) -> torch.Generator:
    """Return the random numbers of one part of one batch; dropout follows them as well.

    They depend on nothing else, so that a training that was interrupted, or that other processes continue, uses the
    same numbers.
    """
    (state,) = np.random.SeedSequence((seed, step, part)).generate_state(1, np.uint64)
    number = int(state >> np.uint64(1))
    torch.manual_seed(number)  # for dropout
    return torch.Generator().manual_seed(number)


def split(rows: Tensor, parts: int, part: int) -> Tensor:
    """Return every n-th row of a batch: rows are sorted by size, so that all parts cost alike."""
    return rows[part::parts]


def averaged(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over those that have it."""
    values: dict[str, list[float]] = {}
    for one in figures:
        for name, value in one.items():
            values.setdefault(name, []).append(value)
    return {name: sum(some) / len(some) for name, some in values.items()}


def summed(parameters: Sequence[nn.Parameter], loss: Tensor, processes: Processes) -> Tensor:
    """Sum the gradients over all processes, in place, and return the sum of the losses ().

    A parameter that no process used keeps no gradient, as in a single process.
    """
    if processes.size == 1:
        return loss
    used = torch.stack([loss.new_tensor(float(p.grad is not None)) for p in parameters])
    flat = [p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in parameters]
    together = torch.cat([*flat, used, loss[None]])
    processes.add(together)
    *gradients, used, total = together.split([*(p.numel() for p in parameters), len(parameters), 1])
    for parameter, gradient, n in zip(parameters, gradients, used.tolist(), strict=True):
        parameter.grad = gradient.view_as(parameter) if n else None
    return total.squeeze(0)


def too_large(rows: int) -> BatchTooLargeError:
    """Return the error for a part of this many rows."""
    return BatchTooLargeError(
        f"the device has no memory left for {rows} rows at once; lower batch_size, or raise parts, in [schedule]"
    )
