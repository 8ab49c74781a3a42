"""Predictions as plain data: value and both spreads against the target, and in words where a number needs them."""

import math
from collections.abc import Sequence
from typing import Any

from matgen.generation.predictors import EVALUATOR
from matgen.report.words import described, property_label
from matgen.structures.candidate import Prediction
from matgen.structures.candidate_table import CALCULATED
from matgen.targets.target import Target


def prediction_record(name: str, prediction: Prediction, targets: Sequence[Target], kind: str) -> dict[str, Any]:
    """Return a prediction; `low` and `high` are the values that meet the target of the run, if there is one.

    Args:
        name: of the property, that of the evaluator with its prefix.
        prediction: of a candidate.
        targets: of the run.
        kind: of the material.
    """
    asked = described(name, kind, prediction.unit)
    target = next((one for one in targets if one.name == name.removeprefix(EVALUATOR)), None)
    low, high = target.window if target else (-math.inf, math.inf)
    exact = not prediction.spread
    return {
        "name": name,
        "label": property_label(name),
        "unit": prediction.unit,
        "value": prediction.value,
        "aleatoric": None if exact else prediction.aleatoric,
        "epistemic": None if exact else prediction.epistemic,
        "low": low,
        "high": high,
        "target": target is not None,
        "met": target.met(prediction.value) if target else None,
        "probability": prediction.probability,
        "text": _words(name.removeprefix(EVALUATOR), prediction.value, asked.zero),
        "source": _source(name),
    }


def _source(name: str) -> str:
    """Return what a value is from: a calculation, the evaluator, or the predictor."""
    if name in CALCULATED:
        return "calculated"
    return "evaluator" if name.startswith(EVALUATOR) else "predictor"


def _words(name: str, value: float, zero: float) -> str | None:
    """Return what a value means that counts as zero; None where the number says it all."""
    if math.isnan(value):
        return "unknown"
    if value > zero:
        return None
    return {"band_gap": "likely a metal", "energy_above_hull": "likely on the hull"}.get(name)
