"""Laws of labels: which source of a gap wins, and what is dropped."""

import math

import pytest

from matgen.datasets.labels import EXACT, LABELS, MEGNET, MP_2019, gap_label


def row(gap: float | None, split: str = "train") -> dict:
    return {"band_gap": gap, "band_gap_src": "shef_semicond" if gap is not None else None, "split": split}


def later(gap: float | None, key: str = EXACT) -> dict:
    return {} if gap is None else {"band_gap_2019": gap, "band_gap_key": key}


@pytest.mark.parametrize(
    ("own", "of_2019", "predicted", "gap", "source"),
    [
        (1.2, 1.3, 0.0, 1.2, "shef_semicond"),  # the table's own comes first
        (None, 1.3, 0.0, 1.3, MP_2019),  # then 2019, whatever is predicted, where it was recognised for sure
        (None, 0.0, None, 0.0, MP_2019),
        (None, None, 0.04, 0.0, MEGNET),  # a prediction speaks of metals
        (None, None, 0.06, math.nan, ""),  # and of nothing else
        (None, None, None, math.nan, ""),
        (1.2, 0.0, None, math.nan, "contradicted"),
        (0.9, 0.0, None, 0.9, "shef_semicond"),  # within an electronvolt sources may differ
    ],
)
def test_the_best_source_wins(
    own: float | None, of_2019: float | None, predicted: float | None, gap: float, source: str
) -> None:
    found = gap_label(row(own), later(of_2019), predicted)
    assert (found.source, found.gap) == (source, pytest.approx(gap, nan_ok=True))


@pytest.mark.parametrize("split", ["val", "test"])
def test_published_splits_are_left_as_they_are(split: str) -> None:
    assert gap_label(row(1.2, split), later(0.0), None).gap == 1.2
    assert math.isnan(gap_label(row(None, split), {}, 0.0).gap)


def test_an_entry_recognised_without_its_space_group_may_be_doubted() -> None:
    metal, insulator = later(0.0, "formula"), later(1.5, "formula, atoms")
    assert gap_label(row(None), metal, 0.2).gap == 0.0
    assert gap_label(row(None), metal, 0.9).source == "contradicted"
    assert gap_label(row(None), insulator, 0.9).gap == 1.5
    assert gap_label(row(None), insulator, 0.01).source == "contradicted"
    assert gap_label(row(None), later(0.0), 0.9).gap == 0.0


def test_labels_of_other_properties_are_at_hand() -> None:
    assert {"bulk_modulus", "shear_modulus", "refractive_index", "phonon_peak"} <= set(LABELS)
