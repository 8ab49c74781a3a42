"""Comparison of priors of templates by the bits that each needs to describe held-out crystals.

The evidence of a template under a prior is its probability, which is exact for a prior that is sampled site by site.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from matgen.energies.base import TemplateEnergy
from matgen.templates.batch import TemplateBatch

AT_ONCE = 256
"""Templates that a prior reads together."""


@dataclass(frozen=True)
class Bits:
    """Mean of -log2 p(template) of some crystals, with the standard error of the mean by bootstrap.

    Attributes:
        mean: bits per crystal.
        error: its standard error.
        n: crystals.
    """

    mean: float
    error: float
    n: int


def bits(prior: TemplateEnergy, templates: TemplateBatch) -> Tensor:
    """Return -log2 p of each template (n_systems,), in float64; the prior must be normalised."""
    rows = torch.arange(templates.n_systems, device=templates.device)
    with torch.no_grad():
        parts = [prior(templates.select(some)).double().cpu() for some in rows.split(AT_ONCE)]
    return torch.cat(parts) / math.log(2)


def averaged(values: Tensor, resampled: int = 1000, seed: int = 0) -> Bits:
    """Return the mean of values (n,) and its bootstrap error."""
    generator = torch.Generator().manual_seed(seed)
    n = len(values)
    means = torch.stack([values[torch.randint(n, (n,), generator=generator)].mean() for _ in range(resampled)])
    return Bits(float(values.mean()), float(means.std()), n)


def compared(priors: Mapping[str, TemplateEnergy], templates: TemplateBatch) -> tuple[dict[str, Bits], dict[str, Bits]]:
    """Return the bits of each prior, and the difference of each to the first, crystal by crystal.

    Args:
        priors: normalised, by name; at least one.
        templates: held-out crystals.
    """
    each = {name: bits(prior, templates) for name, prior in priors.items()}
    first = next(iter(each.values()))
    differences = {name: averaged(own - first) for name, own in list(each.items())[1:]}
    return {name: averaged(own) for name, own in each.items()}, differences
