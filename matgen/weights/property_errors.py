"""Errors of the shipped predictors of properties.

Those of crystals are in `property_errors.json`, which `scripts/benchmarks/evaluate_properties.py` writes; those of
molecules are in the header of their weights.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from matgen.weights.files import info

FILE = Path(__file__).resolve().parent / "property_errors.json"

MOLECULE_MODEL = "molecule_energy"
"""Network whose heads predict the properties of molecules, in a mixture with `molecule_properties`."""


@dataclass(frozen=True)
class PropertyError:
    """The mean absolute error of a predictor.

    Attributes:
        mae: in the unit of the property.
        model: kind of the weights.
        of: the rows that were predicted, in words.
    """

    mae: float
    model: str
    of: str


def property_errors(kind: str) -> dict[str, PropertyError]:
    """Return errors by property; a property whose error was not measured is absent.

    Args:
        kind: crystal or molecule.

    Raises:
        WeightsError: weights that are missing or damaged.
    """
    if kind == "crystal":
        kept = json.loads(FILE.read_text(encoding="utf-8"))
        return {
            name: PropertyError(found["mae"], kept["model"], f"{found['rows']:,} {kept['of']}")
            for name, found in kept["properties"].items()
        }
    figures = info(MOLECULE_MODEL).figures
    return {
        name.removeprefix("mae_"): PropertyError(float(value), MOLECULE_MODEL, "the 17,748 rows of QM9's split `val`")
        for name, value in figures.items()
        if name.startswith("mae_")
    }
