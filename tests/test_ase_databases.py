"""Databases of ASE in SQLite are read as ASE reads them, never written to, and what is none says so."""

import json
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect
from ase.io import write

import matgen
from matgen.structures.files import Entry, read_structures

SALT = bulk("NaCl", "rocksalt", a=5.64)
SILICON = bulk("Si")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Rows 1, 3 and 4: salt with energy and labels, silicon with a constraint, and an ion."""
    path = tmp_path / "mine.db"
    salt = SALT.copy()
    salt.calc = SinglePointCalculator(salt, energy=-6.5)
    fixed = SILICON.copy()
    fixed.set_constraint(FixAtoms([0]))
    hydroxide = Atoms("OH", positions=[[0, 0, 0], [0, 0, 0.97]])
    hydroxide.set_initial_charges([-1, 0])
    with connect(path, append=False) as rows:
        rows.write(salt, name="salt", gap=8.5, data={"big": np.zeros(5)})
        rows.write(SILICON)
        rows.write(fixed)
        rows.write(hydroxide)
        del rows[2]
    return path


def entries(path: Path) -> list[Entry]:
    return list(read_structures([path], None))


def test_rows_have_their_ids_as_names_and_carry_their_labels(database: Path) -> None:
    salt, silicon, ion = entries(database)
    assert [one.name for one in (salt, silicon, ion)] == ["mine.db#1", "mine.db#3", "mine.db#4"]
    assert [one.error for one in (salt, silicon, ion)] == [""] * 3
    assert salt.crystal is not None
    assert np.allclose(salt.crystal.lattice.matrix, SALT.cell.array)
    assert np.allclose(salt.crystal.cart_coords, SALT.positions)
    assert salt.id == "salt"
    assert salt.given == {"energy": -6.5, "gap": 8.5}  # and not the random identifier of the row
    assert silicon.id
    assert (silicon.given, ion.given) == ({}, {})
    assert silicon.crystal is not None
    assert silicon.crystal.formula == "Si2"
    assert ion.template == "[OH-]"


def test_a_folder_that_holds_one_is_screened(database: Path) -> None:
    rows = matgen.screen(database.parent, kind="crystal", reference="none", known="none")
    assert sorted(row.name.rpartition("/")[2] for row in rows) == ["mine.db#1", "mine.db#3", "mine.db#4"]
    by_name = {row.name.rpartition("#")[2]: row for row in rows}
    assert by_name["1"].verdicts["reads"].passed
    assert not by_name["4"].verdicts["reads"].passed  # a molecule among crystals


def test_the_same_rows_as_json_are_the_same_entries(database: Path, tmp_path: Path) -> None:
    with connect(database) as rows, connect(tmp_path / "mine.json", append=False) as copy:
        for row in rows.select():
            copy.write(row, key_value_pairs=row.key_value_pairs)
    as_json = entries(tmp_path / "mine.json")
    for one, other in zip(entries(database), as_json, strict=True):
        labels = {name: value for name, value in other.given.items() if name != "calculator"}  # in JSON alone
        assert (one.error, one.template, one.given) == (other.error, other.template, labels)
        assert one.structure is not None
        assert other.structure is not None
        assert np.allclose(one.structure.cart_coords, other.structure.cart_coords)
    assert as_json[0].id == "salt"


def _tables_of_others(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE papers (id INTEGER, title TEXT)")
        connection.commit()


def _no_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=1")


def _other_systems(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE systems (id INTEGER, planet TEXT)")
        connection.commit()


def _view(path: Path) -> None:
    """Select from something that never ends, under the name of ASE's table."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE VIEW systems AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id FROM n"
        )
        connection.commit()


def _no_rows(path: Path) -> None:
    with connect(path, append=False) as rows:
        rows.write(SALT)
        del rows[1]


def _newer(path: Path) -> None:
    connect(path, append=False).write(SALT)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE information SET value = '10' WHERE name = 'version'")
        connection.commit()


def _changes_beside(path: Path) -> None:
    connect(path, append=False).write(SALT)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _cut(path: Path) -> None:
    with connect(path, append=False) as rows:
        for _ in range(30):
            rows.write(SALT)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


REFUSED: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: path.write_bytes(b""), "the file is empty"),
    (lambda path: path.write_bytes(b"BerkeleyDB" * 100), "no SQLite"),
    (lambda path: path.write_bytes(b"SQLite format 3\0" + b"\1" * 500), "damaged"),
    (lambda path: path.write_bytes(b"SQLite format 3\0"), "damaged"),
    (_tables_of_others, "not of ASE: expected a table `systems`, got papers"),
    (_no_table, "not of ASE: expected a table `systems`, got none"),
    (_other_systems, "lacks cell, energy"),
    (_view, "not of ASE: expected a table `systems`"),
    (_no_rows, "without rows"),
    (_newer, "version 5 to 9, got 10"),
    (_changes_beside, "journal_mode=DELETE"),
    (_cut, "damaged"),
]


