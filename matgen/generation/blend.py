"""Weighted sums of the energies of two requests, with equal terms put together."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import nn

from matgen.energies.base import Sum, TemplateSum
from matgen.energies.graph_prior import LearnedGraphPrior
from matgen.energies.likeness import StateLikeness, TemplateLikeness
from matgen.energies.template_prior import LearnedTemplatePrior
from matgen.nn.conditions import Conditions

M = TypeVar("M", bound=nn.Module)

SUFFIXES = ("_a", "_b")
"""Of the names of terms that differ between the two."""


def blended_templates(parts: Sequence[tuple[float, TemplateSum]]) -> TemplateSum:
    """Return Σ w_i E_i of one or two energies of templates."""
    return TemplateSum(_blended([(weight, energy.terms()) for weight, energy in parts]))


def blended_states(parts: Sequence[tuple[float, Sum]]) -> Sum:
    """Return Σ w_i E_i of one or two energies of states."""
    return Sum(_blended([(weight, energy.terms()) for weight, energy in parts]))


def _blended(parts: Sequence[tuple[float, Mapping[str, tuple[float, M]]]]) -> dict[str, tuple[float, M]]:
    """Return weighted terms by name; a term that both have occurs once, others of equal name get a suffix."""
    if len(parts) == 1:
        weight, terms = parts[0]
        return {name: (weight * w, part) for name, (w, part) in terms.items()}
    (first, of_first), (second, of_second) = parts
    found: dict[str, tuple[float, M]] = {}
    for name in dict.fromkeys([*of_first, *of_second]):
        if name in of_first and name in of_second:
            (w, one), (v, other) = of_first[name], of_second[name]
            if equal_terms(one, other):
                found[name] = (first * w + second * v, one)
            else:
                found[f"{name}{SUFFIXES[0]}"] = (first * w, one)
                found[f"{name}{SUFFIXES[1]}"] = (second * v, other)
        else:
            weight, (w, part) = (first, of_first[name]) if name in of_first else (second, of_second[name])
            found[name] = (weight * w, part)
    return found


def equal_terms(one: object, other: object) -> bool:
    """Tell whether two terms of equal name are the same energy: same target, rules, conditions, or examples.

    Other terms follow from settings that the two requests share.
    """
    if type(one) is not type(other):
        return False
    for name in ("target", "rules"):
        if hasattr(one, name):
            return bool(getattr(one, name) == getattr(other, name))
    for prior in (LearnedTemplatePrior, LearnedGraphPrior):
        if isinstance(one, prior) and isinstance(other, prior):
            return _equal_conditions(one.conditions, other.conditions)
    for likeness in (TemplateLikeness, StateLikeness):
        if isinstance(one, likeness) and isinstance(other, likeness):
            return one.metric is other.metric
    return True


def _equal_conditions(one: Conditions, other: Conditions) -> bool:
    names = ("n_atoms", "elements", "complete", "properties")
    pairs = [(getattr(one, name), getattr(other, name)) for name in names]
    return all(torch.allclose(a.double(), b.double(), equal_nan=True) for a, b in pairs)
