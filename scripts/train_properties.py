"""Train a property model, calibrate it on validation rows, and write its weights as float16.

`python scripts/train_properties.py TABLE template_properties FOLDER --minutes 30`: TABLE is what
`matgen data prepare` wrote, FOLDER keeps the checkpoint (run again to go on from it). The weights land in
matgen/weights/NAME.safetensors unless `--weights` names another file.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import nn

from matgen.datasets.crystals import CrystalTable
from matgen.models import round_parameters, save
from matgen.nn.judge import Judge, JudgeConfig, JudgeInputs
from matgen.nn.template_properties import TemplateProperties, TemplatePropertiesConfig
from matgen.training.loop import Schedule, fit
from matgen.training.properties import (
    JudgeObjective,
    PropertyTargets,
    TemplatePropertiesObjective,
    calibration_table,
    described,
    errors,
    fold,
    trainable,
)

JUDGE_SEED, JUDGE_SHARE = 2027, 0.8


def template_properties(table: CrystalTable, _: Path) -> tuple[nn.Module, TemplatePropertiesObjective, str]:
    """The model that guides: every training row."""
    train = trainable(table).nonzero().ravel()
    targets = PropertyTargets.of(table, train)
    objective = TemplatePropertiesObjective(table, targets, train, validation(table))
    return TemplateProperties(TemplatePropertiesConfig()), objective, f"{len(train)} rows of the split `train`"


def judge(table: CrystalTable, folder: Path) -> tuple[nn.Module, JudgeObjective, str]:
    """The model that judges: another architecture, four fifths of the training formulas."""
    train = (trainable(table) & fold(table, JUDGE_SEED, JUDGE_SHARE)).nonzero().ravel()
    targets = PropertyTargets.of(table, train)
    val = validation(table)
    objective = JudgeObjective.of(described_once(table, torch.cat([train, val]), folder), targets, train, val)
    model = Judge(JudgeConfig())
    model.standardize(objective.inputs(train))
    return model, objective, f"{len(train)} rows of the split `train` (formulas hashed with seed {JUDGE_SEED})"


def described_once(table: CrystalTable, rows: torch.Tensor, folder: Path) -> tuple[torch.Tensor, JudgeInputs]:
    """Rows and their descriptors, from the file that an earlier run left in the folder if there is one."""
    path = folder / "described.pt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({"rows": rows, **vars(described(table, rows))}, path)
    saved = torch.load(path, weights_only=True)
    if not torch.equal(saved.pop("rows"), rows):
        message = f"{path} describes other rows than these; delete it and run again"
        raise ValueError(message)
    return rows, JudgeInputs(**saved)


def validation(table: CrystalTable) -> torch.Tensor:
    """Validation rows whose labels are complete: those of MP-20's own validation split."""
    return (table.mp20_split == 1).nonzero().ravel()


MODELS = {"template_properties": template_properties, "judge": judge}


def main() -> None:
    """Train, calibrate, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--weight-decay", type=float, default=0.02)
    parser.add_argument("--seed", type=int, help="default: 0 for the model that guides, 1 for the judge")
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    seed = list(MODELS).index(options.model) if options.seed is None else options.seed
    torch.manual_seed(seed)
    table = CrystalTable.load(options.table)
    model, objective, trained_on = MODELS[options.model](table, options.folder)
    schedule = Schedule(
        steps=10_000_000,
        minutes=options.minutes,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        ema=options.ema,
        weight_decay=options.weight_decay,
        seed=seed,
    )
    average = fit(model, objective, schedule, options.folder, report=lambda line: print(json.dumps(line), flush=True))
    average = round_parameters(average).eval()
    targets = objective.targets.rows(objective.val)
    average.heads.calibration.copy_(calibration_table(objective.predict(average, objective.val), targets))
    figures = {"rows": "MP-20 val", **errors(objective.predict(average, objective.val), targets)}
    save(average, options.weights, kind=options.model, trained_on=trained_on, figures=figures)


if __name__ == "__main__":
    main()
