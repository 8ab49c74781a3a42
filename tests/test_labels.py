"""Laws of labels: which source of a gap wins, what is dropped, and how tables of labels meet the crystals."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from matgen.datasets.labels import CONTRADICTION, EXACT, LABELS, MEGNET, METAL, MP_2019, OF_2019, gap_label
from matgen.datasets.prepare import Labels
from matgen.workflows.data import TABLES, DataError, data_folder


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
        (CONTRADICTION, 0.0, None, CONTRADICTION, "shef_semicond"),
        (0.0, 0.3, None, 0.0, "shef_semicond"),  # a gap of zero is a label, wherever it comes from
        (None, None, 0.0, 0.0, MEGNET),
        (None, None, METAL, math.nan, ""),
        (1.2, None, 0.0, 1.2, "shef_semicond"),  # a prediction contradicts no label of the table
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
    assert gap_label(row(None, split), later(0.0, "formula"), 0.9).gap == 0.0
    assert math.isnan(gap_label(row(None, split), {}, 0.0).gap)


def test_an_entry_recognised_without_its_space_group_may_be_doubted() -> None:
    metal, insulator = later(0.0, "formula"), later(1.5, "formula, atoms")
    assert gap_label(row(None), metal, 0.2).gap == 0.0
    assert gap_label(row(None), metal, 0.9).source == "contradicted"
    assert gap_label(row(None), insulator, 0.9).gap == 1.5
    assert gap_label(row(None), insulator, 0.01).source == "contradicted"
    assert gap_label(row(None), later(0.0), 0.9).gap == 0.0
    assert gap_label(row(None), metal, None).gap == 0.0
    assert gap_label(row(1.2), metal, None).gap == 1.2  # nor does it contradict a label of the table


# ---------------------------------------------------------------- tables of labels


def crystal(name: str, **known: Any) -> dict[str, Any]:
    return row(None) | {"material_id": name, "e_form": None, "ehull": None} | known


TABLE_OF_2019 = [
    {"material_id": "both", "band_gap_2019": 0.0, "band_gap_key": EXACT} | dict.fromkeys(OF_2019) | {OF_2019[0]: 90.0},
    {"material_id": "later", "band_gap_2019": 2.0, "band_gap_key": EXACT} | dict.fromkeys(OF_2019, 7.0),
]
SOURCES: dict[str, list[dict[str, Any]]] = {
    "chgnet_energies.parquet": [{"material_id": name, "chgnet_energy": -3.0} for name in ("both", "nobody's")],
    "mp_labels_2019.parquet": TABLE_OF_2019,
    "megnet_gaps.parquet": [{"material_id": name, "megnet_gap": 0.01} for name in ("alone", "later", "both")],
}
CRYSTALS = [
    crystal("both", band_gap=3.0, band_gap_src="own", ehull=0.02),
    crystal("later", e_form=-1.5),
    crystal("alone"),
    crystal("stranger"),
]


def written(folder: Path, *names: str) -> Labels:
    """The labels in a folder that holds these tables."""
    for name in names:
        pq.write_table(pa.Table.from_pylist(SOURCES[name]), folder / name)
    return Labels.read(folder)


def test_sources_meet_their_crystals_by_name(tmp_path: Path) -> None:
    labels = written(tmp_path, *SOURCES)
    assert [labels.gap(one).source for one in CRYSTALS] == ["contradicted", MP_2019, MEGNET, ""]
    others = [labels.others(one) for one in CRYSTALS]
    assert all({"band_gap", *found} == set(LABELS) for found in others)
    known = [{name: value for name, value in found.items() if not math.isnan(value)} for found in others]
    assert known == [
        {"energy_above_hull": 0.02, "chgnet_energy": -3.0, OF_2019[0]: 90.0},  # the gap alone is contradicted
        {"e_form": -1.5} | dict.fromkeys(OF_2019, 7.0),
        {},
        {},
    ]


def test_without_a_source_the_next_one_speaks(tmp_path: Path) -> None:
    """CHGNet's energies must be there; what else is missing leaves labels unknown, and contradicts none."""
    with pytest.raises(FileNotFoundError, match="chgnet_energies"):
        written(tmp_path)
    own, *rest = CRYSTALS
    alone = written(tmp_path, "chgnet_energies.parquet")
    assert [alone.gap(one).source for one in CRYSTALS] == ["own", "", "", ""]
    assert all(math.isnan(alone.others(own)[name]) for name in OF_2019)
    predicted = written(tmp_path, "megnet_gaps.parquet")
    assert [predicted.gap(one).source for one in (own, *rest)] == ["own", MEGNET, MEGNET, ""]


def test_what_a_folder_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "crystals").mkdir()
    with pytest.raises(DataError, match=f"expected {', '.join(TABLES)} in"):
        data_folder(tmp_path)
    (tmp_path / "crystals" / TABLES[0]).touch()
    with pytest.raises(DataError, match=f"expected {TABLES[1]} in"):
        data_folder(tmp_path)
