"""Property heads fitted last, to a trunk that stands still."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from matgen.training.properties import negative_log_likelihood

BATCH, LEARNING_RATE = 256, 1e-3


def fit_heads(heads: nn.Module, read: Tensor, targets: Mapping[str, Tensor], epochs: int, seed: int = 0) -> None:
    """Maximise the likelihood of labels given what the heads read, in place: Adam, its rate on a cosine to zero.

    While a trunk is trained for many ends on noised inputs, its heads only follow. What they read at low noise is
    computed once, and the heads alone are small, so that many epochs cost less than the one pass of the trunk.

    Args:
        heads: of a graph energy.
        read: embeddings (n_rows, width).
        targets: labels of these rows by property, NaN where unknown.
        epochs: how often each row is shown.
        seed: of the order.
    """
    generator = torch.Generator().manual_seed(seed)
    heads.requires_grad_(requires_grad=True).train()
    optimizer = torch.optim.Adam(heads.parameters(), lr=LEARNING_RATE)
    steps = epochs * math.ceil(len(read) / BATCH)
    done = 0
    for _ in range(epochs):
        for rows in torch.randperm(len(read), generator=generator).to(read.device).split(BATCH):
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * done / steps))
            loss, _ = negative_log_likelihood(heads(read[rows]), {name: v[rows] for name, v in targets.items()})
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            done += 1
    heads.requires_grad_(requires_grad=False).eval()
