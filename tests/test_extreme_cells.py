"""Cells and coordinates that no crystal has are refused at once: their neighbours would take all memory and time."""

import errno
import json
import os
import time
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from matgen.learning.tables import values_beside
from matgen.screening.config import ScreenConfig
from matgen.structures.broken import BrokenStructureError
from matgen.structures.content import is_recognised
from matgen.structures.crystal_formats import clean, read_extxyz
from matgen.structures.files import found, one_kind, read_structures
from matgen.structures.folder_walk import files_below
from matgen.structures.formats import Piece
from matgen.structures.molecule_formats import read_molecule_xyz
from matgen.structures.operations import parsed
from matgen.structures.run_report import ResumeError
from matgen.workflows.screen import run

SALT = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]

FILE = Path(__file__).resolve().parents[1] / "data" / "textbook" / "NaCl_rock_salt.cif"


def test_an_atom_far_outside_its_cell_is_refused_and_one_some_cells_away_is_not() -> None:
    cell = Lattice.cubic(4.0)
    assert len(clean(Structure(cell, ["Cs", "Cl"], [[0.0, 0.0, 31.0], [0.5, -7.5, 0.5]]))) == 2
    for far in (1e7, -1e300):
        with pytest.raises(BrokenStructureError, match="cells away from the origin"):
            clean(Structure(cell, ["Cs", "Cl"], [[0.0, 0.0, far], [0.5, 0.5, 0.5]]))


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (Lattice.tetragonal(1e5, 1e5), "long"),
        (Lattice.tetragonal(1e3, 1e-4), "repeats after 0.0001 Å"),
        (Lattice.from_parameters(30.0, 30.0, 30.0, 90.0, 90.0, 0.2), "repeats after 0.1 Å"),  # 30 Å × 0.2°
    ],
)
def test_a_cell_that_no_crystal_has_is_refused(cell: Lattice, reason: str) -> None:
    started = time.process_time()
    with pytest.raises(BrokenStructureError, match=reason):
        clean(Structure(cell, ["Cs", "Cl"], SALT))
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize("cell", [Lattice.tetragonal(4.0, 400.0), Lattice.tetragonal(400.0, 4.0), Lattice.cubic(0.75)])
def test_needles_and_plates_are_read(cell: Lattice) -> None:
    atoms = 2 if cell.volume > 1 else 1
    assert len(clean(Structure(cell, ["Cs", "Cl"][:atoms], SALT[:atoms]))) == atoms


def test_a_file_of_a_folder_that_may_not_be_looked_at_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "salt.cif").write_text("data_x", encoding="utf-8")
    (tmp_path / "secret").touch()
    stat = Path.stat

    def forbidden(self: Path, **options: bool) -> os.stat_result:
        if self.name == "secret":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", forbidden)
    assert [file.name for file in files_below(tmp_path)] == ["salt.cif"]


def test_a_folder_that_may_not_be_looked_into_gets_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "salt.cif").write_text("data_x", encoding="utf-8")
    scandir, opened = os.scandir, Path.open

    def forbidden(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    def also_forbidden(self: Path, *mode: object, **options: object) -> object:
        if self.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return opened(self, *mode, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", forbidden)
    monkeypatch.setattr(Path, "open", also_forbidden)
    entries = list(read_structures([tmp_path]))
    assert [Path(entry.path).name for entry in entries] == ["salt.cif", "closed"]
    assert entries[1].error == "cannot be read: Permission denied"


@pytest.mark.parametrize("columns", ["pos:R:3:x:R:99999999999", "pos:R:3:x:R:" + "9" * 30])
def test_a_frame_that_announces_endless_columns_is_refused_at_once(columns: str) -> None:
    frame = f'1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:{columns}\nCu 0 0 0\n'
    with pytest.raises(BrokenStructureError, match="more than 1000 columns"):
        read_extxyz(frame)
    with pytest.raises(BrokenStructureError, match="more than 1000 columns"):
        read_molecule_xyz(frame)


def test_the_values_beside_a_damaged_cell_are_none() -> None:
    assert values_beside(Piece("", "extxyz", '1\nLattice="4 0 0" gap=1\nCu 0 0 0\n')) == {}
    assert values_beside(Piece("", "extxyz", "1\ngap=1\nCu 0 0 0\n")) == {"gap": 1}


def test_an_operation_with_two_signs_is_refused() -> None:
    """One parser takes the last of them, another both."""
    with pytest.raises(ValueError, match="two signs"):
        parsed(("--x, y, z",))


def test_a_long_operation_is_refused_at_once() -> None:
    """A parser of operations takes the third power of their length: thousands of digits would take hours."""
    with pytest.raises(ValueError, match="is no symmetry operation"):
        parsed(("x, y, z+" + "1" * 100_000,))


@pytest.mark.parametrize("far", ["1e300", "-20000.5", "99999999"])
def test_a_far_site_of_a_cif_is_refused_before_operations_lose_its_place(far: str, tmp_path: Path) -> None:
    """Images of 1e300 in a cell are wherever rounding puts them: other numbers of atoms than the group has."""
    crystal = Structure.from_spacegroup(
        "I-42d", Lattice.tetragonal(5.4, 10.5), ["Zn", "P"], [[0, 0, 0], [0.26, 0.25, 0.125]]
    )
    text = crystal.to(fmt="cif", symprec=0.01)
    (site,) = [line for line in text.splitlines() if line.strip().startswith("Zn  Zn")]
    words = site.split()
    words[3] = far
    file = tmp_path / "far.cif"
    file.write_text(text.replace(site, " ".join(words)), encoding="utf-8")
    (entry,) = read_structures([file])
    assert "cells away from the origin" in entry.error


@pytest.mark.parametrize("text", ["1\r", "1", "2\rC 0 0 0\rO 0 0 1\r", "0\n\n"])
def test_a_frame_without_lines_is_a_row(text: str, tmp_path: Path) -> None:
    """Also where the kind is asked for before the file is read."""
    file = tmp_path / "a.xyz"
    file.write_bytes(text.encode())
    assert one_kind(found([file])) in {None, "molecule"}
    assert [bool(entry.error) for entry in read_structures([file], None)] == [True]


@pytest.mark.parametrize("part", ["passed", "energies", "number"])
def test_a_row_of_another_type_in_a_run_folder_is_told(part: str, tmp_path: Path) -> None:
    """A line that is JSON, and no row that was written, is refused before anything is counted or compared."""
    out, config = tmp_path / "run", ScreenConfig(relax="none", reference="none", known="none")
    run([FILE], config, out)
    record = json.loads((out / "rows.jsonl").read_text(encoding="utf-8"))
    verdicts = record["candidate"]["verdicts"]
    name, verdict = next(iter(verdicts.items()))
    if part == "passed":
        verdicts[name] = verdict | {"passed": ""}
    elif part == "number":
        verdicts[name] = verdict | {"value": {}}
    else:
        record["candidate"]["energies"] = {one: {} for one in record["candidate"]["energies"]} or {"graph": {}}
    (out / "rows.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    with pytest.raises(ResumeError, match="is damaged"):
        run([FILE], config, out)


def test_files_of_the_kernel_are_not_waited_for() -> None:
    """Some of them are files by their kind, and give their first byte when something happens."""
    waits = Path("/proc/kmsg")
    if not waits.exists():
        pytest.skip("no such file here")
    assert not is_recognised(waits)
