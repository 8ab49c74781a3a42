"""Energy of proposals that repeat better ones, or candidates found before."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

import torch
from torch import Tensor

from matgen.generation.kinds.base import Kind
from matgen.generation.request import Request
from matgen.templates.batch import Template

Found = Mapping[Hashable, int]
"""Number of candidates that a run has found of each likeness (`Kind.likeness`)."""


def repetition_energy(
    templates: Sequence[Template], total: Tensor, request: Request, kind: Kind, found: Found | None
) -> Tensor:
    """Return the energy (n_systems,) of templates for being like better ones, and like candidates found before.

    Args:
        templates: one per system.
        total: energies (n_systems,) that say which are better.
        request: what is asked.
        kind: says what is alike.
        found: candidates found before.
    """
    weight = request.selection.variety * request.sampler.variety
    return repeats([kind.likeness(template) for template in templates], total, weight, found)


def repeats(likenesses: Sequence[Hashable], total: Tensor, variety: float, found: Found | None = None) -> Tensor:
    """Return `variety` (n_systems,) times the number of better systems, and of candidates found, of equal likeness."""
    seen: Counter[Hashable] = Counter(found or {})
    energy = torch.zeros_like(total)
    for i in total.argsort().tolist():
        energy[i] = variety * seen[likenesses[i]]
        seen[likenesses[i]] += 1
    return energy
