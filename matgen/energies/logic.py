"""Soft logic between property targets: the target of one property may depend on another.

The energy of a target is -log P, with P the probability that it is met. Targets are taken as independent, so that, with
P and Q,

    not A        1 - P
    A or B       1 - (1 - P)(1 - Q)
    A implies B  1 - P (1 - Q)
    A xor B      P (1 - Q) + Q (1 - P)

each again a probability whose -log is an energy: zero where the statement certainly holds, and differentiable where
the targets are. A point counts as the interval of its tolerance.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.energies.base import Energy, TemplateEnergy
from matgen.templates.batch import TemplateBatch

Rule = Callable[[list[Tensor]], Tensor]
"""Log probabilities (n_systems,) of the parts → that of the statement."""

LEAST = 1e-6
"""Least probability of a statement, so that no energy is infinite."""


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
    """A statement about targets that read states."""

    def __init__(self, name: str, rule: Rule, *parts: Energy) -> None:
        super().__init__()
        self.name, self.rule = name, rule
        self.parts = torch.nn.ModuleList(parts)

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        """-log P (n_systems,) of the statement."""
        return -self.rule([-part(state, sigma) for part in self.parts])


class TemplateLogic(TemplateEnergy):
    """A statement about targets that read templates."""

    def __init__(self, name: str, rule: Rule, *parts: TemplateEnergy) -> None:
        super().__init__()
        self.name, self.rule = name, rule
        self.parts = torch.nn.ModuleList(parts)

    def forward(self, templates: TemplateBatch) -> Tensor:
        """-log P (n_systems,) of the statement."""
        return -self.rule([-part(templates) for part in self.parts])


def _statement(name: str, rule: Rule, *parts: Energy | TemplateEnergy) -> StateLogic | TemplateLogic:
    states = [part for part in parts if isinstance(part, Energy)]
    templates = [part for part in parts if isinstance(part, TemplateEnergy)]
    if len(states) == len(parts):
        return StateLogic(name, rule, *states)
    if len(templates) == len(parts):
        return TemplateLogic(name, rule, *templates)
    raise TypeError(
        f"{name}: expected targets that all read states, or all templates, got {len(states)} of {len(parts)}"
    )


def negation(target: Energy | TemplateEnergy) -> StateLogic | TemplateLogic:
    """Not A.

    Raises:
        TypeError: not an energy.
    """
    return _statement(f"not {target.name}", _not, target)


def either(*targets: Energy | TemplateEnergy) -> StateLogic | TemplateLogic:
    """A or B or more.

    Raises:
        TypeError: energies of both kinds, states and templates.
    """
    return _statement(" or ".join(target.name for target in targets), _or, *targets)


def implies(one: Energy | TemplateEnergy, other: Energy | TemplateEnergy) -> StateLogic | TemplateLogic:
    """If A, then B.

    Raises:
        TypeError: energies of both kinds, states and templates.
    """
    return _statement(f"{one.name} implies {other.name}", _implies, one, other)


def exactly_one(one: Energy | TemplateEnergy, other: Energy | TemplateEnergy) -> StateLogic | TemplateLogic:
    """A xor B.

    Raises:
        TypeError: energies of both kinds, states and templates.
    """
    return _statement(f"{one.name} xor {other.name}", _xor, one, other)
