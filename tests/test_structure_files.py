"""Structures out of files: what goes in comes out, whatever the format; what is broken is a row with a reason."""

import csv
import gzip
import io
import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pytest
from conftest import TextbookEntry
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import DummySpecies, Lattice, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar
from typer.testing import CliRunner

from matgen.cli import app
from matgen.structures import folder_walk
from matgen.structures.candidate import Candidate
from matgen.structures.cif import cif_text, read_cif
from matgen.structures.files import Entry, MissingPathError, found, read, read_structures
from matgen.structures.record import to_record
from matgen.structures.symmetry import space_group

EXACT = StructureMatcher(ltol=0.001, stol=0.001, angle_tol=0.05, scale=False, primitive_cell=False)
"""Files carry eight decimals of coordinates at least; a thousandth of a bond tells a slip."""


def salt() -> Structure:
    centred = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return Structure(Lattice.cubic(5.64), ["Na"] * 4 + ["Cl"] * 4, np.concatenate([centred, centred + 0.5]) % 1.0)


def triclinic() -> Structure:
    lattice = Lattice.from_parameters(4.1, 5.3, 6.2, 81.0, 97.0, 105.0)
    return Structure(lattice, ["Sr", "Ti", "O", "O"], [[0.1, 0, 0], [0.55, 0.5, 0.4], [0.2, 0.7, 0.5], [0.9, 0.3, 0.8]])


def extxyz(*structures: Structure) -> str:
    text = io.StringIO()
    ase.io.write(text, [AseAtomsAdaptor.get_atoms(s, msonable=False) for s in structures], format="extxyz")
    return text.getvalue()


def table(structures: list[Structure], column: str = "cif") -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["id", column])
    writer.writeheader()
    writer.writerows({"id": i, column: cif_text(s)} for i, s in enumerate(structures))
    return text.getvalue()


def one(path: Path) -> Entry:
    entries = list(read_structures([path]))
    assert len(entries) == 1, entries
    return entries[0]


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def texts(structure: Structure) -> dict[str, str]:
    """The same structure in every format."""
    mine = to_record(Candidate("a", structure, structure, space_group(structure)))
    entry = ComputedStructureEntry(structure, -1.0).as_dict()
    return {
        "p1.cif": cif_text(structure),
        "symmetric.cif": str(CifWriter(structure, symprec=0.01)),
        "POSCAR": Poscar(structure).get_str(significant_figures=12),
        "POSCAR_17": Poscar(structure).get_str(significant_figures=12),
        "mp-1.vasp": Poscar(structure).get_str(direct=False, significant_figures=12),
        "a.extxyz": extxyz(structure),
        "a.xyz": extxyz(structure),
        "dict.json": json.dumps(structure.as_dict()),
        "list.json": json.dumps([structure.as_dict()]),
        "named.json": json.dumps({"mine": structure.as_dict()}),
        "entry.json": json.dumps(entry, default=str),
        "cifs.json": json.dumps([{"cif": cif_text(structure)}]),
        "matgen.jsonl": json.dumps(mine) + "\n",
        "a.csv": table([structure]),
        "b.csv": table([structure], "Structure"),
    }


@pytest.mark.parametrize("make", [salt, triclinic])
def test_every_format_gives_back_the_crystal(tmp_path: Path, make: object) -> None:
    structure = make()  # type: ignore[operator]
    for name, text in texts(structure).items():
        plain = one(written(tmp_path / name, text))
        assert plain.error == "", f"{name}: {plain.error}"
        assert plain.structure is not None
        assert EXACT.fit(plain.structure, structure), name
        packed = one(written(tmp_path / f"{name}.gz", gzip.compress(text.encode())))
        assert packed.structure == plain.structure, name


def test_names_are_unique_and_stable_and_order_is_by_name(tmp_path: Path) -> None:
    written(tmp_path / "set/b.cif", cif_text(salt()))
    written(tmp_path / "set/a.cif", cif_text(salt()))
    written(tmp_path / "set/deep/POSCAR", Poscar(salt()).get_str())
    written(tmp_path / "set/many.extxyz", extxyz(salt(), triclinic(), salt()))
    written(tmp_path / "set/notes.txt", "passed over")
    written(tmp_path / "set/.hidden.cif", "passed over")
    entries = list(read_structures([tmp_path / "set"]))
    names = [entry.name for entry in entries]
    assert names == [
        "set/a.cif", "set/b.cif", "set/many.extxyz#0", "set/many.extxyz#1", "set/many.extxyz#2", "set/deep/POSCAR",
    ]  # fmt: skip
    assert [entry.index for entry in entries] == [0, 0, 0, 1, 2, 0]
    assert all(Path(entry.path).is_file() for entry in entries)
    assert [entry.name for entry in read_structures([tmp_path / "set"])] == names


