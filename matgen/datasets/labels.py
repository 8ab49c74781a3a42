"""Labels of crystals, and the source of their band gaps.

The labels of the table have priority, then those of the Materials Project of 2019, then metals predicted by the
multi-fidelity MEGNet (Chen et al. 2021), which is right for about 99 % of metals but unreliable for gaps.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LABELS: dict[str, str] = {
    "band_gap": "eV",
    "e_form": "eV/atom",
    "energy_above_hull": "eV/atom",
    "chgnet_energy": "eV/atom",
    "bulk_modulus": "GPa",
    "shear_modulus": "GPa",
    "refractive_index": "",
    "phonon_peak": "cm⁻¹",
}
"""Unit of each label of a prepared table; a new label needs a line here and a column in its source."""

OF_2019 = ("bulk_modulus", "shear_modulus", "refractive_index", "phonon_peak")
"""Labels from the same source as the gaps of 2019, under the same names."""

MP_2019, MEGNET = "mp_2019", "megnet"
"""Names of the sources other than the table."""

EXACT = "formula, atoms, space group"
"""How an entry of 2019 was matched if the match is certain."""

METAL = 0.05
"""Predicted gaps below this count as metals, eV."""

CONTRADICTION = 1.0
"""Difference of two labels of one crystal above which both are dropped, eV."""

IMPLAUSIBLE = 0.5
"""Predicted gap, eV, above which a metal of 2019 that was matched without its space group is uncertain."""


@dataclass(frozen=True)
class GapLabel:
    """A band gap and its source; NaN and the reason if there is none."""

    gap: float
    source: str


def gap_label(row: Mapping[str, Any], of_2019: Mapping[str, Any], predicted: float | None) -> GapLabel:
    """Return the gap of a crystal from the best available source.

    Contradicting labels are dropped, except in the published validation and test splits. Predictions are used in
    training only.

    Args:
        row: `band_gap`, `band_gap_src` and `split` of the table.
        of_2019: `band_gap_2019` and `band_gap_key` of the same crystal; empty if there are none.
        predicted: gap by MEGNet, eV; None if there is none.
    """
    own, later, key = row["band_gap"], of_2019.get("band_gap_2019"), of_2019.get("band_gap_key")
    training = row["split"] == "train"
    if own is not None:
        contradicted = later is not None and key == EXACT and abs(own - later) > CONTRADICTION
        return _dropped() if training and contradicted else GapLabel(float(own), str(row["band_gap_src"]))
    if later is not None:
        uncertain = key != EXACT and predicted is not None and _contradicts(later, predicted)
        return _dropped() if training and uncertain else GapLabel(float(later), MP_2019)
    if training and predicted is not None and predicted < METAL:
        return GapLabel(0.0, MEGNET)
    return GapLabel(math.nan, "")


def _dropped() -> GapLabel:
    return GapLabel(math.nan, "contradicted")


def _contradicts(label: float, predicted: float) -> bool:
    """Return whether one of the two is a metal and the other clearly not."""
    return predicted > IMPLAUSIBLE if label < METAL else predicted < METAL
