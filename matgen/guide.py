"""What the guiding models predict of a crystal or a molecule, together.

One reads the template, the other the state. On true structures the mixture is as good as the graph network alone
(docs/properties.md); it is kept because the template's word does not depend on a geometry that may be wrong.
"""

import torch
from pymatgen.core.structure import Structure
from torch import Tensor

from matgen import candidate
from matgen.candidate import Material
from matgen.energies.graph import GraphPredictor
from matgen.io import described, state_of
from matgen.nn.ensemble import Ensemble
from matgen.nn.graph_energy import GraphEnergy, energy_per_atom
from matgen.noise import CLEAN
from matgen.properties import PROPERTIES, Mixture, Prediction
from matgen.state import State
from matgen.templates.batch import TemplateBatch
from matgen.templates.molecule import MoleculeTemplate

JUDGE = "judge_"
"""Prefix of what the model predicts that guided nothing: it is reported, and decides nothing."""


class Guide:
    """An even mixture of both models' distributions."""

    def __init__(self, graph: GraphEnergy, properties: Ensemble) -> None:
        self.graph, self.properties = GraphPredictor(graph), properties

    @torch.no_grad()
    def read(self, templates: TemplateBatch, state: State) -> tuple[dict[str, Mixture], Tensor]:
        """Distributions by property, and the graph energy per atom (n_systems,), out of one pass.

        Args:
            templates: of the systems.
            state: their geometries, with or without symmetry.
        """
        sigma = torch.full((state.n_systems,), CLEAN, dtype=state.positions.dtype, device=state.positions.device)
        output = self.graph.model(state, sigma)
        of_state, of_template = self.graph.model.heads.calibrated(output.embedding), self.properties(templates)
        mixed = {name: Mixture((found, of_template[name])) for name, found in of_state.items()}
        return mixed, energy_per_atom(output, state, sigma)

    def distributions(self, templates: TemplateBatch, state: State) -> dict[str, Mixture]:
        """Distributions by property of expanded templates."""
        return self.read(templates, state)[0]

    def of_batch(self, templates: TemplateBatch, state: State) -> dict[str, Prediction]:
        """Predictions (n_systems,) by property of expanded templates."""
        return {name: found.prediction() for name, found in self.distributions(templates, state).items()}

    def of_structure(self, material: Material, smiles: str = "") -> dict[str, Prediction]:
        """Predictions (1,) by property of one crystal, or of one molecule whose graph is named.

        Raises:
            NoTemplateError: the symmetry of a crystal could not be found.
        """
        template = described(material)[0] if isinstance(material, Structure) else MoleculeTemplate(smiles)
        device = next(self.graph.parameters()).device
        state = state_of([material], templates=[template]).to(device)
        return self.of_batch(TemplateBatch.of([template]).to(device), state)


def as_prediction(name: str, numbers: Prediction) -> candidate.Prediction:
    """The prediction for one system, with its unit."""
    return candidate.Prediction(float(numbers.value), float(numbers.spread), PROPERTIES[name].unit)
