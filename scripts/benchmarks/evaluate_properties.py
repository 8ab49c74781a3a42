"""Errors and coverage of the property models on the rows of MP-20 test, as JSON and as a Markdown table.

`python scripts/benchmarks/evaluate_properties.py TABLE --document docs/properties.md docs/results`: TABLE is written
by `matgen data prepare`. The template model reads the template; the graph network (at the predictor's noise level), the
evaluator and the structure ensemble, which selection and ranking use, read the true structure. All as shipped (float16,
calibrated). For the shipped weights on the test split, the errors of the predictor are written for `matgen properties`.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.datasets.crystals import SPLITS, CrystalTable
from matgen.energies.graph import GraphPredictor
from matgen.nn.ensemble import mixed
from matgen.targets.calibration import coverage
from matgen.targets.distributions import Distribution, cdf, interval, median
from matgen.targets.properties import CRYSTAL_PROPERTIES, PROPERTIES
from matgen.templates.expand import expand
from matgen.templates.noise import CLEAN
from matgen.training.likelihood import known_rows, predicted
from matgen.training.properties import PropertyTargets, trainable
from matgen.weights.files import WEIGHTS
from matgen.weights.models import load
from matgen.weights.property_errors import FILE as ERRORS
from shared.measurement import Measurement
from shared.page import fill_page, percent
from shared.page import table as as_table

KINDS = ("structure_properties", "template_properties", "graph_energy", "evaluator")
PERCENTAGES = ("coverage_90", "coverage_90_where_not_zero", "zero_accuracy")

Predictor = Callable[[Tensor], Mapping[str, Distribution]]
"""Predicts rows of the table."""


def predictors(table: CrystalTable, folder: Path) -> dict[str, Predictor]:
    """Return the models by name: those of the design, a mixture of two of them, and the evaluator."""
    structures, properties, graph, evaluator = (load(kind, folder / f"{kind}.safetensors") for kind in KINDS)
    alone = GraphPredictor(graph)

    def states(rows: Tensor) -> State:
        return expand(table.templates.select(rows), table.geometry.select(table.templates, rows))

    return {
        "template_properties": lambda rows: properties(table.templates.select(rows)),
        "graph_energy": lambda rows: alone(states(rows), torch.full((len(rows),), CLEAN)),
        "structure_properties": lambda rows: structures(states(rows)),
        "with templates": lambda rows: mixed([structures(states(rows)), properties(table.templates.select(rows))]),
        "evaluator": lambda rows: evaluator(states(rows)),
    }


def figures(distribution: Distribution, value: Tensor, typical: Tensor, zero: float) -> dict[str, float]:
    """Return figures of one property over labelled rows.

    Args:
        distribution: predictions of these rows.
        value: labels (n,).
        typical: median of the training labels, the baseline of a constant prediction.
        zero: values up to this are an atom of probability; minus infinity if there is none.
    """
    low, high = interval(distribution)
    found = {
        "rows": len(value),
        "mae": (median(distribution) - value).abs().mean(),
        "mae_of_a_constant": (typical - value).abs().mean(),
        "coverage_90": coverage(distribution, value).mean(),
        "coverage_of_plain_interval": ((value >= low) & (value <= high)).float().mean(),
        "nll": -distribution.log_prob(value).mean(),
    }
    if zero >= 0:
        found |= _of_a_hurdle(distribution, value, zero)
    return {name: round(float(number), 4) for name, number in found.items()}


def probability_of_zero(distribution: Distribution, value: Tensor) -> Tensor:
    """Return P(0) (n,) of a distribution with an atom at zero; a density for others."""
    return distribution.log_prob(torch.zeros_like(value)).exp()


def _of_a_hurdle(distribution: Distribution, value: Tensor, zero: float) -> dict[str, Tensor]:
    positive = value > zero
    some = known_rows(distribution, positive)
    at_zero = probability_of_zero(distribution, value)
    rank = (cdf(some, value[positive]) - at_zero[positive]) / (1 - at_zero[positive])  # among what is not zero
    return {
        "rows_not_zero": positive.sum(),
        "mae_where_not_zero": (median(some) - value[positive]).abs().mean(),
        "coverage_90_where_not_zero": ((rank >= 0.05) & (rank <= 0.95)).float().mean(),
        "zero_accuracy": ((at_zero > 0.5) == ~positive).float().mean(),
        "share_zero": (~positive).float().mean(),
        "share_zero_predicted": at_zero.mean(),
    }


def agreement(predictor: Distribution, evaluator: Distribution) -> dict[str, float]:
    """Return how often the gaps of both models lie within 0.25 eV, over rows that both predict to be non-metals.

    It bounds the success of a search for a gap. Over all such rows, and over the third and the tenth for which the
    predictor is most certain, which the energy of a target prefers.
    """
    one, other = median(predictor), median(evaluator)
    metal = PROPERTIES["band_gap"].zero
    both = (one > metal) & (other > metal)
    near = ((one - other).abs() <= 0.25)[both].float()
    spread = predictor.summary().spread[both]
    shares = {"all": 1.0, "surest_third": 1 / 3, "surest_tenth": 0.1}
    means = {name: near[spread <= spread.quantile(share)].mean().item() for name, share in shares.items()}
    return {"rows": int(both.sum()), **{name: round(value, 4) for name, value in means.items()}}


def markdown(report: Mapping[str, Mapping[str, Mapping[str, float]]], agreed: Mapping[str, float]) -> str:
    """Return a table with one line per model and property, and the agreement of the models."""
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
    gaps = (
        f"Of {agreed['rows']:,} rows that predictor and evaluator both call non-metals, their gaps lie within 0.25 eV "
        f"of each other in {shares[0]}; {shares[1]} in the third and {shares[2]} in the tenth for which the predictor "
        "is most certain."
    )
    return f"{n:,} rows, all of them labelled.\n\n{as_table(header, rows)}\n\n{gaps}"


def bar(report: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Return the line of the summary: errors of all models."""
    each = [
        f"{kind} {f['band_gap']['mae']:.3f} eV, {f['formation_energy']['mae']:.3f} eV/atom"
        for kind, f in report.items()
    ]
    return "; ".join(each)


