"""Soft logic between wishes: what is wished of one property may depend on another.

The energy of a wish is -log P, the probability that a model gives it. Wishes are taken as independent, so that with P
and Q

    not A        1 - P
    A or B       1 - (1 - P)(1 - Q)
    A implies B  1 - P (1 - Q)
    A xor B      P (1 - Q) + Q (1 - P)

each again a probability whose -log is an energy: zero where the sentence surely holds, and differentiable where the
wishes are. A point wish is a density and no probability; use ranges.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.energies.base import Energy, TemplateEnergy
from matgen.templates.batch import TemplateBatch

Rule = Callable[[list[Tensor]], Tensor]
"""Log probabilities (n_systems,) of the parts → that of the sentence."""

LEAST = 1e-6
"""No sentence is less probable, so that no energy is infinite."""


def _complement(log_p: Tensor) -> Tensor:
    """Log(1 - p) of log p ≤ 0, kept finite."""
    return torch.log1p(-log_p.clamp(max=0.0).exp().clamp(max=1 - LEAST))


def _not(parts: list[Tensor]) -> Tensor:
    return _complement(parts[0])


def _or(parts: list[Tensor]) -> Tensor:
    return _complement(torch.stack([_complement(part) for part in parts]).sum(0))


def _implies(parts: list[Tensor]) -> Tensor:
    return _complement(parts[0] + _complement(parts[1]))


def _xor(parts: list[Tensor]) -> Tensor:
    one, other = parts
    return torch.logaddexp(one + _complement(other), other + _complement(one))


class StateLogic(Energy):
    """A sentence about wishes that read states."""

    def __init__(self, name: str, rule: Rule, *parts: Energy) -> None:
        super().__init__()
        self.name, self.rule = name, rule
        self.parts = torch.nn.ModuleList(parts)

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        """-log P (n_systems,) of the sentence."""
        return -self.rule([-part(state, sigma) for part in self.parts])


class TemplateLogic(TemplateEnergy):
    """A sentence about wishes that read templates."""

    def __init__(self, name: str, rule: Rule, *parts: TemplateEnergy) -> None:
        super().__init__()
        self.name, self.rule = name, rule
        self.parts = torch.nn.ModuleList(parts)

    def forward(self, templates: TemplateBatch) -> Tensor:
        """-log P (n_systems,) of the sentence."""
        return -self.rule([-part(templates) for part in self.parts])


def _sentence(name: str, rule: Rule, *parts: Energy | TemplateEnergy) -> StateLogic | TemplateLogic:
    states = [part for part in parts if isinstance(part, Energy)]
    templates = [part for part in parts if isinstance(part, TemplateEnergy)]
    if len(states) == len(parts):
        return StateLogic(name, rule, *states)
    if len(templates) == len(parts):
        return TemplateLogic(name, rule, *templates)
    raise TypeError(
        f"{name}: expected wishes that all read states, or all templates, got {len(states)} of {len(parts)}"
    )


def negation(target: Energy | TemplateEnergy) -> StateLogic | TemplateLogic:
    """Not A.

    Raises:
        TypeError: no energy.
    """
    return _sentence(f"not {target.name}", _not, target)


def either(*targets: Energy | TemplateEnergy) -> StateLogic | TemplateLogic:
    """A or B or more.

    Raises:
        TypeError: energies of both rooms.
    """
    return _sentence(" or ".join(target.name for target in targets), _or, *targets)


def implies(one: Energy | TemplateEnergy, other: Energy | TemplateEnergy) -> StateLogic | TemplateLogic:
    """If A, then B.

    Raises:
        TypeError: energies of both rooms.
    """
    return _sentence(f"{one.name} implies {other.name}", _implies, one, other)


def exactly_one(one: Energy | TemplateEnergy, other: Energy | TemplateEnergy) -> StateLogic | TemplateLogic:
    """A xor B.

    Raises:
        TypeError: energies of both rooms.
    """
    return _sentence(f"{one.name} xor {other.name}", _xor, one, other)
