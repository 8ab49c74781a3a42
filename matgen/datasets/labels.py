"""Labels of crystals: which there are, and which source a band gap is taken from (needs numpy alone).

Labels of the table's own come first, then those of the Materials Project of 2019, then metals by a prediction of the
multi-fidelity MEGNet (Chen et al. 2021), whose word on metals holds in about 99 % and on gaps does not.
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
"""Unit of each label that a prepared table holds; another one needs a line here and a column in its source."""

OF_2019 = ("bulk_modulus", "shear_modulus", "refractive_index", "phonon_peak")
"""Labels that come with the gaps of 2019, under the same names."""

MP_2019, MEGNET = "mp_2019", "megnet"
"""Names of the sources beside the table's own."""

EXACT = "formula, atoms, space group"
"""How an entry of 2019 was recognised where nothing is in doubt."""

METAL = 0.05
"""Gaps predicted below this mean a metal, eV."""

CONTRADICTION = 1.0
"""Labels of one crystal that lie farther apart are both dropped, eV."""

IMPLAUSIBLE = 0.5
"""Predicted gap, eV, from which on a metal of 2019 that was recognised without its space group is doubted."""


@dataclass(frozen=True)
class GapLabel:
    """A band gap and where it comes from; NaN and the reason where there is none."""

    gap: float
    source: str


def gap_label(row: Mapping[str, Any], of_2019: Mapping[str, Any], predicted: float | None) -> GapLabel:
    """The gap of a crystal by the best source that has it.

    What two sources contradict each other about is dropped, but for validation and test, which are published as they
    are. A prediction speaks in training only.

    Args:
        row: `band_gap`, `band_gap_src` and `split` of the table.
        of_2019: `band_gap_2019` and `band_gap_key` of the same crystal; empty where there are none.
        predicted: gap by MEGNET, eV; None where there is none.
    """
    own, later, key = row["band_gap"], of_2019.get("band_gap_2019"), of_2019.get("band_gap_key")
    training = row["split"] == "train"
    if own is not None:
        contradicted = later is not None and key == EXACT and abs(own - later) > CONTRADICTION
        return _dropped() if training and contradicted else GapLabel(float(own), str(row["band_gap_src"]))
    if later is not None:
        doubted = key != EXACT and predicted is not None and _doubted(later, predicted)
        return _dropped() if training and doubted else GapLabel(float(later), MP_2019)
    if training and predicted is not None and predicted < METAL:
        return GapLabel(0.0, MEGNET)
    return GapLabel(math.nan, "")


def _dropped() -> GapLabel:
    return GapLabel(math.nan, "contradicted")


def _doubted(label: float, predicted: float) -> bool:
    """Whether one of the two says metal and the other something else altogether."""
    return predicted > IMPLAUSIBLE if label < METAL else predicted < METAL
