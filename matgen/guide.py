"""What the guiding models predict of a crystal, together.

One reads the template, the other the state; neither saw how the other was trained, so that an even mixture of the two
errs less than either.
"""

from collections.abc import Mapping

import torch
from pymatgen.core.structure import Structure

from matgen.energies.graph import GraphPredictor
from matgen.io import described, state_of
from matgen.nn.graph_energy import GraphEnergy
from matgen.nn.template_properties import TemplateProperties
from matgen.properties import Distribution, Prediction
from matgen.state import State
from matgen.templates.crystal import TemplateBatch

CLEAN = 0.02
"""Noise level at which final structures are read, Å: the lowest that models were trained at."""


class Guide:
    """Mean and spread of an even mixture of both models' predictions."""

    def __init__(self, graph: GraphEnergy, properties: TemplateProperties) -> None:
        self.graph, self.properties = GraphPredictor(graph), properties

    @torch.no_grad()
    def of_batch(self, templates: TemplateBatch, state: State) -> dict[str, Prediction]:
        """Predictions (n_systems,) by property of expanded templates."""
        sigma = torch.full((state.n_systems,), CLEAN, dtype=state.positions.dtype, device=state.positions.device)
        return mixture(self.graph(state, sigma), self.properties(templates))

    def of_structure(self, structure: Structure) -> dict[str, Prediction]:
        """Predictions (1,) by property of one structure.

        Raises:
            NoTemplateError: its symmetry could not be found.
        """
        template, _ = described(structure)
        return self.of_batch(TemplateBatch.of([template]), state_of([structure]))


def mixture(one: Mapping[str, Distribution], other: Mapping[str, Distribution]) -> dict[str, Prediction]:
    """Mean and standard deviation of the even mixture of two distributions, by property."""
    found = {}
    for name, distribution in one.items():
        a, b = distribution.prediction(), other[name].prediction()
        variance = (a.spread**2 + b.spread**2) / 2 + (a.mean - b.mean) ** 2 / 4
        found[name] = Prediction((a.mean + b.mean) / 2, variance.sqrt())
    return found
