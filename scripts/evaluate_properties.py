"""Errors and coverage of both property models on the rows of MP-20 test, as JSON and as a Markdown table.

`python scripts/evaluate_properties.py TABLE --document docs/properties.md`: TABLE is what `matgen data prepare` wrote.
The template model reads the template, the judge the true structure; both as shipped (float16, calibrated).
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from evaluation import Measurement, percent
from evaluation import table as as_table
from torch import Tensor, nn

from matgen.datasets.crystals import SPLITS, CrystalTable
from matgen.models import WEIGHTS, load
from matgen.properties import PROPERTIES, Distribution, Hurdle, cdf, coverage, interval, median
from matgen.templates.expand import expand
from matgen.training.properties import PropertyTargets, known_rows, predicted, trainable

KINDS = ("template_properties", "judge")
PERCENTAGES = ("coverage_90", "coverage_90_where_not_zero", "zero_accuracy")


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


def agreement(guide: Distribution, judge: Distribution) -> dict[str, float]:
    """How often both models' gaps lie within 0.25 eV, over rows that both call non-metals.

    This is what a search for a gap can hope for: first over all such rows, then over the third and the tenth of which
    the guide is surest, since a wish's energy prefers those.
    """
    both = (median(guide) > 0) & (median(judge) > 0)
    near = ((median(guide) - median(judge)).abs() <= 0.25)[both].float()
    spread = guide.prediction().spread[both]
    shares = {"all": 1.0, "surest_third": 1 / 3, "surest_tenth": 0.1}
    means = {name: near[spread <= spread.quantile(share)].mean().item() for name, share in shares.items()}
    return {"rows": int(both.sum()), **{name: round(value, 4) for name, value in means.items()}}


def markdown(report: Mapping[str, Mapping[str, Mapping[str, float]]], agreed: Mapping[str, float]) -> str:
    """One line per model and property, and how often the models agree."""
    header = ("model", "property", "MAE", "MAE of a constant", "coverage of 90 %", "same, not zero", "zero or not")
    rows = [
        (
            f"`{kind}`",
            name,
            f"{f['mae']:.3f} {PROPERTIES[name].unit}",
            f"{f['mae_of_a_constant']:.3f}",
            *(percent(f[k], 1) if k in f else "" for k in PERCENTAGES),
        )
        for kind, properties in report.items()
        for name, f in properties.items()
    ]
    n = max(int(f["rows"]) for properties in report.values() for f in properties.values())
    shares = [percent(agreed[name], 1) for name in ("all", "surest_third", "surest_tenth")]
    gaps = f"Of {agreed['rows']:,} rows that both call non-metals, both gaps lie within 0.25 eV of each other in "
    gaps += (
        f"{shares[0]}; {shares[1]} in the third and {shares[2]} in the tenth of which `template_properties` is surest."
    )
    return f"{n:,} rows.\n\n{as_table(header, rows)}\n\n{gaps}"


def bar(report: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Errors of both models in one line."""
    each = [
        f"{kind} {f['band_gap']['mae']:.3f} eV, {f['formation_energy']['mae']:.3f} eV/atom"
        for kind, f in report.items()
    ]
    return "; ".join(each)


def main() -> None:
    """Evaluate, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of *.safetensors")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--out", type=Path, default=Path("results/properties.json"), help="record to write")
    parser.add_argument("--document", type=Path, help="page whose marked places are to be filled")
    parser.set_defaults(seed=0, processes=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = CrystalTable.load(options.table)
    train = trainable(table).nonzero().ravel()
    rows = (table.mp20_split == SPLITS.index(options.split)).nonzero().ravel()
    options.n = len(rows)
    measurement = Measurement(options, {"split": options.split, "folder": options.weights.name})
    targets = PropertyTargets.of(table, train)
    values = targets.rows(rows)
    report: dict[str, dict[str, dict[str, float]]] = {}
    gaps = []
    for kind in KINDS:
        model = load(kind, options.weights / f"{kind}.safetensors")
        distributions = predicted(predictor(kind, model, table), rows, batch_size=128)
        gaps.append(distributions["band_gap"])
        report[kind] = {}
        for name in PROPERTIES:
            known = torch.isfinite(values[name])
            typical = targets.values[name][train].nanmedian()
            report[kind][name] = figures(known_rows(distributions[name], known), values[name][known], typical)
    agreed = agreement(*gaps)
    record = {**report, "gaps_within_0.25_eV": agreed}
    print(json.dumps(record, indent=1))
    measurement.finish(record, {"properties": markdown(report, agreed), "bar properties": bar(report)})


if __name__ == "__main__":
    main()
