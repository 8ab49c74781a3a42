"""Property heads fitted last, with the trunk fixed."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from matgen.nn.graph_energy import GraphEnergy
from matgen.nn.structure_properties import StructureProperties
from matgen.runtime.random import uniform
from matgen.targets.distributions import Distribution
from matgen.templates.expand import expand
from matgen.templates.noise import CLEAN, chosen
from matgen.training.denoising import noised
from matgen.training.graph_energy import GraphObjective
from matgen.training.likelihood import LikelihoodObjective, negative_log_likelihood

BATCH, LEARNING_RATE = 256, 1e-3


def fit_heads(model: GraphEnergy, objective: GraphObjective, epochs: int, seed: int = 0) -> None:
    """Maximise the likelihood of the labels by the heads alone, in place.

    A trunk is trained for several purposes on noised inputs, and its heads lag behind. The inputs of the heads at low
    noise are computed once, and the heads are small, so that many epochs cost less than one pass of the trunk.

    Args:
        model: only its heads change.
        objective: of its training: rows, labels, and the range of low noise.
        epochs: passes over the rows.
        seed: of the order.
    """
    read, targets = read_at_low_noise(model.eval(), objective), objective.targets.rows(objective.rows)
    fit_likelihood([model.heads], model.heads, read, targets, epochs, seed)


def fit_structure_heads(
    member: StructureProperties, objective: LikelihoodObjective, epochs: int, seed: int = 0
) -> None:
    """Fit all after the trunk of a network of structures to the results of `pool`, in place."""
    pooled, targets = pooled_rows(member.eval(), objective, objective.train), objective.targets.rows(objective.train)
    fit_likelihood([member.crystal, member.heads], member.read, pooled, targets, epochs, seed)


@torch.no_grad()
def pooled_rows(member: StructureProperties, objective: LikelihoodObjective, rows: Tensor) -> Tensor:
    """Return the results of `pool` for these rows (n_rows, width)."""
    return torch.cat([member.pool(objective.inputs(chunk, None)) for chunk in rows.split(objective.together)])


def fit_likelihood(
    modules: Sequence[nn.Module],
    predict: Callable[[Tensor], Mapping[str, Distribution]],
    read: Tensor,
    targets: Mapping[str, Tensor],
    epochs: int,
    seed: int = 0,
) -> None:
    """Fit modules, in place, by Adam with a learning rate that falls to zero on a cosine.

    Args:
        modules: to fit.
        predict: uncalibrated distributions from inputs.
        read: inputs of each system (n_systems, width).
        targets: labels by property (n_systems,), NaN where unknown.
        epochs: passes over the systems.
        seed: of the order.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in modules:
        module.requires_grad_(requires_grad=True).train()
    optimizer = torch.optim.Adam([p for module in modules for p in module.parameters()], lr=LEARNING_RATE)
    steps, done = epochs * math.ceil(len(read) / BATCH), 0
    for _ in range(epochs):
        for rows in torch.randperm(len(read), generator=generator).to(read.device).split(BATCH):
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * done / steps))
            loss, _ = negative_log_likelihood(predict(read[rows]), {name: v[rows] for name, v in targets.items()})
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            done += 1
    for module in modules:
        module.requires_grad_(requires_grad=False).eval()


@torch.no_grad()
def read_at_low_noise(model: GraphEnergy, objective: GraphObjective) -> Tensor:
    """Return inputs of the heads for the training rows, noiseless and noised by turns (n_rows, width)."""
    generator, (low, high) = torch.Generator().manual_seed(0), objective.weights.low_sigma
    table, parts = objective.table, []
    for chunk in objective.rows.split(128):
        templates, geometry = table.batch(chunk)
        sigma = low * (high / low) ** uniform(chunk.shape, generator, geometry.lattice)
        dirty, _ = noised(templates, geometry, sigma, generator)
        clean = torch.arange(len(chunk), device=chunk.device) % 2 == 0
        where = chosen(templates, clean, geometry, dirty)
        level = torch.where(clean, sigma.new_full((), CLEAN), sigma)
        parts.append(model(expand(templates, where), level).embedding)
    return torch.cat(parts)
