"""A property target as an energy: -log P(target is met), of states or templates."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.energies.base import Energy, TemplateEnergy
from matgen.energies.sharing import answer_of
from matgen.targets.distributions import Distribution
from matgen.targets.target import Target
from matgen.templates.batch import TemplateBatch

StatePredictor = Callable[[State, Tensor], Mapping[str, Distribution]]
"""Distributions by property of states at noise levels (n_systems,), Å; any such module or function."""

TemplatePredictor = Callable[[TemplateBatch], Mapping[str, Distribution]]
"""Distributions by property of templates."""


class TemplatePropertyTarget(TemplateEnergy):
    """A target that reads templates."""

    def __init__(self, predictor: TemplatePredictor, target: Target) -> None:
        super().__init__()
        self.name, self.predictor, self.target = target.name, predictor, target

    def network_read(self) -> object:
        """Return the predictor."""
        return self.predictor

    def floor(self, templates: TemplateBatch) -> Tensor:
        """Return zeros (n_systems,): the energy is nowhere negative."""
        return torch.zeros(templates.n_systems, device=templates.device)

    def forward(self, templates: TemplateBatch) -> Tensor:
        """-log P(target is met) (n_systems,)."""
        return self.target.energy(answer_of(self.predictor, templates)[self.target.name])


class StatePropertyTarget(Energy):
    """A target that reads states."""

    def __init__(self, predictor: StatePredictor, target: Target) -> None:
        super().__init__()
        self.name, self.predictor, self.target = target.name, predictor, target

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        """-log P(target is met) (n_systems,) at the noise levels sigma (n_systems,), Å."""
        return self.target.energy(answer_of(self.predictor, state, sigma)[self.target.name])
