"""Candidates as rows of a CSV table and as frames of an extxyz file."""

import io
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ase.io
from pymatgen.core.structure import Structure

from matgen.structures.candidate import Candidate, KindName, Prediction, Verdict
from matgen.structures.kind_formats import KIND_FORMATS
from matgen.structures.record import formula
from matgen.targets.computed import computed_values
from matgen.targets.properties import COMPUTED_OF, COMPUTED_PROPERTIES

BULK, SHEAR = "elastic_bulk_GPa", "elastic_shear_GPa"
"""Moduli of the elastic tensor by a potential, beside `bulk_modulus` and `shear_modulus`, which networks predict."""

XTB_GAP = "xtb_gap"
"""Gap of a molecule by GFN2-xTB on the scale of the training labels, with the error of that estimate: of the geometry
that is held, as given or relaxed."""

CALCULATED = ("gpaw_gap", "host_formation_energy", XTB_GAP, BULK, SHEAR)
"""Properties that are calculated, which no network predicts."""

EXACT = frozenset(CALCULATED) - {XTB_GAP}
"""Those that are a value alone, without the spread of a prediction."""


@dataclass(frozen=True)
class CheckColumn:
    """A column that holds the value of a check.

    Attributes:
        check: its name.
        label: of the column.
        meaning: of the value, in a few words.
    """

    check: str
    label: str
    meaning: str


OF_LATTICE = {
    "lowest_phonon_THz": CheckColumn(
        "phonons", "Lowest phonon", "lowest frequency by the potential; negative where it is imaginary"
    ),
    "least_stiffness_GPa": CheckColumn(
        "elasticity", "Least stiffness", "of all strains, by the potential; negative where it gives way"
    ),
}
"""Columns on the lattice, by name."""


def candidate_row(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate as one row of the table, by column."""
    row: dict[str, Any] = {
        "name": candidate.name,
        "formula": formula(candidate),
        **KIND_FORMATS[candidate.kind].identity(candidate),
        "passed": all(verdict.passed for verdict in candidate.verdicts.values()),
        "energy": sum(candidate.energies.values()),
    }
    if candidate.nearest_example is not None:
        nearest = candidate.nearest_example
        row |= {"nearest_example": nearest.name, "example_distance": nearest.distance}
    row |= {f"energy_{name}": value for name, value in candidate.energies.items()}
    for name, prediction in candidate.properties.items():
        if name in COMPUTED_PROPERTIES:
            continue
        row |= {name: prediction.value} if name in EXACT else prediction_columns(name, prediction)
    row |= computed_columns(candidate.kind, candidate)
    if candidate.relaxation is not None:
        row |= {"eV_per_atom": candidate.relaxation.energy, "relaxation_steps": candidate.relaxation.steps}
        if candidate.relaxation.pressure:
            row |= {"pressure": candidate.relaxation.pressure, "enthalpy": candidate.relaxation.enthalpy}
    checks = {name: one.check for name, one in OF_LATTICE.items() if one.check in candidate.verdicts}
    row |= {name: verdict_value(candidate.verdicts[check]) for name, check in checks.items()}
    return row | {f"check_{name}": "pass" if v.passed else "fail" for name, v in candidate.verdicts.items()}


def verdict_value(verdict: Verdict | None) -> float | None:
    """Return the value of a verdict; None where there is none."""
    return verdict.value if verdict is not None and math.isfinite(verdict.value) else None


def computed_columns(kind: KindName, candidate: Candidate | None) -> dict[str, float | None]:
    """Return the properties that need no model as columns, whether or not there is a target for them.

    None where one is unknown: a fact of an element is, or, of magnetic moments, there is no target for one.
    """
    if candidate is None:
        return dict.fromkeys(COMPUTED_OF[kind])
    structure = candidate.structure
    volume = float(structure.volume) if isinstance(structure, Structure) else math.nan
    values = computed_values(kind, Counter(structure.atomic_numbers), volume)
    values |= {name: found.value for name, found in candidate.properties.items() if name in values}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def prediction_columns(name: str, prediction: Prediction | None) -> dict[str, float | None]:
    """Return a prediction as columns: value, spread, both parts of the spread, and P(the target is met)."""
    if prediction is None:
        values: list[float | None] = [None] * 5
    else:
        parts = (prediction.spread, prediction.aleatoric, prediction.epistemic, prediction.probability)
        values = [prediction.value, *(part if math.isfinite(part) else None for part in parts)]
    names = (name, f"{name}_spread", f"{name}_aleatoric", f"{name}_epistemic", f"{name}_probability")
    return dict(zip(names, values, strict=True))


def extxyz_frame(candidate: Candidate) -> str:
    """Return a candidate as one extxyz frame, with the columns of the table in its comment line."""
    return frame_text(candidate, candidate_row(candidate))


def frame_text(candidate: Candidate, columns: Mapping[str, Any]) -> str:
    """Return a candidate as one extxyz frame, with these columns in its comment line."""
    frame = KIND_FORMATS[candidate.kind].frame(candidate)
    for name, value in columns.items():
        if value is None:  # which would read back as True
            continue
        escaped = value.replace("\\", "\\\\") if isinstance(value, str) else value  # a SMILES contains F/C=C\\F
        frame.info["energy_of_terms" if name == "energy" else name] = escaped
    text = io.StringIO()
    ase.io.write(text, frame, format="extxyz")
    return text.getvalue()
