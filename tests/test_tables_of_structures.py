"""Tables and JSON of other programs give the structures that they hold, whatever separates and wraps them."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.db import connect
from pymatgen.core import Lattice, Molecule, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp import Poscar

from matgen.structures.cif import cif_text
from matgen.structures.files import read_structures

CRYSTAL = Structure(Lattice.hexagonal(3.25, 5.21), ["Zn", "Zn", "O", "O"], [
    [1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.382], [2 / 3, 1 / 3, 0.882]])  # fmt: skip


def table(separator: str, column: str, cell: str) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator)
    writer.writerows([["id", column, "note"], ["a", cell, "one, two; three"], ["b", cell, ""]])
    return text.getvalue()


def check(path: Path, n: int) -> None:
    entries = list(read_structures([path], None))
    assert [entry.error for entry in entries] == [""] * n
    for entry in entries:
        assert entry.crystal is not None
        assert entry.crystal.composition == CRYSTAL.composition
        assert np.isclose(entry.crystal.volume, CRYSTAL.volume)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_is_read_whatever_separates_its_columns(tmp_path: Path, separator: str, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(table(separator, "cif", cif_text(CRYSTAL)).encode(encoding))
    check(path, 2)


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("structure", Poscar(CRYSTAL).get_str()),
        ("POSCAR", Poscar(CRYSTAL).get_str()),
        ("structure", str(CRYSTAL.as_dict())),
        ("initial_structure", json.dumps(CRYSTAL.as_dict())),
    ],
)
def test_a_cell_holds_a_structure_in_any_notation(tmp_path: Path, column: str, cell: str) -> None:
    (tmp_path / "a.csv").write_text(table(",", column, cell))
    check(tmp_path / "a.csv", 2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (cif_text(CRYSTAL) + cif_text(CRYSTAL).replace("Zn", "Cd"), "expected one crystal, got 2, data_"),
        (Poscar(CRYSTAL).get_str() + Poscar(CRYSTAL).get_str(), "expected one crystal, got 2 POSCARs"),
    ],
)
def test_two_crystals_in_one_cell_or_one_text_of_json_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.csv").write_text(table(",", "structure", text))
    (tmp_path / "b.json").write_text(json.dumps({"structure": text}))
    entries = list(read_structures([tmp_path / "a.csv", tmp_path / "b.json"], None))
    assert len(entries) == 3
    for entry in entries:
        assert entry.structure is None
        assert reason in entry.error, entry.error


def test_an_empty_cell_leaves_the_next_column_to_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,canonical_smiles,cif\n1,CCO,\n2,,\n")
    first, second = read_structures([tmp_path / "a.csv"], None)
    assert (first.kind, first.template) == ("molecule", "CCO")
    assert "nothing in column" in second.error


def optimade(**more: Any) -> dict[str, Any]:
    species = [{"name": f"{s}1", "chemical_symbols": [s], "concentration": [1.0]} for s in ("Zn", "O")]
    return {
        "type": "structures",
        "id": "x/1",
        "attributes": {
            "lattice_vectors": CRYSTAL.lattice.matrix.tolist(),
            "cartesian_site_positions": CRYSTAL.cart_coords.tolist(),
            "species_at_sites": [f"{site.specie.symbol}1" for site in CRYSTAL],
            "species": species,
            "dimension_types": [1, 1, 1],
            "nsites": 4,
            "chemical_formula_reduced": "OZn",
            **more,
        },
    }


def test_the_json_of_other_programs_is_read(tmp_path: Path) -> None:
    lattice = CRYSTAL.lattice
    network = {
        "frac_coords": CRYSTAL.frac_coords.tolist(),
        "atom_types": list(CRYSTAL.atomic_numbers),
        "lengths": list(lattice.abc),
        "angles": list(lattice.angles),
    }
    record = {"material_id": "m", "structure": CRYSTAL.as_dict()}
    values: dict[str, tuple[Any, int]] = {
        "optimade": ({"data": [optimade(), optimade()], "meta": {}}, 2),
        "single": ({"data": optimade()}, 1),
        "bare": (optimade(), 1),
        "wrapped": ({"data": [record]}, 1),
        "network": ([network] * 3, 3),
        "split": ({"index": [0], "columns": ["id", "structure"], "data": [["m", CRYSTAL.as_dict()]]}, 1),
        "final": ([{"id": "m", "final_structure": CRYSTAL.as_dict()}], 1),
    }
    for name, (value, n) in values.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
        check(tmp_path / f"{name}.json", n)
    (tmp_path / "printed.json").write_text(str(CRYSTAL.as_dict()))
    check(tmp_path / "printed.json", 1)
    with connect(tmp_path / "ase.json", append=False) as database:
        for _ in range(2):
            database.write(AseAtomsAdaptor.get_atoms(CRYSTAL, msonable=False))
    check(tmp_path / "ase.json", 2)


def test_a_mapping_of_structures_may_hold_other_things_of_which_none_vanishes(tmp_path: Path) -> None:
    poscar = Poscar(CRYSTAL).get_str()
    network = {
        "frac_coords": CRYSTAL.frac_coords.tolist(),
        "atom_types": list(CRYSTAL.atomic_numbers),
        "lengths": list(CRYSTAL.lattice.abc),
        "angles": list(CRYSTAL.lattice.angles),
    }
    told = {"version": 2, "about": "two of many", "elements": ["Zn", "O"], "final": True}
    good = {"a": CRYSTAL.as_dict(), "b": poscar, "c": str(CRYSTAL.as_dict()), "d": network, "e": optimade()}
    bad = {"failed": None, "settings": {"cutoff": 500}, "more": [CRYSTAL.as_dict()], "cut": "data_x\n_cell_len"}
    (tmp_path / "x.json").write_text(json.dumps(told | good | bad))
    entries = {entry.name: entry for entry in read_structures([tmp_path / "x.json"], None)}
    assert set(entries) == {f"x.json#{name}" for name in good | bad}
    for name in good:
        crystal = entries[f"x.json#{name}"].crystal
        assert crystal is not None, name
        assert crystal.composition == CRYSTAL.composition
    for name in bad:
        assert entries[f"x.json#{name}"].structure is None
    assert "keys cutoff" in entries["x.json#settings"].error
    assert "NoneType" in entries["x.json#failed"].error


def test_optimade_is_held_against_its_own_words(tmp_path: Path) -> None:
    vacancy = [{"name": "Zn1", "chemical_symbols": ["Zn", "vacancy"], "concentration": [0.5, 0.5]}]
    cases = [
        (optimade(nsites=6), "has 4 sites, and says 6"),
        (optimade(chemical_formula_reduced="O2Zn"), "its formula is O2Zn"),
        (optimade(dimension_types=[1, 1, 0]), "repeats along three axes"),
        (optimade(nperiodic_dimensions=2), "repeats along three axes, got nperiodic_dimensions 2"),
        (optimade(structure_features=["implicit_atoms"]), "no site holds (implicit_atoms)"),
        (optimade(structure_features=["assemblies"]), "alternatives of each other (assemblies)"),
        (optimade(assemblies=[{"sites_in_groups": [[0], [1]]}]), "alternatives of each other (assemblies)"),
        (optimade(species=vacancy, species_at_sites=["Zn1", "Zn1", "O", "O"]), "disordered"),
    ]
    for value, reason in cases:
        (tmp_path / "x.json").write_text(json.dumps(value))
        (entry,) = read_structures([tmp_path / "x.json"])
        assert entry.structure is None
        assert reason in entry.error, entry.error


def test_features_that_change_no_site_are_no_obstacle(tmp_path: Path) -> None:
    told = optimade(nperiodic_dimensions=3, structure_features=["disorder"], assemblies=None)
    (tmp_path / "x.json").write_text(json.dumps(told))
    check(tmp_path / "x.json", 1)


@pytest.mark.parametrize("n_told", [4, [4], 8, [8]])
def test_a_dictionary_of_cdvae_is_held_against_its_number_of_atoms(tmp_path: Path, n_told: int | list[int]) -> None:
    value = {"frac_coords": CRYSTAL.frac_coords.tolist(), "atom_types": list(CRYSTAL.atomic_numbers)}
    value |= {"lengths": list(CRYSTAL.lattice.abc), "angles": list(CRYSTAL.lattice.angles), "num_atoms": n_told}
    (tmp_path / "x.json").write_text(json.dumps(value))
    (entry,) = read_structures([tmp_path / "x.json"])
    assert entry.error == (
        "" if n_told in (4, [4]) else "the structure contradicts its file: it has 4 sites, and says 8"
    )


def test_tables_of_pandas_are_read_in_every_orientation(tmp_path: Path) -> None:
    cell = CRYSTAL.as_dict()
    values: dict[str, Any] = {
        "split": {"index": ["x", "y"], "columns": ["structure", "gap"], "data": [[cell, 1.5], [cell, 2.5]]},
        "columns": {"structure": {"x": cell, "y": cell}, "gap": {"x": 1.5, "y": 2.5}},
        "index": {"x": {"structure": cell, "gap": 1.5}, "y": {"structure": cell, "gap": 2.5}},
        "table": {
            "schema": {},
            "data": [{"id": "x", "structure": cell, "gap": 1.5}, {"id": "y", "structure": cell, "gap": 2.5}],
        },
    }
    for name, value in values.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
        check(tmp_path / f"{name}.json", 2)
        assert [(one.id, one.given["gap"]) for one in read_structures([tmp_path / f"{name}.json"])] == [
            ("x", 1.5),
            ("y", 2.5),
        ]


@pytest.mark.parametrize("place", ["site", "structure"])
@pytest.mark.parametrize("kind", [Structure, Molecule])
def test_a_module_that_json_names_is_not_imported(tmp_path: Path, place: str, kind: type[Structure | Molecule]) -> None:
    water = Molecule(["O", "H", "H"], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    value = (CRYSTAL if kind is Structure else water).as_dict()
    held = value if place == "structure" else value["sites"][0]
    held["properties"] = {"x": {"@module": "antigravity", "@class": "fly"}}
    (tmp_path / "a.json").write_text(json.dumps(value))
    (entry,) = read_structures([tmp_path / "a.json"], None)
    assert entry.structure is not None, entry.error
    assert "antigravity" not in sys.modules


def test_what_python_prints_is_read_and_never_run(tmp_path: Path) -> None:
    printed = str([CRYSTAL.as_dict() | {"charge": float("nan")}, {"structure": CRYSTAL.as_dict()}])
    assert "nan" in printed
    (tmp_path / "a.json").write_text(printed)
    check(tmp_path / "a.json", 2)
    broken = ("{'a': " + "-" * 100_000 + "1}", "{'a': __import__('os').getcwd()}", "{'a'", "{'a': " + "[" * 1000)
    for text in broken:
        (tmp_path / "b.json").write_text(text)
        (tmp_path / "b.csv").write_text(table(",", "structure", text))
        for name in ("b.json", "b.csv"):
            errors = [entry.error for entry in read_structures([tmp_path / name])]
            assert errors
            assert all("nested too deeply" in error or "dictionary of Python" in error for error in errors), errors