def test_files_of_one_name_are_told_apart_and_none_is_read_twice(tmp_path: Path) -> None:
    first, second = (written(tmp_path / name / "POSCAR", Poscar(salt()).get_str()) for name in ("one", "two"))
    names = [entry.name for entry in read_structures([first, second, first, tmp_path])]
    assert names == ["one/POSCAR", "two/POSCAR"]
    # Both a folder and a file may want to be called folder/a.cif.
    inside = written(tmp_path / "x/folder/a.cif", cif_text(salt())).parent
    other = written(tmp_path / "y/folder/a.cif", cif_text(salt()))
    third = written(tmp_path / "z/a.cif", cif_text(salt()))
    names = [entry.name for entry in read_structures([inside, other, third])]
    assert len(set(names)) == 3


def test_a_zip_is_read_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("set/b.cif", cif_text(salt()))
        archive.writestr("set/a/POSCAR", Poscar(triclinic()).get_str())
        archive.writestr("many.extxyz", extxyz(salt(), triclinic()))
        archive.writestr("broken.cif", "data_x\n_cell_length_a 3\n")
        archive.writestr("__MACOSX/set/._b.cif", b"\0\1")
        archive.writestr("notes.txt", "passed over")
        archive.writestr("inner.zip", b"PK")
    entries = {entry.name: entry for entry in read_structures([path])}
    assert list(entries) == [
        "all.zip/broken.cif", "all.zip/inner.zip", "all.zip/many.extxyz#0", "all.zip/many.extxyz#1",
        "all.zip/set/a/POSCAR", "all.zip/set/b.cif",
    ]  # fmt: skip
    broken = {name for name, entry in entries.items() if entry.structure is None}
    assert broken == {"all.zip/broken.cif", "all.zip/inner.zip"}
    assert "an archive within an archive" in entries["all.zip/inner.zip"].error
    cut = written(tmp_path / "cut.zip", path.read_bytes()[:-60])
    assert "damaged zip" in one(cut).error
    # A byte wrong within one member, not in the directory: that member alone is lost.
    data = bytearray(path.read_bytes())
    data[data.find(b"set/b.cif") + 60] ^= 0xFF
    entries = {entry.name: entry for entry in read_structures([written(tmp_path / "bit.zip", bytes(data))])}
    assert entries["bit.zip/set/b.cif"].structure is None
    assert entries["bit.zip/many.extxyz#1"].structure is not None


def test_deep_nesting_is_no_crash_where_a_package_has_raised_the_limit_of_recursion(tmp_path: Path) -> None:
    code = (
        "import sys; sys.setrecursionlimit(10**6)\n"
        "from pathlib import Path; from matgen.structures.files import read_structures\n"
        "print([entry.error for entry in read_structures([Path(sys.argv[1])])], sys.getrecursionlimit())"
    )
    path = written(tmp_path / "deep.json", "[" * 100_000)
    answer = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert "nested too deeply" in answer.stdout
    assert answer.stdout.strip().endswith("1000000")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.cif", "", "empty"),
        ("empty.json", " \n", "empty"),
        ("empty.extxyz", "", "empty"),
        ("empty.csv", "", "empty"),
        ("empty.jsonl", "", "empty"),
        ("POSCAR", "", "empty"),
        ("prose.cif", "This is a poem about atoms.\n", "not readable as cif"),
        ("prose.json", "{not json", "not JSON"),
        ("prose.extxyz", "hello\n", "expected a number of atoms"),
        ("number.json", "3", "expected a JSON object"),
        ("list.json", "[]", "expected a JSON object"),
        ("keys.json", '{"a": 1}', "expected a JSON object with a lattice"),
        ("deep.json", "[" * 100_000, "nested too deeply"),
        ("columns.csv", "id,gap\n1,2\n", "expected a column `cif`"),
        ("hole.csv", "id,cif\n1,\n", "nothing in column"),
        ("molecule.xyz", "1\nwater\nO 0 0 0\n", "expected a cell"),
        ("slab.xyz", '1\nLattice="3 0 0 0 3 0 0 0 9" pbc="T T F"\nC 0 0 0\n', "repeats along three axes"),
        ("flat.xyz", '2\nLattice="3 0 0 0 3 0 3 3 0"\nC 0 0 0\nC 1 1 0\n', "no volume"),
        ("thin.xyz", '1\nLattice="3 0 0 0 3 0 0 0 0.001"\nC 0 0 0\n', "no volume"),
        ("nan.xyz", '1\nLattice="3 0 0 0 3 0 0 0 3"\nC nan 0 0\n', "not finite"),
        ("dummy.xyz", '1\nLattice="3 0 0 0 3 0 0 0 3"\nX 0 0 0\n', "no element"),
        ("POSCAR", "no names\n1.0\n3 0 0\n0 3 0\n0 0 3\n1\nDirect\n0 0 0\n", "which elements"),
        ("binary.cif", bytes(range(256)) * 20, "not readable as cif"),
        ("POSCAR", b"\xff\xfe\x00\x81" * 30, "not readable as poscar"),
        ("notes.txt", "hello", "tell none"),
        ("bad.cif.gz", b"\x1f\x8b\x08\x00garbage", ""),
        ("fake.zip", b"PK\x03\x04 no", "damaged zip"),
    ],
)
def test_what_is_broken_is_an_entry_with_a_reason(tmp_path: Path, name: str, content: str | bytes, reason: str) -> None:
    entry = one(written(tmp_path / name, content))
    assert entry.structure is None
    assert entry.error
    assert reason in entry.error, entry.error
    assert "\n" not in entry.error


