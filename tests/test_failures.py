"""An exception on one item is the result of that item, whatever raises it; what concerns the machine is raised."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TextbookEntry
from pymatgen.core import DummySpecies, Lattice, Molecule, Structure

import matgen
from matgen.novelty.duplicates import SeenStructures
from matgen.runtime.failures import each, guarded, of_the_machine, reason_of, together
from matgen.runtime.output import OutputError
from matgen.runtime.processes import DIED
from matgen.screening.config import NONE, ScreenConfig
from matgen.screening.crystals import CrystalScreener
from matgen.screening.row import Row
from matgen.structures.cif import cif_text
from matgen.structures.files import read_structures
from matgen.structures.reading import READERS
from matgen.workflows.screen import run, screen

CHEAP = ScreenConfig(reference=NONE, known=NONE)


class OfAForeignPackageError(Exception):
    """An exception that no list of expected ones contains."""


def inverse(number: int) -> float:
    if number == 5:
        raise OfAForeignPackageError("five\nis\x1b[31m odd")
    return 1 / number


def failed(number: int, reason: str) -> str:
    return f"{number}: {reason}"


# ---------------------------------------------------------------- the boundary


def test_each_item_has_its_own_exception() -> None:
    assert each(inverse, [2, 0, 5], failed) == [
        0.5,
        "0: ZeroDivisionError: division by zero",
        "5: OfAForeignPackageError: five is�[31m odd",
    ]


def test_of_items_together_only_those_at_fault_fail() -> None:
    calls: list[int] = []

    def inverses(numbers: Sequence[int]) -> list[float]:
        calls.append(len(numbers))
        return [inverse(number) for number in numbers]

    found = together(inverses, list(range(1, 33)), failed)
    assert [one for one in found if isinstance(one, str)] == ["5: OfAForeignPackageError: five is�[31m odd"]
    assert found[:4] == [1.0, 0.5, 1 / 3, 0.25]
    assert len(found) == 32
    assert len(calls) <= 2 * 5 + 1  # in halves, not one by one
    calls.clear()
    together(inverses, [1, 2, 3], failed)
    assert calls == [3]
    assert together(inverses, [], failed) == []


@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError(errno.ENOSPC, "full"), OSError(errno.EROFS, "read-only"), OutputError("cannot write")],
    ids=repr,
)
def test_what_the_next_item_would_meet_as_well_is_raised(error: Exception) -> None:
    def work(_: Any) -> None:
        raise error

    with pytest.raises(type(error)):
        guarded(work, 1, failed)
    with pytest.raises(type(error)):
        together(work, [1, 2], failed)


def test_an_array_that_is_too_large_concerns_its_item() -> None:
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 62, dtype=np.uint8)
    assert not of_the_machine(caught.value)
    assert of_the_machine(KeyboardInterrupt())
    assert len(reason_of(ValueError("long " * 1000))) == 300


# ---------------------------------------------------------------- in a screening


@pytest.fixture
def crystals(textbook: tuple[TextbookEntry, ...]) -> list[Structure]:
    """Five small crystals."""
    return [entry.structure for entry in textbook if len(entry.structure) <= 8][:5]


def fails_on(formula: str, plain: Any) -> Any:
    """What raises an unexpected exception if a crystal of this formula is among its arguments."""

    def failing(*arguments: Any, **options: Any) -> Any:
        if formula in repr(arguments) or any(_formulas(one) & {formula} for one in arguments):
            raise OfAForeignPackageError("no such crystal")
        return plain(*arguments, **options)

    return failing


def _formulas(value: Any) -> set[str]:
    if isinstance(value, Row):
        return {value.formula}
    if isinstance(value, Structure):
        return {value.reduced_formula}
    return {formula for one in value for formula in _formulas(one)} if isinstance(value, list | tuple) else set()


@pytest.mark.parametrize(
    ("method", "check"), [("checked", ""), ("with_energies", "hull"), ("template", "in_domain"), ("compared", "novel")]
)
def test_an_exception_in_any_step_concerns_one_row(
    method: str, check: str, crystals: list[Structure], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the other checks of that row are made."""
    bad = crystals[2].reduced_formula
    plain = getattr(CrystalScreener, method)

    def failing(self: CrystalScreener, given: Any) -> Any:
        rows = given if isinstance(given, list) else [given]
        if any(row.candidate.structure.reduced_formula == bad for row in rows if isinstance(row, Row)):
            raise OfAForeignPackageError("no such crystal")
        if not isinstance(given, list | Row) and given.structure.reduced_formula == bad:
            raise OfAForeignPackageError("no such crystal")
        return plain(self, given)

    before = screen(crystals)
    monkeypatch.setattr(CrystalScreener, method, failing)
    after = screen(crystals)
    reason = "OfAForeignPackageError: no such crystal"
    for row, same in zip(after, before, strict=True):
        if same.formula != bad:
            assert row.verdicts.keys() == same.verdicts.keys()
            assert row.passed == same.passed
        elif check:
            assert row.verdicts[check].reason == f"not assessed: {reason}"
            assert not row.passed
            assert row.verdicts.keys() >= {"reads", "min_distance", "novel", "unique"}
        else:
            assert row.candidate is None
            assert row.error == f"not readable: {reason}"


