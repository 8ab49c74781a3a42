"""Errors of the shipped predictors of properties.

Those of crystals are in `property_errors.json`, which `scripts/benchmarks/evaluate_properties.py` writes; those of
molecules are in the header of their weights, and those of property files in the header of the file. Those of the
shipped property file, and of what follows from it by a formula, are in `property_errors.json` as well, by
`scripts/benchmarks/evaluate_property_heads.py --write`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matgen.weights.files import info
from matgen.weights.property_files import READ, SHIPPED, read_property_file
from matgen.weights.property_format import FileProperty, PropertyFile

FILE = Path(__file__).resolve().parent / "property_errors.json"

MOLECULE_MODEL = "molecule_energy"
"""Network whose heads predict the properties of molecules, in a mixture with `molecule_properties`."""


@dataclass(frozen=True)
class PropertyError:
    """The mean absolute error of a predictor.

    Attributes:
        mae: in the unit of the property; None where only that of the logarithm was measured.
        model: kind of the weights.
        of: the rows that were predicted, in words.
        mae_log10: of the decimal logarithm; None where it was not measured.
        coverage: share of labels inside of the 90 % interval; likewise.
    """

    mae: float | None
    model: str
    of: str
    mae_log10: float | None = None
    coverage: float | None = None


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


TEST_ROWS = "test rows, of formulas that were not trained on"

HELD_OUT_ROWS = "rows, of formulas held out in turn"


def file_errors(read: PropertyFile) -> dict[str, PropertyError]:
    """Return the errors of the properties of a file by name; of the shipped one the derived properties are included."""
    model = f"heads on {READ[read.material][0]}"
    if read.path == read_property_file(SHIPPED).path:
        kept = json.loads(FILE.read_text(encoding="utf-8"))["heads"]
        formula = {name: "" if name in read.learned else ", by formula" for name in kept}
        return {name: _test_error(one, model + formula[name]) for name, one in kept.items()}
    found = {name: _of_header(one, READ[read.material][0], model) for name, one in read.learned.items()}
    return {name: error for name, error in found.items() if error is not None}


def _of_header(one: FileProperty, kind: str, model: str) -> PropertyError | None:
    """Return the error that the header of a file records of a property, as the program or a user made it."""
    if "n_test" in one.figures:
        return _test_error(one.figures, model)
    held_out = one.figures.get("held_out", {}).get(kind)
    if not held_out:
        return None
    mae, of = float(held_out["mae"]), f"{one.figures['rows']:,} {HELD_OUT_ROWS}"
    plain, decades = (None, mae) if one.logarithmic else (mae, None)
    return PropertyError(plain, model, of, decades, held_out.get("coverage"))


def _test_error(figures: Mapping[str, Any], model: str) -> PropertyError:
    of = f"{figures['n_test']:,} {TEST_ROWS}"
    return PropertyError(figures["mae"], model, of, figures.get("mae_log10"), figures.get("coverage_90"))