def test_what_is_no_crystal_of_elements_is_refused(tmp_path: Path) -> None:
    dummy = Structure(Lattice.cubic(4.1), [DummySpecies("X"), "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert "is no element" in one(written(tmp_path / "x.json", json.dumps(dummy.as_dict()))).error
    slab = Structure(Lattice(4.1 * np.eye(3), pbc=(True, True, False)), ["Po"], [[0, 0, 0]])
    assert "repeats along three axes" in one(written(tmp_path / "s.json", json.dumps(slab.as_dict()))).error


def test_a_poscar_may_fix_nothing_but_holds_one_structure(tmp_path: Path) -> None:
    text = Poscar(salt()).get_str().replace("direct\n", "Selective dynamics\ndirect\n")
    text = text.replace(" Na\n", " T T T\n").replace(" Cl\n", " T T T\n").replace("Na T T T\n", "Na Cl\n")
    assert text.count("T T T") == 8
    entry = one(written(tmp_path / "all.vasp", text))
    assert (entry.error, entry.structure) == ("", Poscar.from_str(Poscar(salt()).get_str()).structure)
    two = Poscar(salt()).get_str() + Poscar(triclinic()).get_str()
    several = list(read_structures([written(tmp_path / "two.vasp", two)]))
    assert [entry.name for entry in several] == ["two.vasp#0", "two.vasp#1"]
    assert [entry.structure and entry.structure.formula for entry in several] == [salt().formula, triclinic().formula]
    moving = Poscar(salt(), velocities=[[0.1, 0.2, 0.3]] * 8).get_str()
    assert one(written(tmp_path / "moving.vasp", moving)).error == ""


def test_noble_gases_cause_no_warning_in_a_new_process() -> None:
    """Pymatgen warns once per process and element, so a process of its own is needed."""
    lines = [
        "import warnings",
        "warnings.simplefilter('error', UserWarning)",
        "from matgen.structures.record import material_of",
        "s = material_of({'lattice': [[4, 0, 0], [0, 4, 0], [0, 0, 4]], 'species': ['Ar', 'Ne'],",
        "                 'frac_coords': [[0, 0, 0], [0.5, 0.5, 0.5]]})",
        "print(s.composition.reduced_formula, s.composition.formula, s.get_sorted_structure().formula)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Ar" in done.stdout


def test_disorder_is_refused_and_says_where(tmp_path: Path) -> None:
    mixed = salt()
    mixed[0] = {"Na": 0.5, "K": 0.5}
    vacant = salt()
    vacant[0] = {"Na": 0.7}
    for structure, occupancy in ((mixed, "K:0.5"), (vacant, "Na:0.7")):
        for name, text in (("a.cif", str(CifWriter(structure))), ("a.json", json.dumps(structure.as_dict()))):
            entry = one(written(tmp_path / name, text))
            assert entry.structure is None
            assert entry.error.startswith("disordered")
            assert occupancy in entry.error


def test_oxidation_states_and_labels_are_left_out(tmp_path: Path) -> None:
    charged = salt().copy()
    charged.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    entry = one(written(tmp_path / "a.json", json.dumps(charged.as_dict())))
    assert entry.structure == salt()


def test_text_that_is_not_utf8_is_read_all_the_same(tmp_path: Path) -> None:
    text = "# determined in Göttingen, at 20 °C\n" + cif_text(triclinic())
    for encoding in ("latin-1", "utf-16", "utf-8-sig", "cp1252"):
        entry = one(written(tmp_path / "a.cif", text.encode(encoding)))
        assert entry.structure is not None, f"{encoding}: {entry.error}"
        assert EXACT.fit(entry.structure, triclinic()), encoding


def test_of_several_blocks_or_frames_only_the_broken_one_is_lost(tmp_path: Path) -> None:
    good = cif_text(salt())
    bad = good.replace("_cell_length_b", "_cell_width_b")
    entries = list(read_structures([written(tmp_path / "three.cif", good + bad + good)]))
    assert [entry.structure is None for entry in entries] == [False, True, False]
    assert [entry.name for entry in entries] == ["three.cif#0", "three.cif#1", "three.cif#2"]
    # A block that only names the publication is none.
    assert one(written(tmp_path / "journal.cif", f"data_global\n_journal_year 1999\n{good}")).structure == read_cif(
        good
    )
    frames = extxyz(salt(), triclinic(), salt()).replace("Ti ", "Qq ")
    entries = list(read_structures([written(tmp_path / "three.extxyz", frames)]))
    assert [entry.structure is None for entry in entries] == [False, True, False]
    lines = "\n".join([json.dumps(salt().as_dict()), '{"cut', json.dumps(salt().as_dict())])
    for name in ("three.jsonl", "three.json"):
        entries = list(read_structures([written(tmp_path / name, lines)]))
        assert [entry.structure is None for entry in entries] == [False, True, False]


def test_wherever_a_file_is_cut_short_there_is_a_structure_or_a_reason(tmp_path: Path) -> None:
    """Not one of some hundred truncations may raise, and none may quietly lose the rows before the cut."""
    for name, text in texts(triclinic()).items():
        for share in np.linspace(0.02, 0.98, 13):
            entries = list(read_structures([written(tmp_path / name, text[: int(share * len(text))])]))
            assert entries, name
            assert all((entry.structure is None) == bool(entry.error) for entry in entries), name
    frames = extxyz(salt(), triclinic(), salt())
    *whole, cut = read_structures([written(tmp_path / "cut.extxyz", frames[:-40])])
    assert len(whole) == 2
    assert all(entry.structure is not None for entry in whole)
    assert "cut short" in cut.error or "not readable" in cut.error
    packed = gzip.compress(extxyz(*[triclinic()] * 400).encode())
    *whole, cut = read_structures([written(tmp_path / "cut.extxyz.gz", packed[: len(packed) // 2])])
    assert cut.error


def test_whatever_bytes_change_nothing_is_raised(tmp_path: Path) -> None:
    generator = random.Random(0)
    for name, text in texts(salt()).items():
        for _ in range(8):
            data = bytearray(text.encode())
            for _ in range(4):
                data[generator.randrange(len(data))] = generator.randrange(256)
            entries = list(read_structures([written(tmp_path / name, bytes(data))]))
            assert entries, name
            assert all((entry.structure is None) == bool(entry.error) for entry in entries), name


def test_finding_and_reading_apart_is_reading(tmp_path: Path, textbook: tuple[TextbookEntry, ...]) -> None:
    for entry in textbook[:5]:
        written(tmp_path / "set" / entry.file, cif_text(entry.structure))
    apart = [read(what) for what in found([tmp_path / "set"])]
    assert apart == list(read_structures([tmp_path / "set"]))


def test_a_path_that_is_not_there_is_told_before_anything_is_read(tmp_path: Path) -> None:
    written(tmp_path / "a.cif", cif_text(salt()))
    with pytest.raises(MissingPathError, match=r"b\.cif, which is not there"):
        read_structures([tmp_path / "a.cif", tmp_path / "b.cif"])
    (tmp_path / "bare").mkdir()
    assert "holds no file" in one(tmp_path / "bare").error


def test_a_folder_of_hardly_any_structure_is_not_searched_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_walk, "OTHERS", 50)
    (tmp_path / "a").mkdir()
    for index in range(60):
        (tmp_path / "a" / f"{index}.log").write_text("no structure", encoding="utf-8")
    with pytest.raises(folder_walk.TooManyOthersError, match=r"where 0 of the first 51 files may hold one; name the"):
        list(folder_walk.files_below(tmp_path))
    answer = CliRunner().invoke(app, ["screen", str(tmp_path), "--out", str(tmp_path / "out")])
    assert answer.exit_code == 2
    assert "expected a folder of structures" in answer.output
    assert not (tmp_path / "out").exists()


def test_calculations_with_many_files_each_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_walk, "OTHERS", 50)
    for run in range(8):
        (tmp_path / f"{run}").mkdir()
        (tmp_path / f"{run}" / "POSCAR").write_text("", encoding="utf-8")
        for index in range(15):
            (tmp_path / f"{run}" / f"{index}.log").write_text("no structure", encoding="utf-8")
    assert len(list(folder_walk.files_below(tmp_path))) == 8