def test_a_comparison_that_fails_concerns_one_row(crystals: list[Structure], monkeypatch: pytest.MonkeyPatch) -> None:
    bad = crystals[1].reduced_formula
    monkeypatch.setattr(SeenStructures, "add", fails_on(bad, SeenStructures.add))
    rows = screen([*crystals, crystals[0]], reference=NONE, known=NONE)
    assert [row.verdicts["unique"].passed for row in rows] == [True, False, True, True, True, False]
    assert "OfAForeignPackageError" in rows[1].verdicts["unique"].reason
    assert rows[5].verdicts["unique"].reason.endswith("structure#0")


def dummies() -> dict[str, str]:
    """Files with sites that are no atoms, by name."""
    cell = Lattice.cubic(3.9)
    corner, middle = [0, 0, 0], [0.5, 0.5, 0.5]
    charged = Structure(cell, [DummySpecies("Xq", 2), "O"], [corner, middle])
    plain = Structure(cell, [DummySpecies("Qc"), "O"], [corner, middle])
    vacancy = Structure(cell, [DummySpecies("X0+"), "O"], [corner, middle])
    ring = Molecule([DummySpecies("X"), "C", "H"], [[0, 0, 0], [0, 0, 1.4], [0, 0, 2.5]])
    odd: list[Structure | Molecule] = [charged, plain, vacancy, ring]
    files = {f"{i}_dummy.json": json.dumps(one.as_dict()) for i, one in enumerate(odd)}
    head = "data_a\n_cell_length_a 3.9\n_cell_length_b 3.9\n_cell_length_c 3.9\n_cell_angle_alpha 90\n"
    head += "_cell_angle_beta 90\n_cell_angle_gamma 90\nloop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\nloop_\n"
    head += "_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
    for symbol in ("M", "X", "Q", "Cg", "DUM"):
        files[f"{symbol}.cif"] = f"{head}{symbol}1 {symbol} 0 0 0\nO1 O 0.5 0.5 0.5\n"
    files["dummy.vasp"] = "X O\n1.0\n3.9 0 0\n0 3.9 0\n0 0 3.9\nX O\n1 1\ndirect\n0 0 0\n0.5 0.5 0.5\n"
    lattice = 'Lattice="3.9 0 0 0 3.9 0 0 0 3.9" Properties=species:S:1:pos:R:3 pbc="T T T"'
    files["dummy.extxyz"] = f"2\n{lattice}\nX 0 0 0\nO 1.95 1.95 1.95\n"
    return files


@pytest.mark.parametrize("jobs", [1, 2])
def test_sites_that_are_no_atoms_cost_their_own_row(crystals: list[Structure], tmp_path: Path, jobs: int) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    bad = dummies()
    for name, text in bad.items():
        (folder / name).write_text(text, encoding="utf-8")
    for index, crystal in enumerate(crystals):
        for letter in "!z":  # before and after the bad ones
            (folder / f"{letter}{index}.cif").write_text(cif_text(crystal), encoding="utf-8")
    done = run([folder], CHEAP, tmp_path / "out", jobs=jobs)
    rows = {row.name.removeprefix("in/").removesuffix("#0"): row for row in done.rows}
    assert len(rows) == len(bad) + 2 * len(crystals)
    for name, row in rows.items():
        assert (row.candidate is None) == bool(row.error), name
        if not (name in bad and name.endswith(".cif")):  # of a CIF such a site may be left out
            assert bool(row.error) == (name in bad), name


def test_an_exception_of_a_reader_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(_: Any) -> None:
        raise OfAForeignPackageError("unheard of")

    (tmp_path / "a.smi").write_text("CCO\n", encoding="utf-8")
    monkeypatch.setitem(READERS, "smi", raises)
    (entry,) = read_structures([tmp_path], None)
    assert entry.error == "not readable as smi: OfAForeignPackageError: unheard of"


def test_bytes_of_a_foreign_file_name_are_written(crystals: list[Structure], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.cif")).write_text(cif_text(crystals[0]), encoding="utf-8")
    done = run([folder], CHEAP, tmp_path / "out")
    assert [row.name for row in done.rows] == ["in/caf\N{REPLACEMENT CHARACTER}.cif"]


DEADLY = """
import os
import matgen.structures.reading as reading

plain = reading.READERS["poscar"]
reading.READERS["poscar"] = lambda text: os._exit(9) if "deadly" in text else plain(text)
"""
"""A package whose reader of POSCARs ends the process on some of them."""


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_kills_the_process_itself_is_a_row_after_one_resumption(
    crystals: list[Structure], tmp_path: Path, jobs: int
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DEADLY, encoding="utf-8")
    folder = tmp_path / "in"
    folder.mkdir()
    for index, crystal in enumerate(crystals):
        (folder / f"{index}.cif").write_text(cif_text(crystal), encoding="utf-8")
    (folder / "1_deadly.vasp").write_text("deadly\n1.0\n3 0 0\n0 3 0\n0 0 3\nPo\n1\ndirect\n0 0 0\n", encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), str(Path(matgen.__file__).parents[1])])
    command = [sys.executable, "-m", "matgen", "screen", str(folder), "--out", str(tmp_path / "out")]
    command += ["--reference", "none", "--known", "none", "--jobs", str(jobs)]
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}

    def screened() -> subprocess.CompletedProcess:
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)

    if jobs == 1:
        assert screened().returncode == 9
    done = screened()
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    errors = {row["name"]: row["error"] for row in map(json.loads, lines)}
    assert errors == {f"in/{i}.cif": "" for i in range(5)} | {"in/1_deadly.vasp": DIED}
