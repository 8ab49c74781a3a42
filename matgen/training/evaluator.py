"""Training of the evaluator of crystals, on a share of the training formulas, from descriptors computed once."""

from pathlib import Path

import torch
from torch import Tensor

from matgen.batch.graphs import take_sites
from matgen.datasets.crystals import Crystals
from matgen.nn.ensemble import Ensemble
from matgen.nn.evaluator import Evaluator, EvaluatorInputs
from matgen.nn.property_heads import CHGNET
from matgen.runtime.devices import placed
from matgen.runtime.output import make_folder
from matgen.templates.expand import expand
from matgen.training.config import TrainConfig
from matgen.training.likelihood import LikelihoodObjective
from matgen.training.plan import Plan, rows_in_words
from matgen.training.properties import PropertyTargets, fold, trainable, validation
from matgen.training.stored import store
from matgen.training.tables import DataError

EVALUATOR_SEED, EVALUATOR_SHARE = 2027, 0.8
"""The evaluator is trained on this share of the training formulas, chosen by a hash with this seed."""


def plan(table: Crystals, config: TrainConfig) -> Plan:
    """Train the evaluator of crystals."""
    train = (trainable(table) & fold(table, EVALUATOR_SEED, EVALUATOR_SHARE)).nonzero().ravel()
    val = validation(table)
    targets = PropertyTargets.of(table, train)
    known = _described_once(table, torch.cat([train, val]), config.run_folder)
    objective = from_descriptors(known, targets, train, val)
    model = Ensemble(Evaluator, config.model)
    for member in model.members:
        member.standardize(objective.inputs(train, None))  # type: ignore[operator]
    hashed = f"formulas that hash below {EVALUATOR_SHARE} with seed {EVALUATOR_SEED}"
    return Plan(model, objective, f"{rows_in_words(len(train))} ({hashed})", targets, objective.predict, val)


def from_descriptors(
    known: tuple[Tensor, EvaluatorInputs], targets: PropertyTargets, train: Tensor, val: Tensor
) -> LikelihoodObjective:
    """Return the likelihood of the labels given descriptors.

    Args:
        known: rows, and their descriptors.
        targets: labels of the table.
        train: rows to train on.
        val: rows to validate on.
    """
    described_rows, whole = known
    position = described_rows.new_full((len(targets.values[CHGNET]),), -1)
    position[described_rows] = torch.arange(len(described_rows), device=described_rows.device)

    def inputs(rows: Tensor, _: torch.Generator | None) -> EvaluatorInputs:
        systems = position[rows]
        sites, site_system = take_sites(whole.site_system, len(whole.volume), systems)
        return EvaluatorInputs(
            whole.local[sites], whole.element[sites], whole.multiplicity[sites], site_system, whole.volume[systems]
        )

    return LikelihoodObjective(inputs, torch.zeros_like(train), targets, train, val)


def _described_once(table: Crystals, rows: Tensor, folder: Path) -> tuple[Tensor, EvaluatorInputs]:
    """Return rows and their descriptors, from the file of an earlier run in the folder if there is one."""
    path = folder / "described.pt"
    if not path.exists():
        make_folder(folder, "--folder")
        store(placed({"rows": rows, **vars(described(table, rows))}, "cpu"), path)
    stored = torch.load(path, weights_only=True)
    if not torch.equal(stored.pop("rows"), rows.cpu()):
        raise DataError(f"{path} describes other rows than {len(rows)} of this table; delete it and run again")
    return rows, placed(EvaluatorInputs(**stored), rows.device)


@torch.no_grad()
def described(table: Crystals, rows: Tensor, batch_size: int = 64) -> EvaluatorInputs:
    """Return descriptors of rows of a table, in this order."""
    parts = [EvaluatorInputs.of(expand(*table.batch(chunk))) for chunk in rows.split(batch_size)]
    start = torch.arange(len(parts)) * batch_size
    return EvaluatorInputs(
        local=torch.cat([p.local for p in parts]),
        element=torch.cat([p.element for p in parts]),
        multiplicity=torch.cat([p.multiplicity for p in parts]),
        site_system=torch.cat([p.site_system + s for p, s in zip(parts, start, strict=True)]),
        volume=torch.cat([p.volume for p in parts]),
    )
