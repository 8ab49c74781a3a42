"""Errors and coverage of both property models on the rows of MP-20 test, as JSON and as a Markdown table.

`python scripts/evaluate_properties.py TABLE`: TABLE is what `matgen data prepare` wrote. The template model reads
the template, the judge the true structure; both as shipped (float16, calibrated).
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from matgen.datasets.crystals import CrystalTable
from matgen.nn.judge import Judge
from matgen.nn.template_properties import TemplateProperties
from matgen.properties import PROPERTIES, Distribution, Hurdle, cdf, coverage, interval, median
from matgen.templates.expand import expand
from matgen.training.properties import PropertyTargets, known_rows, predicted, trainable

WEIGHTS = Path(__file__).resolve().parents[1] / "matgen" / "weights"
KINDS = {"template_properties": TemplateProperties, "judge": Judge}


def shipped(kind: str, folder: Path) -> nn.Module:
    """A model from its weights."""
    with safe_open(folder / f"{kind}.safetensors", framework="pt") as file:
        config = json.loads(file.metadata()["config"])
        state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    model = KINDS[kind](KINDS[kind].Config(**config))
    model.load_state_dict(state)
    return model.eval()


def predictor(kind: str, model: nn.Module, table: CrystalTable) -> Callable[[Tensor], dict[str, Distribution]]:
    """Predictions of a model by rows of the table."""
    if kind == "template_properties":
        return lambda rows: model(table.templates.select(rows))
    return lambda rows: model(expand(table.templates.select(rows), table.geometry.select(table.templates, rows)))


def figures(distribution: Distribution, value: Tensor, typical: Tensor) -> dict[str, float]:
    """Figures of one property over labelled rows.

    Args:
        distribution: of these rows.
        value: their labels (n,).
        typical: the training labels' median: what a model that knows nothing says.
    """
    low, high = interval(distribution)
    found = {
        "rows": len(value),
        "mae": (median(distribution) - value).abs().mean(),
        "mae_of_mean": (distribution.prediction().mean - value).abs().mean(),
        "mae_of_a_constant": (typical - value).abs().mean(),
        "coverage_90": coverage(distribution, value).mean(),
        "coverage_of_plain_interval": ((value >= low) & (value <= high)).float().mean(),
        "nll": -distribution.log_prob(value).mean(),
    }
    if isinstance(distribution, Hurdle):
        found |= _of_a_hurdle(distribution, value)
    return {name: round(float(number), 4) for name, number in found.items()}


def _of_a_hurdle(distribution: Hurdle, value: Tensor) -> dict[str, Tensor]:
    positive = value > distribution.zero
    some = known_rows(distribution, positive)
    zero = cdf(some, torch.zeros(()).expand(int(positive.sum())))
    rank = (cdf(some, value[positive]) - zero) / (1 - zero)  # among what is not zero
    said = distribution.zero_logit > 0
    return {
        "rows_not_zero": positive.sum(),
        "mae_where_not_zero": (median(some) - value[positive]).abs().mean(),
        "coverage_90_where_not_zero": ((rank >= 0.05) & (rank <= 0.95)).float().mean(),
        "zero_accuracy": (said == ~positive).float().mean(),
        "share_zero": (~positive).float().mean(),
        "share_zero_predicted": torch.sigmoid(distribution.zero_logit).mean(),
    }


def markdown(report: dict[str, dict[str, dict[str, float]]]) -> str:
    """One line per model and property."""
    lines = [
        "| model | property | rows | MAE | MAE of a constant | coverage of 90 % | same, rows not zero | zero or not |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, properties in report.items():
        for name, f in properties.items():
            nonzero, accuracy = (f.get(k) for k in ("coverage_90_where_not_zero", "zero_accuracy"))
            shown = [f"{100 * x:.1f} %" if x is not None else "" for x in (f["coverage_90"], nonzero, accuracy)]
            mae = f"{f['mae']:.3f} {PROPERTIES[name].unit} | {f['mae_of_a_constant']:.3f}"
            lines.append(f"| {kind} | {name} | {f['rows']:.0f} | {mae} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> None:
    """Evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of *.safetensors")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--only", choices=KINDS, action="append")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = CrystalTable.load(options.table)
    train = trainable(table).nonzero().ravel()
    rows = (table.mp20_split == ("train", "val", "test").index(options.split)).nonzero().ravel()
    targets = PropertyTargets.of(table, train)
    values = targets.rows(rows)
    report: dict[str, dict[str, dict[str, float]]] = {}
    for kind in options.only or KINDS:
        model = shipped(kind, options.weights)
        distributions = predicted(predictor(kind, model, table), rows, batch_size=128)
        report[kind] = {}
        for name in PROPERTIES:
            known = torch.isfinite(values[name])
            typical = targets.values[name][train].nanmedian()
            report[kind][name] = figures(known_rows(distributions[name], known), values[name][known], typical)
    print(json.dumps(report, indent=1))
    print(markdown(report))


if __name__ == "__main__":
    main()
