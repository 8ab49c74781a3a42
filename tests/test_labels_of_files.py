"""Identifiers and labels that files carry come out beside the verdicts, under names that nothing runs."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import ase.io
import pyarrow.parquet as pq
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from pymatgen.core import Lattice, Structure

import matgen
from matgen.screening.given_columns import MOST, GivenColumn, GivenColumns
from matgen.structures.cif import cif_text
from matgen.structures.files import Entry, read_structures
from matgen.structures.labels import LONGEST, kept

CRYSTAL = Structure(Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def one(path: Path) -> Entry:
    (entry,) = read_structures([path], None)
    assert not entry.error, entry.error
    return entry


def test_json_carries_numbers_and_short_texts(tmp_path: Path) -> None:
    record = {
        "material_id": "mp-1",
        "structure": CRYSTAL.as_dict(),
        "band_gap": 4.5,
        "is_metal": False,
        "nsites": 2,
        "theory": "PBE",
        "data": {"k": 7},
        "long": "x" * (LONGEST + 1),
        "list": [1, 2],
        "nothing": None,
        "nan": float("nan"),
    }
    values: dict[str, Any] = {"one": record, "list": [record], "wrapped": {"data": [record]}}
    for name, value in values.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
        entry = one(tmp_path / f"{name}.json")
        assert entry.id == "mp-1"
        assert entry.given == {"band_gap": 4.5, "is_metal": "false", "nsites": 2, "theory": "PBE", "k": 7}


def test_other_formats_carry_them_too(tmp_path: Path) -> None:
    atoms = bulk("MgO", "rocksalt", a=4.21)
    atoms.info |= {"name": "first", "bulk modulus": 160.0, "source": "a b", "relaxed": True}
    atoms.calc = SinglePointCalculator(atoms, energy=-11.25)
    ase.io.write(tmp_path / "a.extxyz", atoms)
    expected = {"energy": -11.25, "source": "a b", "relaxed": "T"}
    assert one(tmp_path / "a.extxyz").id == "first"
    assert expected.items() <= one(tmp_path / "a.extxyz").given.items()
    ase.io.write(tmp_path / "a.traj", atoms)
    assert one(tmp_path / "a.traj").given == {"energy": -11.25}
    with connect(tmp_path / "a.json", append=False) as database:
        database.write(atoms, key_value_pairs={"gap": 4.4})
    assert one(tmp_path / "a.json").given["gap"] == 4.4
    sdf = "water\n\n\n  3  2  0  0  0  0  0  0  0  0999 V2000\n"
    sdf += "".join(
        f"{x:10.4f}{y:10.4f}    0.0000 {s}   0  0\n" for x, y, s in ((0, 0, "O"), (0.96, 0, "H"), (-0.24, 0.93, "H"))
    )
    sdf += "  1  2  1  0\n  1  3  1  0\nM  END\n>  <gap>\n6.5\n\n> 1 <Source>\nby hand\n\n$$$$\n"
    (tmp_path / "a.sdf").write_text(sdf)
    assert (one(tmp_path / "a.sdf").id, one(tmp_path / "a.sdf").given) == ("water", {"gap": 6.5, "Source": "by hand"})


def test_what_fits_no_table_is_left_out_and_names_are_plain() -> None:
    assert kept([("=1+1", 1), ("a b\n", 2), ("a_b", 3), ('"; --', 4), ("", 5), ("@class", 6)], "") == {
        "1+1": 1,
        "a_b": 2,
        "--": 4,
    }
    assert kept([("n", 2**60), ("x", float("inf")), ("t", "a\x1b[31m\tb")], "") == {"t": "a�[31m b"}
    assert len(kept(((f"k{i}", i) for i in range(1000)), "")) == MOST
    assert kept([("id", "a"), ("uid", "b"), ("name", "a")], "a") == {"uid": "b"}


def test_odd_values_are_no_obstacle(tmp_path: Path) -> None:
    odd = ["e5", "1e999", "+", ".", "-", "007", "1_000", "١٢", "²", "", " ", "nan", "1" * 400]
    rows = [["cif", *(f"k{i}" for i in range(len(odd)))], [cif_text(CRYSTAL), *odd]]
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    given = one(tmp_path / "a.csv").given
    assert (given["k0"], given["k5"], given["k6"], given["k11"]) == ("e5", "007", "1_000", "nan")
    assert not {"k1", "k9", "k10", "k12"} & set(given)
    record = {
        "structure": CRYSTAL.as_dict() | {"properties": [1]},
        "data": 3,
        "attributes": [],
        "k": {"a": 1},
        "n": [1],
    }
    (tmp_path / "a.json").write_text(json.dumps(record))
    assert one(tmp_path / "a.json").given == {"data": 3}
    (tmp_path / "a.jsonl").write_text('{"n": ' + "1" * 5000 + "}\n" + json.dumps(record))
    first, second = read_structures([tmp_path / "a.jsonl"])
    assert "not JSON" in first.error
    assert second.structure is not None


def test_columns_are_those_of_the_first_labels_and_numbers_where_all_are() -> None:
    columns = GivenColumns()
    columns.add({"a": 1, "b": 2.5})
    columns.add({"b": "x", "c": "y"})
    assert columns.columns == (GivenColumn("a", True), GivenColumn("b", False), GivenColumn("c", False))
    assert [column.value({"a": 3, "b": 2.5}) for column in columns.columns] == [3.0, "2.5", None]
    columns.add({f"k{i}": i for i in range(MOST)})
    assert (len(columns.columns), columns.left_out) == (MOST, 3)


def test_the_tables_have_a_column_for_each_label(tmp_path: Path) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    bad = cif_text(CRYSTAL).replace("_cell_length_a", "_cell_length_q")
    writer.writerows([["id", "cif", "gap", "=note"], ["x", cif_text(CRYSTAL), "4.50", "=1"], ["y", bad, "7", ""]])
    (tmp_path / "a.csv").write_text(text.getvalue())
    options: dict[str, Any] = {"out": tmp_path / "run", "reference": "none", "known": "none"}
    rows = matgen.screen(tmp_path / "a.csv", **options)
    assert [(row.id, dict(row.given)) for row in rows] == [("x", {"gap": 4.5, "note": "=1"}), ("y", {"gap": 7})]
    table = pq.read_table(tmp_path / "run" / "results.parquet")
    assert table.schema.names[-2:] == ["given_gap", "given_note"]
    assert table.column("id").to_pylist() == ["x", "y"]
    assert table.column("given_gap").to_pylist() == [4.5, 7.0]
    assert table.column("given_note").to_pylist() == ["=1", None]
    with (tmp_path / "run" / "results.csv").open() as stream:
        assert [(row["id"], row["given_gap"], row["given_note"]) for row in csv.DictReader(stream)] == [
            ("x", "4.5", "'=1"),
            ("y", "7.0", ""),
        ]
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("results.*")}
    (tmp_path / "a.csv").write_text(text.getvalue().replace("4.50", "4.75"))
    assert matgen.screen(tmp_path / "a.csv", **options)[0].given["gap"] == 4.75  # a new label is a new row
    (tmp_path / "a.csv").write_text(text.getvalue())
    matgen.screen(tmp_path / "a.csv", **options)  # resumed from the rows on disk
    assert {name: (tmp_path / "run" / name).read_bytes() for name in before} == before


def test_structures_in_memory_carry_their_labels() -> None:
    atoms = bulk("MgO", "rocksalt", a=4.21)
    atoms.info = {"id": "m", "gap": 4.4, 3: "no name"}
    crystal = CRYSTAL.copy(properties={"gap": 4.5})
    for structure, expected in ((atoms, {"gap": 4.4, "3": "no name"}), (crystal, {"gap": 4.5})):
        (row,) = matgen.screen(structure, reference="none", known="none")
        assert dict(row.given) == expected
    assert row.id == ""


@pytest.mark.parametrize("name", ["a.csv", "b.tsv"])
def test_labels_of_molecules(tmp_path: Path, name: str) -> None:
    separator = "\t" if name.endswith("tsv") else ","
    lines = [separator.join(line) for line in (["smiles", "batch", "logp"], ["CCO", "702", "-0.31"], ["O", "007", "x"])]
    (tmp_path / name).write_text("\n".join(lines))
    first, second = read_structures([tmp_path / name], None)
    assert (first.template, first.given) == ("CCO", {"batch": 702, "logp": -0.31})
    assert second.given == {"batch": "007", "logp": "x"}


def res(title: str) -> str:
    """Rock salt as AIRSS writes it."""
    return (
        f"TITL {title}\nREM\nCELL 1.54180 2.97692 2.97692 2.97692 60 60 60\nLATT -1\nSFAC Mg O\n"
        "Mg 1 0.0 0.0 0.0 1.0\nO 2 0.5 0.5 0.5 1.0\nEND\n"
    )


def test_the_title_of_airss_becomes_labels(tmp_path: Path) -> None:
    (tmp_path / "a.res").write_text(res("MgO-1-2 10.0 18.65 -11.25e0 0.00 -0.01 2 (Fm-3m) n - 17"), encoding="utf-8")
    numbers = {"pressure": 10.0, "volume": 18.65, "enthalpy": -11.25, "spin": 0.0, "absolute_spin": -0.01}
    found = one(tmp_path / "a.res").given
    assert found == numbers | {"title": "MgO-1-2", "n_ions": 2, "symmetry": "Fm-3m", "copies": 17}


@pytest.mark.parametrize(
    "title", ["", "MgO in Fm-3m", "MgO 10.0 18.65 -11.25", "x 1 2 3 4 5 6 7 (P1) n", "x " + "9" * 200_000]
)
def test_other_titles_of_res_files_are_no_labels(title: str, tmp_path: Path) -> None:
    (tmp_path / "a.res").write_text(res(title), encoding="utf-8")
    assert one(tmp_path / "a.res").given == {}
