"""Predictions of the models that steer a design, for crystals and molecules.

For crystals, the ensemble trained on structures predicts alone: mixed with the ensemble that reads templates it would
be less accurate (docs/properties.md). For molecules, the graph network and the network that reads the molecular graph
are mixed.
"""

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from pymatgen.core.structure import Structure
from torch import Tensor

from matgen.batch.state import State
from matgen.energies.graph import GraphPredictor
from matgen.energies.sharing import answer_of, shared_answers
from matgen.nn.embedding_heads import WithHeads
from matgen.nn.ensemble import Ensemble, mixed
from matgen.nn.graph_energy import GraphEnergy, energy_per_atom
from matgen.structures.candidate import Material, Prediction
from matgen.structures.conversion import described, state_of
from matgen.targets.distributions import Distribution
from matgen.targets.properties import PROPERTIES, Property
from matgen.targets.target import Target
from matgen.templates.batch import TemplateBatch
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.noise import CLEAN

EVALUATOR = "evaluator_"
"""Prefix of the predictions of the evaluator, which steers nothing: they are reported, and decide nothing."""

Predict = Callable[[TemplateBatch, State, Tensor], Mapping[str, Distribution]]
"""Distributions by property of systems: their templates, their states, and noise levels (n_systems,), Å."""


def by_structure(ensemble: Ensemble | WithHeads) -> Predict:
    """Return the predictions of an ensemble that reads structures."""
    return lambda _, state, sigma: ensemble(state, sigma)


def by_graph_and_template(graph: GraphEnergy, properties: Ensemble | WithHeads) -> Predict:
    """Return an even mixture of the predictions from states by the graph network and from templates by an ensemble.

    What the ensemble alone predicts, such as a property of a file, is returned as it is.
    """
    of_states = GraphPredictor(graph)

    def predict(templates: TemplateBatch, state: State, sigma: Tensor) -> Mapping[str, Distribution]:
        own, of_templates = of_states(state, sigma), properties(templates)
        both = mixed([own, {name: of_templates[name] for name in own}])
        return {**both, **{name: found for name, found in of_templates.items() if name not in both}}

    return predict


class Predictor:
    """The graph energy, and the predictions that steer a design."""

    def __init__(self, graph: GraphEnergy, predict: Predict) -> None:
        self.graph, self.predict = graph, predict

    @torch.no_grad()
    def read(self, templates: TemplateBatch, state: State) -> tuple[Mapping[str, Distribution], Tensor]:
        """Return distributions by property, and the graph energy per atom (n_systems,).

        Args:
            templates: of the systems.
            state: their geometries, with or without symmetry.
        """
        sigma = torch.full((state.n_systems,), CLEAN, dtype=state.positions.dtype, device=state.positions.device)
        with shared_answers():
            output = answer_of(self.graph, state, sigma)
            return self.predict(templates, state, sigma), energy_per_atom(output, state, sigma)

    @torch.no_grad()
    def distributions(self, templates: TemplateBatch, state: State) -> Mapping[str, Distribution]:
        """Return distributions by property of expanded templates."""
        sigma = torch.full((state.n_systems,), CLEAN, dtype=state.positions.dtype, device=state.positions.device)
        return self.predict(templates, state, sigma)

    def of_structure(
        self,
        material: Material,
        smiles: str = "",
        targets: Iterable[Target] = (),
        properties: Mapping[str, Property] = PROPERTIES,
    ) -> dict[str, Prediction]:
        """Return predictions by property of one crystal, or of one molecule whose graph is named.

        Raises:
            NoTemplateError: the symmetry of the crystal is not found.
        """
        template = described(material)[0] if isinstance(material, Structure) else MoleculeTemplate(smiles)
        device = next(self.graph.parameters()).device
        state = state_of([material], templates=[template]).to(device)
        found = self.distributions(TemplateBatch.of([template]).to(device), state)
        return as_predictions(found, targets, properties)[0]


def as_predictions(
    distributions: Mapping[str, Distribution],
    targets: Iterable[Target] = (),
    properties: Mapping[str, Property] = PROPERTIES,
) -> list[dict[str, Prediction]]:
    """Return predictions by property of each system, with the probability that a target for it is met.

    Args:
        distributions: by property, of the same systems.
        targets: of the run.
        properties: all that are predicted, by name.
    """
    by_name = {target.name: target for target in targets}
    columns: dict[str, list[Prediction]] = {}
    for name, distribution in distributions.items():
        found = distribution.summary()
        rows = zip(found.value.tolist(), found.spread.tolist(), found.epistemic.tolist(), strict=True)
        unit = properties[name].unit
        if name in by_name:
            met = by_name[name].log_probability(distribution).exp().tolist()
        else:
            met = [math.nan] * len(found.value)
        columns[name] = [Prediction(v, s, unit, e, p) for (v, s, e), p in zip(rows, met, strict=True)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