def errors(report: Mapping[str, Mapping[str, Mapping[str, float]]], model: str = "structure_properties") -> str:
    """Return the errors of the predictor as JSON, which `matgen properties` shows."""
    found = {name: {"mae": round(f["mae"], 3), "rows": int(f["rows"])} for name, f in report[model].items()}
    kept = json.loads(ERRORS.read_text(encoding="utf-8"))
    return json.dumps(kept | {"model": model, "of": "rows of MP-20 test", "properties": found}, indent=1) + "\n"


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of *.safetensors")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--out", type=Path, default=Path("results/properties.json"), help="record to write")
    parser.add_argument("--document", type=Path, nargs="*", default=[], help="pages whose marked places are filled")
    parser.set_defaults(seed=0, processes=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = CrystalTable.load(options.table)
    train = trainable(table).nonzero().ravel()
    rows = (table.mp20_split == SPLITS.index(options.split)).nonzero().ravel()
    options.n = len(rows)
    pages, options.document = options.document, None  # more than one
    measurement = Measurement(options, {"split": options.split, "folder": options.weights.name})
    targets = PropertyTargets.of(table, train)
    values = targets.rows(rows)
    report: dict[str, dict[str, dict[str, float]]] = {}
    gaps = {}
    for kind, predict in predictors(table, options.weights).items():
        distributions = predicted(predict, rows, batch_size=128)
        gaps[kind] = distributions["band_gap"]
        report[kind] = {}
        for name, facts in CRYSTAL_PROPERTIES.items():
            known = torch.isfinite(values[name])
            typical = targets.values[name][train].nanmedian()
            some = known_rows(distributions[name], known)
            report[kind][name] = figures(some, values[name][known], typical, facts.zero)
    agreed = agreement(gaps["structure_properties"], gaps["evaluator"])
    record = {**report, "gaps_within_0.25_eV": agreed}
    print(json.dumps(record, indent=1))
    if options.split == "test" and options.weights == WEIGHTS:
        ERRORS.write_text(errors(report), encoding="utf-8")
    places = {"properties": markdown(report, agreed), "bar properties": bar(report)}
    measurement.finish(record, places)
    for page in pages:
        fill_page(page, places)


if __name__ == "__main__":
    main()
