"""Energy of proposals that repeat better ones."""

from collections import Counter
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from matgen.generation.kinds.base import Kind
from matgen.generation.request import Request
from matgen.templates.batch import Template


def repetition_energy(templates: Sequence[Template], total: Tensor, request: Request, kind: Kind) -> Tensor:
    """Return the energy (n_systems,) of templates for being like better ones; zero where examples are to be resembled.

    Args:
        templates: one per system.
        total: energies (n_systems,) that say which are better.
        request: what is asked.
        kind: says what is alike.
    """
    weight = 0.0 if request.examples else request.selection.variety * request.sampler.variety
    return repeats([kind.likeness(template) for template in templates], total, weight)


def repeats(likenesses: Sequence[Hashable], total: Tensor, variety: float) -> Tensor:
    """Return `variety` (n_systems,) times the number of better systems of equal likeness."""
    seen: Counter[Hashable] = Counter()
    energy = torch.zeros_like(total)
    for i in total.argsort().tolist():
        energy[i] = variety * seen[likenesses[i]]
        seen[likenesses[i]] += 1
    return energy