@pytest.mark.parametrize(("make", "reason"), REFUSED)
def test_what_is_no_whole_database_of_ase_says_so_and_stays_as_it_is(
    make: Callable[[Path], object], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.db"
    make(path)
    before, content = sorted(tmp_path.iterdir()), path.read_bytes()
    (entry,) = entries(path)
    assert reason in entry.error, entry.error
    assert entry.structure is None
    assert (sorted(tmp_path.iterdir()), path.read_bytes()) == (before, content)


def test_reading_writes_nothing_and_needs_no_right_to(database: Path, tmp_path: Path) -> None:
    database.chmod(stat.S_IRUSR)
    content, when = database.read_bytes(), database.stat().st_mtime_ns
    assert len(entries(database)) == 3
    assert (database.read_bytes(), database.stat().st_mtime_ns) == (content, when)
    assert list(tmp_path.iterdir()) == [database]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("positions", b"1234567", "a damaged row"),
        ("positions", None, "a damaged row"),
        ("numbers", b"\0\0\0\0" * 2, "no element"),
        ("numbers", b"\xff\xff\xff\x7f" * 2, "not readable"),
        ("cell", b"\0" * 16, "a damaged row"),
        ("key_value_pairs", "{", "a damaged row"),
        ("key_value_pairs", "[1]", "a damaged row: expected key-value pairs as an object, got list"),
        ("key_value_pairs", '""', "a damaged row: expected key-value pairs as an object, got str"),
        ("energy", "-3.5 eV", "a damaged row: expected a number as its energy, got '-3.5 eV'"),
        ("energy", float("-inf"), "a damaged row: expected a number as its energy, got '-inf'"),
        ("pbc", 3, "repeat"),
    ],
)
def test_a_damaged_row_stands_beside_whole_ones(database: Path, column: str, value: object, reason: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"UPDATE systems SET {column} = ? WHERE id = 3", (value,))  # noqa: S608 (a name of ours)
        connection.commit()
    first, damaged, last = entries(database)
    assert (first.error, last.error) == ("", "")
    assert damaged.name == "mine.db#3"
    assert reason in damaged.error, damaged.error


def test_a_computed_column_is_not_computed(database: Path) -> None:
    """A column that is computed could ask for any memory."""
    with closing(sqlite3.connect(database)) as connection:
        text = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'systems'").fetchone()[0]
        wide = text.replace("cell BLOB", "cell BLOB AS (zeroblob(900000000))").replace("CREATE TABLE systems", "")
        assert "zeroblob" in wide
        connection.execute("DROP TABLE systems")
        connection.execute(f"CREATE TABLE systems{wide}")
        connection.execute("INSERT INTO systems (id, numbers) VALUES (1, x'0b000000')")
        connection.commit()
    (entry,) = entries(database)
    assert "lacks cell" in entry.error, entry.error


@pytest.mark.parametrize(("charges", "smiles"), [([-0.8, -0.2], "[OH-]"), ([-0.78, -0.18], "[OH-]"), ([0.4, 0.3], "")])
def test_charges_of_atoms_make_a_whole_number_or_none(charges: list[float], smiles: str, tmp_path: Path) -> None:
    hydroxide = Atoms("OH", positions=[[0, 0, 0], [0, 0, 0.97]])
    hydroxide.set_initial_charges(charges)
    connect(tmp_path / "a.db", append=False).write(hydroxide)
    write(tmp_path / "a.traj", hydroxide)
    write(tmp_path / "a.xyz", hydroxide, format="extxyz")
    for path in (tmp_path / "a.db", tmp_path / "a.traj", tmp_path / "a.xyz"):
        (entry,) = entries(path)
        assert entry.template == smiles, path
        assert ("add up to a whole number, the charge of the molecule, got 0.7" in entry.error) == (not smiles)
    (row,) = matgen.screen(hydroxide, reference="none", known="none")
    assert ("add up to a whole number" in row.error) == (not smiles)


def test_pairs_of_json_that_are_no_object_say_so(tmp_path: Path) -> None:
    with connect(tmp_path / "a.json", append=False) as rows:
        rows.write(molecule("H2O"))
    whole = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    whole["1"]["key_value_pairs"] = ["a"]
    (tmp_path / "a.json").write_text(json.dumps(whole), encoding="utf-8")
    (entry,) = entries(tmp_path / "a.json")
    assert entry.error == "expected key-value pairs as an object, got list"


def test_molecules_of_a_database_are_molecules(tmp_path: Path) -> None:
    connect(tmp_path / "a.db", append=False).write(molecule("CH3CH2OH"))
    (entry,) = read_structures([tmp_path / "a.db"], "molecule")
    assert entry.template == "CCO"
