"""`matgen.screen` takes what programs hold: crystals and molecules of pymatgen and ASE, alone or several."""

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from pymatgen.core import IStructure, Lattice, Molecule, Structure
from pymatgen.io.ase import AseAtomsAdaptor

import matgen
from matgen.generation.errors import RequestError
from matgen.generation.known_chemistry import known_chemistry, why_unknown
from matgen.generation.request import Request
from matgen.runtime.threads import usual_threads
from matgen.screening.config import NONE, ScreenError
from matgen.screening.row import Row
from matgen.search.selection import CandidateChecks
from matgen.structures.candidate import Candidate
from matgen.workflows.design import design

CHEAP = {"reference": NONE, "known": NONE}


def salt() -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def screened(what: Any) -> list[Row]:
    return matgen.screen(what, **CHEAP)


def test_a_crystal_is_the_same_in_every_package() -> None:
    primitive = salt().get_primitive_structure()
    rows = [
        screened(one)[0]
        for one in (primitive, AseAtomsAdaptor.get_atoms(primitive), IStructure.from_sites(primitive.sites))
    ]
    for row in rows:
        assert row.error == ""
        assert row.formula == "NaCl"
        assert row.candidate is not None
        assert row.candidate.space_group.number == 225
        assert row.candidate.properties["band_gap"].value == pytest.approx(
            rows[0].candidate.properties["band_gap"].value, rel=1e-3
        )


def test_several_of_either_package_are_rows_in_their_order() -> None:
    both: list[Any] = [bulk("Cu"), salt(), bulk("NaCl", "rocksalt", a=5.64)]
    rows = screened(iter(both))
    assert [row.formula for row in rows] == ["Cu", "NaCl", "NaCl"]
    assert not rows[2].verdicts["unique"].passed


def test_molecules_of_ase_keep_their_charge() -> None:
    water = molecule("H2O")
    hydroxide = molecule("OH")
    hydroxide.info["charge"] = -1
    ammonium = Atoms("NH4", np.array([[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]) * [[0.6]])
    ammonium.set_initial_charges([1, 0, 0, 0, 0])
    rows = screened([water, hydroxide, ammonium, Molecule("OHH", water.positions)])
    assert [row.candidate.template for row in rows if row.candidate] == ["O", "[OH-]", "[NH4+]", "O"]


def test_occupancies_of_ase_are_no_ordered_crystal() -> None:
    by_atom, by_kind, full = (bulk("NaCl", "rocksalt", a=5.64) for _ in range(3))
    by_atom.set_array("occupancy", np.array([0.5, 1.0]))
    by_kind.info["occupancy"] = {"0": {"Na": 0.5, "K": 0.5}, "1": {"Cl": 1.0}}
    full.info["occupancy"] = {"0": {"Na": 1.0}, "1": {"Cl": 1.0}}
    full.set_array("occupancies", np.ones(2))
    rows = screened([by_atom, by_kind, full])
    assert [row.error.partition(";")[0] for row in rows] == ["disordered: an atom has occupancy 0.5"] * 2 + [""]


def test_what_is_neither_is_a_row_with_a_reason() -> None:
    strange = bulk("Cu")
    strange.numbers[0] = 0
    flat = Atoms("Cu", cell=[[1, 0, 0], [2, 0, 0], [0, 0, 1]], pbc=True)
    rows = screened([fcc111("Cu", (1, 1, 3), vacuum=8.0), strange, flat, Atoms(pbc=True, cell=[3, 3, 3]), bulk("Cu")])
    reasons = ["no crystal: expected a cell that", "X is no element", "its cell has no volume", "no atoms", ""]
    for row, reason in zip(rows, reasons, strict=True):
        assert row.error.startswith(reason)
        assert bool(row.error) == bool(reason)
    arrays = salt()
    arrays.add_site_property("force", list(np.zeros((8, 3))))
    assert screened(arrays)[0].error == ""


@pytest.mark.parametrize(("what", "kind"), [(5, "int"), ([None], "NoneType"), ([bulk("Cu"), {}], "dict")])
def test_what_is_no_structure_is_told(what: Any, kind: str) -> None:
    with pytest.raises(ScreenError, match=rf"expected paths, or structures of pymatgen .*, got {kind}"):
        screened(what)
    with pytest.raises(ScreenError, match="a mixture"):
        screened([bulk("Cu"), molecule("H2O")])


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_atoms": 0}, "expected max_atoms of at least 1, got 0"),
        ({"formula": ""}, "expected formula with a value, got an empty text"),
        ({"include": ["Li", " "]}, "expected include with a value"),
    ],
)
def test_the_library_refuses_empty_requests_too(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        design(**options)


@pytest.mark.parametrize("formula", ["NaCl", "Fe3Al", "SrTiO3", "XeF2", "CaC6", "Na7Cl", "Ne"])
def test_known_chemistry_is_known(formula: str) -> None:
    assert Request.of(formula=formula).unknown_chemistry == ""


@pytest.mark.parametrize("formula", ["He3Ne", "BaXe", "ArO2"])
def test_what_no_known_chemistry_forms_is_told_by_every_candidate(formula: str) -> None:
    request = Request.of(formula=formula, relax="none")
    assert f"no known chemistry forms {formula}: no oxidation states of" in "".join(request.warnings)
    crystal = Structure(Lattice.cubic(4.0), ["He", "Ne"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    verdict = known_chemistry(Candidate("a", crystal, crystal, None))
    assert not verdict.passed
    assert "He and Ne balance (SMACT), and no known crystal holds just these elements" in verdict.reason
    assert why_unknown({"He": 1, "Ne": 1}) == verdict.reason
    checks = CandidateChecks.of(request)
    assert "known_chemistry" in checks.checks
    assert "known_chemistry" in checks.advisory
    assert "known_chemistry" not in CandidateChecks.of(Request.of(relax="none")).checks


@pytest.mark.parametrize(("told", "threads"), [("", 1), ("3", 3), ("0", 1), ("many", 1), ("²", 1)])
def test_a_process_takes_one_thread_unless_told(told: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert usual_threads() == threads
