"""Likeness to examples: the squared distance to the nearest one, in a metric adapted to all of them.

    E(x) = min_k ‖W (φ(x) − φ(x_k))‖² / 2 r²

φ holds an embedding by a network that was trained for properties, whitened over training materials, and the square
roots of the shares of the parts of a material: its occupied Wyckoff positions, or the environments of its atoms. The
squared distance between two of the latter is twice one minus the Bhattacharyya coefficient of the shares. W is
diagonal: a factor for each whitened coordinate, and one for all parts. It starts from a common value, the same for all
examples, and is adapted by a few gradient steps on a contrast, as in metric learning from few examples (Snell et al.,
NeurIPS 2017; Finn et al., ICML 2017): each example is to be nearer to the others than to background materials
(InfoNCE: van den Oord et al., arXiv:1807.03748). r² is the mean squared distance of an example to the nearest other,
and at least `NEAR` of the median squared distance of background materials to the examples.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.energies.base import Energy, TemplateEnergy
from matgen.templates.batch import TemplateBatch

STEPS, RATE = 10, 0.3
"""Gradient steps on the logarithms of the factors, and their length; docs/likeness.md tells how they were chosen."""

NEAR = 0.05
"""Least r², over the median squared distance of background materials to the nearest example."""


@dataclass(frozen=True)
class View:
    """What of materials is compared.

    Attributes:
        embedding: whitened (n, m).
        parts: square roots of the shares of parts (n, p); p is 0 where parts are not compared.
    """

    embedding: Tensor
    parts: Tensor

    def __len__(self) -> int:
        return len(self.embedding)

    def to(self, device: torch.device) -> "View":
        """Return a copy on another device."""
        return View(self.embedding.to(device), self.parts.to(device))


@dataclass(frozen=True)
class Metric:
    """A metric adapted to examples.

    Attributes:
        examples: their view.
        factors: of each whitened coordinate, and in the last place of the parts (m + 1,).
        radius2: r², dimensionless.
    """

    examples: View
    factors: Tensor
    radius2: float

    def squared(self, some: View) -> Tensor:
        """Return ‖W (φ(x) − φ(x_k))‖² / r² of some materials (n, n_examples)."""
        return squared_distances(some, self.examples, self.factors) / self.radius2


def squared_distances(some: View, others: View, factors: Tensor) -> Tensor:
    """Return ‖W (φ(x) − φ(y))‖² (n, n_others), with W as in `Metric`."""
    weighted = [factors[:-1] * view.embedding for view in (some, others)]
    apart = (weighted[0][:, None] - weighted[1][None]).square().sum(2)
    if not some.parts.shape[1]:
        return apart
    alike = (some.parts @ others.parts.T).clamp(max=1.0)
    return apart + factors[-1].square() * 2 * (1 - alike)


def adapted(examples: View, background: View, steps: int = STEPS, rate: float = RATE) -> Metric:
    """Return the metric that gradient steps on the contrast give; a single example leaves the factors at one.

    Args:
        examples: at least one.
        background: other materials, taken at random.
        steps: gradient steps.
        rate: their length.
    """
    logs = examples.embedding.new_zeros(examples.embedding.shape[1] + 1)
    for _ in range(steps if len(examples) > 1 else 0):
        logs = logs.detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(_contrast(examples, background, logs.exp()), logs)
        logs = logs - rate * slope
    factors = logs.detach().exp()
    with torch.no_grad():
        typical = squared_distances(background, examples, factors).min(1).values.median()
        radius2 = NEAR * float(typical)
        if len(examples) > 1:
            within = squared_distances(examples, examples, factors).fill_diagonal_(torch.inf)
            radius2 = max(radius2, float(within.min(1).values.mean()))
    return Metric(examples, factors, radius2)


def _contrast(examples: View, background: View, factors: Tensor) -> Tensor:
    """Mean over examples of -log of the share of the other examples in Σ exp(-d²) over these and the background."""
    within = -squared_distances(examples, examples, factors)
    within = within.masked_fill(torch.eye(len(examples), dtype=torch.bool, device=within.device), -torch.inf)
    outside = -squared_distances(examples, background, factors)
    return (torch.logsumexp(torch.cat([within, outside], dim=1), 1) - torch.logsumexp(within, 1)).mean()


class TemplateLikeness(TemplateEnergy):
    """Likeness of templates to those of examples.

    Args:
        view: of templates.
        metric: adapted to the examples.
    """

    name = "likeness_template"

    def __init__(self, view: Callable[[TemplateBatch], View], metric: Metric) -> None:
        super().__init__()
        self.view, self.metric = view, metric

    def network_read(self) -> object:
        """Return the view, which evaluates a network."""
        return self.view

    def floor(self, templates: TemplateBatch) -> Tensor:
        """Return zeros (n_systems,): the energy is nowhere negative."""
        return torch.zeros(templates.n_systems, device=templates.device)

    @torch.no_grad()
    def forward(self, templates: TemplateBatch) -> Tensor:
        """Energies (n_systems,), zero for a template of an example."""
        return 0.5 * self.squared(templates).min(1).values

    @torch.no_grad()
    def squared(self, templates: TemplateBatch) -> Tensor:
        """Squared distances to the examples over r² (n_systems, n_examples)."""
        return self.metric.squared(self.view(templates))


class StateLikeness(Energy):
    """Likeness of structures to the examples, for choosing and ranking.

    Args:
        view: of states.
        metric: adapted to the examples.
    """

    name = "likeness"
    use = "ranking"

    def __init__(self, view: Callable[[State], View], metric: Metric) -> None:
        super().__init__()
        self.view, self.metric = view, metric

    @torch.no_grad()
    def forward(self, state: State, sigma: Tensor) -> Tensor:
        """Energies (n_systems,), zero for an example, independent of the noise levels sigma (n_systems,)."""
        return 0.5 * self.squared(state).min(1).values.to(sigma)

    @torch.no_grad()
    def squared(self, state: State) -> Tensor:
        """Squared distances to the examples over r² (n_systems, n_examples)."""
        return self.metric.squared(self.view(state))
