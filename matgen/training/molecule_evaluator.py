"""Training of the evaluator of molecules, on half of the training rows."""

import zlib

import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.datasets.molecules import MoleculeTable
from matgen.nn.ensemble import Ensemble
from matgen.nn.molecule_evaluator import MoleculeEvaluator
from matgen.templates.expand import expand
from matgen.training.config import TrainConfig
from matgen.training.evaluator import EVALUATOR_SEED
from matgen.training.likelihood import LikelihoodObjective
from matgen.training.molecules import element_references, molecule_targets, training_and_validation
from matgen.training.plan import Plan, rows_in_words
from matgen.training.properties import PropertyTargets

MOLECULE_EVALUATOR_SHARE = 0.5
"""Share of the training rows for the evaluator, as is the custom for QM9 (Hoogeboom et al. 2022)."""


def plan(table: MoleculeTable, config: TrainConfig) -> Plan:
    """Train the evaluator of molecules."""
    train, val = training_and_validation(table)
    half = train[numbered(table.index[train], EVALUATOR_SEED, MOLECULE_EVALUATOR_SHARE)]
    targets = molecule_targets(table)
    model = Ensemble(MoleculeEvaluator, config.model)
    for member in model.members:
        member.readout.of_scalars.references.copy_(element_references(table, half))  # type: ignore[union-attr,operator]
    objective = from_states(table, targets, half, val[::9])
    hashed = f"numbers that hash below {MOLECULE_EVALUATOR_SHARE} with seed {EVALUATOR_SEED}"
    return Plan(model, objective, f"{rows_in_words(len(half))} ({hashed})", targets, objective.predict, val[::4])


def numbered(index: Tensor, seed: int, share: float) -> Tensor:
    """Return which molecules (n,) belong to a fold, by a hash of their number: `share` of them."""
    hashes = [zlib.crc32(f"{seed}:{i}".encode()) / 2**32 for i in index.tolist()]
    return torch.tensor(hashes, device=index.device) < share


def from_states(table: MoleculeTable, targets: PropertyTargets, train: Tensor, val: Tensor) -> LikelihoodObjective:
    """Return the likelihood of the labels given clean geometries."""

    def inputs(rows: Tensor, _: torch.Generator | None) -> State:
        return expand(*table.batch(rows))

    return LikelihoodObjective(inputs, table.n_sites[train], targets, train, val, together=128)
