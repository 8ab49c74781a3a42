"""Names in records and tables that versions up to 0.1.0 wrote, and what they are called since."""

import re
from collections.abc import Mapping
from typing import Any

TERMS = {"familiarity": "chemical_distance", "hands": "stereo"}
"""Terms of the total energy."""

VERDICTS = {"falls_back": "is_minimum", "surer": "not_needed"}
"""Verdicts of design."""

_EVALUATOR = re.compile(r"^((?:check_)?(?:target_)?)judge_")


def current_name(name: str) -> str:
    """Return the current name of a term, property, verdict or column."""
    prefix, _, term = name.rpartition("energy_")
    if not prefix and term in TERMS:
        return name.removesuffix(term) + TERMS[term]
    prefix, _, verdict = name.rpartition("check_")
    if not prefix and verdict in VERDICTS:
        return name.removesuffix(verdict) + VERDICTS[verdict]
    return _EVALUATOR.sub(r"\1evaluator_", name)


def current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with its keys as they are called since; none is renamed to a key that is there."""
    current = {name: current_name(name) for name in values}
    return {name if new in values else new: values[name] for name, new in current.items()}
