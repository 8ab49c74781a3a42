"""Training of the graph energy of molecules."""

from matgen.datasets.molecules import MoleculeTable
from matgen.nn.graph_energy import GraphEnergy
from matgen.training.config import TrainConfig
from matgen.training.graph_energy import GraphObjective, predictions_of_clean
from matgen.training.graph_loss import GraphLoss
from matgen.training.molecule_negatives import MOLECULE_NEGATIVES
from matgen.training.molecules import element_references, molecule_targets, training_and_validation
from matgen.training.plan import Plan, rows_in_words

MOLECULE_LOSS = GraphLoss(
    median_sigma=0.3,
    spread_sigma=1.3,
    lowest_sigma=0.01,
    highest_sigma=4.0,
    low_sigma=(0.01, 0.06),
    contrast=0.2,
    properties=0.1,
    sample_share=0.2,
    own_share=0.25,
)
"""Noise from the precision of bond lengths up to twice the size of a molecule."""


def plan(table: MoleculeTable, config: TrainConfig) -> Plan:
    """Train the graph energy of molecules."""
    train, val = training_and_validation(table)
    targets = molecule_targets(table)
    objective = GraphObjective(table, train, val[::40], targets, config.loss or MOLECULE_LOSS, MOLECULE_NEGATIVES)
    model = GraphEnergy(config.model)
    model.readout.of_scalars.references.copy_(element_references(table, train))
    return Plan(model, objective, rows_in_words(len(train)), targets, predictions_of_clean(table), val[::4])
