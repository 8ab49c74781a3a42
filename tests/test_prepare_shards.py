"""Preparation of tables of any size: the rows of the plain one, few in memory, resumed after an interrupt."""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import TextbookEntry
from test_shards import check_same_table

from matgen.datasets import described_rows as reading
from matgen.datasets.crystals import CrystalTable, cell_from_parameters
from matgen.datasets.described_rows import TableError, described_rows
from matgen.datasets.labels import LABELS
from matgen.datasets.prepare import Labels, Numbers, table_of_rows
from matgen.datasets.prepare_shards import SOURCE, prepare_shards, split_of
from matgen.datasets.shards import MANIFEST, ShardedCrystals, shard_name
from matgen.templates.symmetry import Described, describe
from matgen.training.properties import trainable, validation
from matgen.training.tables import DataError, read_crystals
from matgen.workflows.data import is_table, prepare_table, table_facts


def row(entry: TextbookEntry, **more: Any) -> dict[str, Any]:
    structure = entry.structure
    return {
        "material_id": entry.file,
        "cell": list(structure.lattice.parameters),
        "frac": structure.frac_coords.ravel().tolist(),
        "Z": list(structure.atomic_numbers),
    } | more


@pytest.fixture(scope="module")
def source(textbook: tuple[TextbookEntry, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tables with twelve good rows and two bad ones."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "crystals").mkdir()
    rows = [
        row(
            entry,
            band_gap=entry.band_gap,
            band_gap_src="textbook",
            e_form=-1.0,
            e_form_src="mp20_2021" if i % 2 else "megnet2018",
            ehull=None,
            split=("train", "val")[i % 2],
            mp20_split=None if i % 3 else "val",
            volume_ratio=1.0 + 0.1 * i,
        )
        for i, entry in enumerate(textbook[:14])
    ]
    rows[4] |= {"Z": [*rows[4]["Z"], 1]}
    rows[9] |= {"frac": [math.nan] * len(rows[9]["frac"])}
    pq.write_table(pa.Table.from_pylist(rows), folder / "crystals" / "mp24_le20.parquet", row_group_size=5)
    energies = {"material_id": [r["material_id"] for r in rows[::2]], "chgnet_energy": np.arange(7.0)}
    pq.write_table(pa.Table.from_pydict(energies), folder / "crystals" / "chgnet_energies.parquet")
    return folder


@pytest.fixture(scope="module")
def plain(source: Path) -> CrystalTable:
    """The same rows, all in memory at once: the reference for shards."""
    path = source / "crystals" / "mp24_le20.parquet"
    rows = described_rows(path, tuple(pq.read_schema(path).names), 1)
    described = [row for row in rows if isinstance(row.found, Described)]
    return table_of_rows(described, Labels.read(source / "crystals"))


def prepared(source: Path, folder: Path, **more: Any) -> Any:
    path = source / "crystals" / "mp24_le20.parquet"
    return prepare_shards(path, Labels.read(source / "crystals"), folder, rows_of_a_shard=4, **more)


def test_rows_are_described_as_they_are_one_by_one(source: Path, plain: CrystalTable) -> None:
    raw = pq.read_table(source / "crystals" / "mp24_le20.parquet").to_pylist()
    assert len(plain) == 12
    for place, name in enumerate(plain.material_id.tolist()):
        (one,) = (r for r in raw if r["material_id"] == name)
        found = describe(
            cell_from_parameters(np.array(one["cell"])), np.reshape(one["frac"], (-1, 3)), np.array(one["Z"])
        )
        template, geometry = plain.batch(torch.tensor([place]))
        assert template.unbatch() == [found.template]
        np.testing.assert_array_equal(geometry.coords.numpy(), found.coords.astype(np.float32))
        assert plain.mp2020[place] == (one["e_form_src"] == "mp20_2021")


def test_shards_hold_the_rows_of_the_plain_preparation(source: Path, plain: CrystalTable, tmp_path: Path) -> None:
    found = prepared(source, tmp_path / "shards")
    table = ShardedCrystals.load(tmp_path / "shards")
    assert [len(columns["split"]) for columns in table.shards] == [4, 3, 3, 2]
    check_same_table(plain, table.whole())
    assert found.rows == 12
    assert sum(found.failures.values()) == 2
    assert {"numbers that are missing or not finite", "cell, Z and frac of other lengths than six, n and 3 n"} == set(
        found.failures
    )


def test_an_interrupted_preparation_goes_on(source: Path, plain: CrystalTable, tmp_path: Path) -> None:
    def interrupted(rows: Iterator) -> Iterator:
        for number, one in enumerate(rows):
            if number == 9:
                raise KeyboardInterrupt
            yield one

    progress: Any = interrupted
    folder = tmp_path / "shards"
    with pytest.raises(KeyboardInterrupt):
        prepared(source, folder, progress=progress)
    assert sorted(path.name for path in folder.iterdir()) == [shard_name(0), shard_name(1), SOURCE]
    with pytest.raises(DataError, match="is not a prepared table"):
        read_crystals(folder)
    kept = (folder / shard_name(0)).stat().st_mtime_ns
    seen: list[Any] = []

    def counted(rows: Iterator) -> Iterator:
        for one in rows:
            seen.append(one)
            yield one

    progress = counted
    found = prepared(source, folder, progress=progress)
    assert len(seen) == 14 - 8, "rows of finished shards are not described again"
    assert (folder / shard_name(0)).stat().st_mtime_ns == kept
    assert (found.rows, sum(found.failures.values())) == (12, 2)
    check_same_table(plain, ShardedCrystals.load(folder).whole())
    assert prepared(source, folder).rows == 12


def test_shards_made_from_other_data_are_refused(source: Path, tmp_path: Path) -> None:
    made = prepared(source, tmp_path / "shards")
    moved = tmp_path / "moved"
    shutil.copytree(source, moved)
    assert prepared(moved, made.folder).rows == made.rows, "the same tables elsewhere are the same data"

    energies = moved / "crystals" / "chgnet_energies.parquet"
    table = pq.read_table(energies)
    pq.write_table(table.slice(0, table.num_rows - 1), energies)
    with pytest.raises(TableError, match=r"other data or another version \(labels [0-9a-f]{64} - -\); delete it"):
        prepared(moved, made.folder)
    shutil.copy(source / "crystals" / energies.name, energies)

    path = moved / "crystals" / "mp24_le20.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(TableError, match=r"other data or another version \(table [0-9a-f]{64}\); delete it"):
        prepared(moved, made.folder)
    note = made.folder / SOURCE
    note.write_text(json.dumps(json.loads(note.read_text()) | {"version": "0.1"}))
    with pytest.raises(TableError, match=r"another version \(version 0\.1\)"):
        prepared(source, made.folder)


@pytest.mark.slow  # its processes import everything anew
def test_several_processes_keep_the_order(source: Path, plain: CrystalTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "AT_ONCE", 2)
    path = source / "crystals" / "mp24_le20.parquet"
    for start in (0, 3):
        rows = list(described_rows(path, ("split",), 2, start))
        names = [one.labels["material_id"] for one in rows]
        assert names == pq.read_table(path)["material_id"].to_pylist()[start:]
    found = [one.found.template for one in rows if isinstance(one.found, Described)]
    assert found == plain.templates.unbatch()[3:]


def test_few_rows_are_in_memory(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "AT_ONCE", 1)
    monkeypatch.setattr(reading, "READ_AT_ONCE", 2)
    taken: list[int] = []
    crystals = reading._crystals

    def counted(*arguments: Any) -> Iterator:
        for one in crystals(*arguments):
            taken.append(one.number)
            yield one

    monkeypatch.setattr(reading, "_crystals", counted)
    rows = described_rows(source / "crystals" / "mp24_le20.parquet", (), 1)
    next(rows)
    assert len(taken) <= 1 + reading.AHEAD
    rows.close()


# ---------------------------------------------------------------- files and folders, tables of one's own


def test_a_file_ends_as_one_file(source: Path, plain: CrystalTable, tmp_path: Path) -> None:
    out = tmp_path / "cache" / "crystals.npz"
    found = prepare_table(source, out)
    check_same_table(plain, CrystalTable.load(out))
    assert (found.path, found.rows) == (out, 12)
    assert [path.name for path in out.parent.iterdir()] == ["crystals.npz"]


def test_a_folder_holds_shards_and_has_the_facts_of_the_file(source: Path, tmp_path: Path) -> None:
    files = [tmp_path / "crystals.npz", tmp_path / "crystals"]
    for out in files:
        prepare_table(source, out)
        assert is_table(out)
    one, other = (vars(table_facts(out)) for out in files)
    assert {k: v for k, v in one.items() if k != "labels"} == {k: v for k, v in other.items() if k != "labels"}
    assert dict(one["labels"]) == dict(other["labels"])
    assert set(LABELS) == set(one["labels"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").touch()
    with pytest.raises(DataError, match=r"got the folder .*full, which holds files"):
        prepare_table(source, tmp_path / "full")


def test_a_table_of_ones_own_needs_the_geometry_alone(textbook: tuple[TextbookEntry, ...], tmp_path: Path) -> None:
    rows = [row(entry, band_gap=1.0 + i, energy_above_hull=0.01 * i) for i, entry in enumerate(textbook[:20])]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "own.parquet")
    prepare_table(tmp_path / "own.parquet", tmp_path / "own")
    table = read_crystals(tmp_path / "own")
    assert table.label("band_gap").tolist() == [1.0 + i for i in range(20)]
    torch.testing.assert_close(table.label("energy_above_hull"), 0.01 * torch.arange(20))
    assert not table.label("e_form").isfinite().any()
    assert set(table.gap_source.tolist()) == {"table"}
    # The cells are of real crystals, so that the expected volume is right within a factor.
    assert bool(((table.volume_ratio > 0.5) & (table.volume_ratio < 2.0)).all())
    assert len(trainable(table).nonzero()) + len(validation(table)) <= 20
    assert torch.equal(table.split, table.mp20_split)


def test_splits_go_by_formula() -> None:
    from matgen.templates.crystal import CrystalTemplate

    def of(z: int, other: int) -> str:
        return split_of(CrystalTemplate(225, ((1666, z), (1667, other))))

    splits = [of(z, other) for z in range(1, 90) for other in range(1, z)]
    shares = [splits.count(name) / len(splits) for name in ("train", "val", "test")]
    assert shares == pytest.approx([0.9, 0.05, 0.05], abs=0.015)
    assert of(3, 9) == of(9, 3), "sites in another order are the same formula"


def test_bad_tables_are_told(tmp_path: Path) -> None:
    (tmp_path / "none.parquet").write_bytes(b"no table")
    with pytest.raises(TableError, match="expected a Parquet table, got"):
        prepare_table(tmp_path / "none.parquet", tmp_path / "out")
    pq.write_table(pa.table({"material_id": ["a"], "cell": [[1.0]]}), tmp_path / "half.parquet")
    with pytest.raises(TableError, match=r"found no Z, frac; add it"):
        prepare_table(tmp_path / "half.parquet", tmp_path / "out2")
    with pytest.raises(DataError, match="is not there; check the name"):
        prepare_table(tmp_path / "absent.parquet", tmp_path / "out3")
    assert not (tmp_path / "out2" / MANIFEST).exists()


def test_numbers_are_found_by_name() -> None:
    names = ["b", "a", "Å long name", "b"]
    numbers = Numbers(names, np.arange(4.0))
    assert dict(numbers) == dict(zip(names, range(4), strict=True))
    assert len(numbers) == 3
    assert numbers.get("c") is None
    assert numbers.get("zz") is None
    assert Numbers([], np.zeros(0)).get("a") is None


@pytest.mark.parametrize("column", ["cell", "Z", "frac"])
def test_a_null_among_the_numbers_of_a_crystal_leaves_it_out(source: Path, tmp_path: Path, column: str) -> None:
    path = source / "crystals" / "mp24_le20.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[0][column] = [None, *rows[0][column][1:]]
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), tmp_path / "mine.parquet")
    found = prepare_shards(tmp_path / "mine.parquet", Labels.read(source / "crystals"), tmp_path / "shards")
    assert found.rows == 11
    assert "numbers that are missing or not finite" in found.failures


def test_null_splits_and_ratios_are_filled_in_and_unknown_splits_refused(source: Path, tmp_path: Path) -> None:
    path = source / "crystals" / "mp24_le20.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[0] |= {"split": None, "volume_ratio": None}
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), tmp_path / "mine.parquet")
    prepare_shards(tmp_path / "mine.parquet", Labels.read(source / "crystals"), tmp_path / "shards")
    whole = ShardedCrystals.load(tmp_path / "shards").whole()
    assert whole.volume_ratio.isfinite().all()
    rows[0]["split"] = "validation"
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), tmp_path / "other.parquet")
    with pytest.raises(TableError, match="expected split as one of train, val, test, or null, got 'validation'"):
        prepare_shards(tmp_path / "other.parquet", Labels.read(source / "crystals"), tmp_path / "others")
