"""Training of the properties of molecular graphs."""

from matgen.datasets.molecules import MoleculeTable
from matgen.nn.ensemble import Ensemble
from matgen.nn.graph_properties import GraphProperties
from matgen.training.config import TrainConfig
from matgen.training.molecules import element_references, molecule_targets, training_and_validation
from matgen.training.plan import Plan, rows_in_words
from matgen.training.template_properties import from_templates


def plan(table: MoleculeTable, config: TrainConfig) -> Plan:
    """Train the properties of molecular graphs."""
    train, val = training_and_validation(table)
    targets = molecule_targets(table)
    model = Ensemble(GraphProperties, config.model)
    for member in model.members:
        member.readout.references.copy_(element_references(table, train))  # type: ignore[union-attr,operator]
    objective = from_templates(table, targets, train, val[::9])
    return Plan(model, objective, rows_in_words(len(train)), targets, objective.predict, val)
